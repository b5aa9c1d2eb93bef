//! Memory that each thread keeps to work on bytes piece by piece.

use std::cell::Cell;

/// The size of a piece, in bytes: it stays in the second-level cache while it is copied and looked at.
pub const PIECE: usize = 256 << 10;

thread_local! {
    /// Kept, as fresh pages cost more than what is done with them.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends memory for `len` bytes, or for a [`PIECE`] of them if they are more. What stands in it is
/// left from whoever had it before.
pub fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let len = len.min(PIECE);
    // A thread that is ending has given its piece back already, and makes do with another.
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    if buffer.len() < len {
        // Small objects do not make every thread keep a whole piece.
        buffer.resize(len.next_power_of_two(), 0);
    }
    let result = work(&mut buffer[..len]);
    let _ = BUFFER.try_with(|kept| kept.set(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(len: usize) -> usize {
        with_scratch(len, |buffer| buffer.as_ptr().addr())
    }

    #[test]
    fn there_is_as_much_as_was_asked_for_up_to_a_piece() {
        for len in [0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, usize::MAX] {
            assert_eq!(with_scratch(len, |buffer| buffer.len()), len.min(PIECE));
        }
    }

    #[test]
    fn a_thread_keeps_its_piece() {
        let first = address(PIECE);
        assert_eq!([address(PIECE), address(1)], [first, first]);
    }

    #[test]
    fn one_within_another_has_memory_of_its_own() {
        with_scratch(100, |outer| {
            outer.fill(1);
            with_scratch(100, |inner| inner.fill(2));
            assert_eq!(outer, [1; 100]);
        });
    }
}
