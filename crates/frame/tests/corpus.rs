//! The corpus of the fuzz target, as a test: nothing in it makes the decoder panic or misread.

use std::{fs, path::Path};

use proxystore_frame::Frame;
use proxystore_memory::Segment;

#[path = "../../../fuzz/frame_check.rs"]
mod frame_check;

#[test]
fn frames_hold() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/frame");
    let mut whole = 0;
    for entry in fs::read_dir(corpus).expect("a corpus") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        frame_check::frame(&bytes);
        whole += usize::from(Frame::parse(Segment::from(&bytes)).is_ok());
        // And everything one cut away from it, or one flip.
        for len in 0..bytes.len() {
            frame_check::frame(&bytes[..len]);
            let mut flipped = bytes.clone();
            flipped[len] ^= 1 << (len % 8);
            frame_check::frame(&flipped);
        }
    }
    assert!(
        whole > 5,
        "the corpus has only {whole} frames that can be read"
    );
}
