//! What must hold for any bytes at all; the fuzz target and the test of its corpus share it.

use proxystore_frame::{CHECKSUM, Frame, sum};
use proxystore_memory::Segment;

/// Takes bytes apart as they are, and with the checksum that makes the rest of the decoder reachable.
pub(crate) fn frame(bytes: &[u8]) {
    open(bytes);
    for header in (64..=bytes.len()).step_by(64).take(32) {
        let mut sealed = bytes.to_vec();
        let rest = [
            Segment::from(&bytes[..CHECKSUM.start]),
            Segment::from(&bytes[CHECKSUM.end..header]),
        ];
        sealed[CHECKSUM].copy_from_slice(&sum(&rest).to_le_bytes());
        open(&sealed);
    }
}

fn open(bytes: &[u8]) {
    let Ok(frame) = Frame::parse(Segment::from(bytes)) else {
        return;
    };
    assert!(bytes.get(frame.stream.clone()).is_some());
    let mut end = frame.stream.end;
    for entry in frame.parts.iter().chain(&frame.buffers) {
        assert!(entry.range.start % 64 == 0 && entry.range.start >= end);
        assert!(bytes.get(entry.range.clone()).is_some());
        assert_eq!(entry.sum.is_some(), frame.has_sums);
        end = entry.range.end;
    }
    assert!(frame.parts.len() + frame.buffers.len() <= bytes.len() / 8);
    let _ = frame.verify(Segment::from(bytes));
}
