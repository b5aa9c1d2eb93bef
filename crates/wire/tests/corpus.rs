//! The corpus of the fuzz targets, as a test: nothing in it makes a decoder panic or misread.

use std::{fs, path::Path};

#[path = "../../../fuzz/wire_checks.rs"]
mod wire_checks;

#[test]
fn frames_hold() {
    every("wire_frame", wire_checks::frame);
}

#[test]
fn hellos_hold() {
    every("wire_hello", wire_checks::hello);
}

#[test]
fn sessions_hold() {
    every("wire_session", wire_checks::session);
}

fn every(target: &str, check: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let listing = fs::read_dir(corpus.join(target)).expect("a corpus");
    let mut count = 0;
    for entry in listing {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        check(&bytes);
        // And what is a cut away from it, or a flip: everything, unless it is long.
        for len in (0..bytes.len()).step_by(bytes.len() / 400 + 1) {
            check(&bytes[..len]);
            let mut flipped = bytes.clone();
            flipped[len] ^= 1 << (len % 8);
            check(&flipped);
        }
        count += 1;
    }
    assert!(count > 3, "the corpus of {target} is all but empty");
}
