//! The corpus of the fuzz target, as a test: nothing in it makes the decoder panic or misread.

use proxystore_frame::Frame;
use proxystore_memory::Segment;

#[path = "../../../fuzz/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/frame_check.rs"]
mod frame_check;

#[test]
fn frames_hold() {
    corpus::check_all("frame", frame_check::frame);
}

#[test]
fn the_corpus_has_frames_that_can_be_read() {
    let inputs = corpus::inputs("frame");
    let whole = inputs
        .iter()
        .filter(|bytes| Frame::parse(Segment::from(*bytes)).is_ok())
        .count();
    assert!(
        whole > 5,
        "the corpus has only {whole} frames that can be read"
    );
}
