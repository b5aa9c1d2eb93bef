//! The checksum that travels with every object.

use std::hash::Hasher as _;

use proxystore_memory::Segment;
use twox_hash::XxHash3_64;

/// Bytes that others may be writing to are summed from a copy: one of this size, in bytes, stays in
/// the first-level cache.
const PIECE: usize = 8 << 10;

/// The XXH3-64 (seed 0) of an object, made while its bytes pass by.
#[derive(Clone)]
pub struct Sum(XxHash3_64);

impl Sum {
    /// The sum of no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(XxHash3_64::new())
    }

    /// The sum of all of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> u64 {
        XxHash3_64::oneshot(bytes)
    }

    /// Goes on with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Goes on with bytes that others may be writing to: some mixture of old and new ones is summed.
    pub fn update_segment(&mut self, segment: Segment<'_>) {
        let mut piece = [0; PIECE];
        let mut rest = segment;
        while !rest.is_empty() {
            let copied = rest.copy_to(&mut piece);
            self.0.write(&piece[..copied]);
            rest = rest.slice(copied..);
        }
    }

    /// The sum so far.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.0.finish()
    }
}

impl Default for Sum {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Sum").field(&self.finish()).finish()
    }
}
