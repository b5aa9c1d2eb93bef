//! Objects that say what they are, so that any byte out of its place is noticed.

use proxystore_core::Memory;

use super::{Checked, ensure};

/// What an object consists of: bytes that follow from two numbers.
///
/// Every page begins with a word that follows from the seed and the page's number, and goes on with
/// bytes that follow from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) seed: u32,
    pub(crate) len: u32,
}

const PAGE: usize = 4096;

impl Contents {
    pub(crate) const fn new(seed: u32, len: u32) -> Self {
        Self { seed, len }
    }

    pub(crate) const fn to_word(self) -> u64 {
        ((self.seed as u64) << 32) | self.len as u64
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        let (seed, len) = (word >> 32, word & 0xffff_ffff);
        #[expect(clippy::cast_possible_truncation, reason = "both have 32 bits")]
        Self::new(seed as u32, len as u32)
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut page = self.page();
        let mut bytes = Vec::with_capacity(self.len as usize);
        for number in (0..).take(self.len().div_ceil(PAGE)) {
            self.stamp(&mut page, number);
            let missing = self.len() - bytes.len();
            bytes.extend_from_slice(&page[..missing.min(PAGE)]);
        }
        bytes
    }

    /// Wants these bytes to be the object.
    pub(crate) fn check(self, found: &Memory) -> Checked {
        let found = found.as_segment();
        ensure!(
            found.len() == self.len(),
            "{self:?} came back with {} bytes",
            found.len()
        );
        let (mut page, mut read) = (self.page(), [0; PAGE]);
        for (number, start) in (0..).zip((0..self.len()).step_by(PAGE)) {
            self.stamp(&mut page, number);
            let len = found.slice(start..).copy_to(&mut read);
            if read[..len] != page[..len] {
                let at = (0..len).find(|&at| read[at] != page[at]).unwrap_or(0);
                let whose = u32::from_be_bytes([read[0], read[1], read[2], read[3]]);
                return Err(format!(
                    "{self:?} differs from byte {at} of page {number} on, which is of seed {whose}"
                )
                .into());
            }
        }
        Ok(())
    }

    const fn len(self) -> usize {
        self.len as usize
    }

    fn stamp(self, page: &mut [u8; PAGE], number: u32) {
        page[..4].copy_from_slice(&self.seed.to_be_bytes());
        page[4..8].copy_from_slice(&number.to_be_bytes());
    }

    fn page(self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let mut random = Random::new(u64::from(self.seed));
        let mut block = [0; 64];
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        for part in page.chunks_exact_mut(64) {
            part.copy_from_slice(&block);
        }
        page
    }
}

/// The xorshift generator: every run of a test takes the same turns.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 32) % end as u64).unwrap_or(0)
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }
}
