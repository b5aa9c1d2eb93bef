//! The words that processes share, and what they may be made of.
//!
//! The protocols of this crate are written over [`Word`], so that the code that runs over mapped
//! memory is the code that a model checker explores.

#[cfg(test)]
pub(crate) mod modelled;

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// One shared word of 64 bits.
pub(crate) trait Word {
    /// Reads the word.
    fn load(&self, order: Ordering) -> u64;
    /// Replaces the word.
    fn store(&self, value: u64, order: Ordering);
    /// Replaces `current` by `new`, or returns what is there instead.
    ///
    /// # Errors
    ///
    /// The value that was found.
    fn compare_exchange(&self, current: u64, new: u64, order: Ordering) -> Result<u64, u64>;
    /// Orders what is before it in this thread against what is after it.
    fn fence(order: Ordering);
}

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    fn store(&self, value: u64, order: Ordering) {
        Self::store(self, value, order);
    }

    fn compare_exchange(&self, current: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        Self::compare_exchange(self, current, new, order, Ordering::Acquire)
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

/// What a segment or a cell is used for at present, as its state word says.
///
/// The word holds a generation of 32 bits, a phase of 4 and a check of 28, so that a damaged word
/// is told from one that says that the object is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// How many times the place has been taken for an object. Never goes back; a place whose
    /// generation has reached the largest number is not used again.
    pub(crate) generation: u32,
    /// What is done with the place in this generation.
    pub(crate) phase: Phase,
}

/// What is done with a place for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// There is nothing behind it.
    Absent = 0,
    /// There is memory behind it for its owner to use again.
    Free = 1,
    /// Its owner writes to it. Nobody else looks.
    Writing = 2,
    /// It holds the object of this generation. Nobody writes.
    Live = 3,
}

/// A state word that no protocol writes: somebody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DamagedWord(pub(crate) u64);

impl State {
    /// A place that was never used: what fresh memory says.
    pub(crate) const UNUSED: Self = Self {
        generation: 0,
        phase: Phase::Absent,
    };

    /// A state.
    pub(crate) const fn new(generation: u32, phase: Phase) -> Self {
        Self { generation, phase }
    }

    /// The word.
    pub(crate) const fn to_word(self) -> u64 {
        let value = ((self.generation as u64) << 4) | self.phase as u64;
        (value << 28) | Self::check(value)
    }

    /// The state that `word` says.
    ///
    /// # Errors
    ///
    /// [`DamagedWord`] if no state is written so.
    pub(crate) const fn from_word(word: u64) -> Result<Self, DamagedWord> {
        let value = word >> 28;
        if word & 0xfff_ffff != Self::check(value) {
            return Err(DamagedWord(word));
        }
        let phase = match value & 0xf {
            0 => Phase::Absent,
            1 => Phase::Free,
            2 => Phase::Writing,
            3 => Phase::Live,
            _ => return Err(DamagedWord(word)),
        };
        // 36 bits less 4.
        let generation = (value >> 4) as u32;
        Ok(Self { generation, phase })
    }

    /// 28 bits that change in about half their number with any bit of `value`; zero of zero, as
    /// fresh memory is a valid word. The multiplier is 2^64 divided by the golden ratio.
    const fn check(value: u64) -> u64 {
        value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 36
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A flip of bit `k` of the value adds or takes `2^k` times the multiplier, which changes the 28
    /// upper bits for sure unless those of the difference are all zeros or all ones.
    #[test]
    fn no_flip_of_one_bit_keeps_the_check() {
        for bit in 0..36 {
            let difference = State::check(1 << bit);
            assert!(difference != 0 && difference != (1 << 28) - 1, "{bit}");
        }
    }

    #[test]
    fn words_of_a_phase_are_ordered_by_generation() {
        let word = |generation| State::new(generation, Phase::Live).to_word();
        for generation in [0, 1, 7, 1 << 20, u32::MAX - 1] {
            assert!(word(generation) < word(generation + 1));
        }
    }

    #[test]
    fn fresh_memory_is_unused() {
        assert_eq!(State::from_word(0), Ok(State::UNUSED));
        assert_eq!(State::UNUSED.to_word(), 0);
    }

    proptest! {
        #[test]
        fn words_make_the_round_trip(generation: u32, phase in 0..4_u8) {
            let phase = [Phase::Absent, Phase::Free, Phase::Writing, Phase::Live][usize::from(phase)];
            let state = State::new(generation, phase);
            prop_assert_eq!(State::from_word(state.to_word()), Ok(state));
            for bit in 0..64 {
                let flipped = state.to_word() ^ (1 << bit);
                prop_assert_eq!(State::from_word(flipped), Err(DamagedWord(flipped)));
            }
            for byte in 0..8 {
                let flipped = state.to_word() ^ (0xff << (8 * byte));
                prop_assert_eq!(State::from_word(flipped), Err(DamagedWord(flipped)));
            }
        }
    }
}
