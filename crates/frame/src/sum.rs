//! Checksums of bytes that others may be writing to.

use std::hash::Hasher;

use proxystore_memory::{Cursor, Segment, scratch::PIECE, with_scratch};
use twox_hash::XxHash3_64;

/// Up to this size a piece stands on the stack. In bytes.
const SMALL: usize = 1 << 10;

/// The XXH3-64 of `segments`, one after the other.
///
/// Bytes that change meanwhile give the checksum of some mixture of old and new ones.
#[must_use]
pub fn sum(segments: &[Segment<'_>]) -> u64 {
    let len = segments
        .iter()
        .map(Segment::len)
        .fold(0, usize::saturating_add);
    if len <= SMALL {
        let mut buffer = [0; SMALL];
        let filled = Cursor::new(segments).fill(&mut buffer);
        return XxHash3_64::oneshot(&buffer[..filled]);
    }
    with_scratch(len, |buffer| {
        let mut cursor = Cursor::new(segments);
        let mut sum = XxHash3_64::new();
        loop {
            let filled = cursor.fill(buffer);
            if filled == 0 {
                return sum.finish();
            }
            sum.write(&buffer[..filled]);
        }
    })
}

/// Copies as many bytes of `segment` as fit into `target`, and returns the XXH3-64 of those that
/// arrived there.
pub fn copy_summed(segment: Segment<'_>, target: &mut [u8]) -> u64 {
    let mut sum = XxHash3_64::new();
    let mut rest = segment;
    for piece in target.chunks_mut(PIECE) {
        let copied = rest.copy_to(piece);
        sum.write(&piece[..copied]);
        rest = rest.slice(copied..);
    }
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_parts_make_no_difference() {
        for len in [
            0,
            1,
            SMALL,
            SMALL + 1,
            PIECE - 1,
            PIECE,
            PIECE + 1,
            3 * PIECE + 7,
        ] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let whole = XxHash3_64::oneshot(&bytes);
            let (first, second) = bytes.split_at(len / 3);
            assert_eq!(sum(&[Segment::from(&bytes)]), whole, "{len}");
            assert_eq!(sum(&[first.into(), second.into()]), whole, "{len}");
            let mut copy = vec![0; len];
            assert_eq!(
                copy_summed(Segment::from(&bytes), &mut copy),
                whole,
                "{len}"
            );
            assert!(copy == bytes, "{len}");
        }
    }
}
