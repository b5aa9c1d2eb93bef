//! The record of a slab: who may make it, take cells of it, and give it back.
//!
//! | who | state | owner |
//! |---|---|---|
//! | anybody | Absent(g) | nobody -> itself |
//! | the owner, while it makes the file | Absent(g) -> Writing(g + 1) | itself |
//! | the owner, having made it | Writing(g) -> Live(g) | itself |
//! | the owner, if no cell is in use | Live(g) -> Absent(g), then removes the file | itself -> nobody |
//! | who adopts it and needs it not | Live(g) | a dead owner -> nobody |
//! | anybody | Live(g) | nobody -> itself |
//!
//! Whoever adopts what a dead owner left, ends what the owner was at. The shape says as what the
//! slab is made anew, and that its cells then begin above every generation that they have had, so
//! that keys of what was there before find nothing.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{cell::Damaged, shape::Shape};
use crate::{
    control::SlabRecord,
    crash,
    membership::MemberId,
    word::{Phase, State, Word},
};

/// The words of a slab's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a, W> {
    state: &'a W,
    owner: &'a W,
    made: &'a W,
}

/// As what a slab is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) shape: Shape,
    /// The largest generation that a cell of this slab has had before. The largest of all: the slab
    /// is not made again.
    pub(crate) base: u32,
}

/// A slab that this process has claimed and is about to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) generation: u32,
    pub(crate) made: Made,
}

impl<'a, W: Word> Record<'a, W> {
    pub(crate) const fn new(state: &'a W, owner: &'a W, made: &'a W) -> Self {
        Self { state, owner, made }
    }

    pub(crate) fn state(&self) -> Result<State, Damaged> {
        super::cell::state(self.state)
    }

    pub(crate) fn owner(&self) -> MemberId {
        MemberId(self.owner.load(Acquire))
    }

    /// As what it was made; none if it never was.
    pub(crate) fn made(&self) -> Result<Option<Made>, Damaged> {
        Made::from_word(self.made.load(Acquire))
    }

    /// Claims the slab to make it of this shape, if it belongs to nobody and can be made so.
    pub(crate) fn claim(&self, me: MemberId, shape: Shape) -> Option<Claim> {
        if self.owner() != MemberId::NOBODY {
            return None;
        }
        self.claimable(shape)?;
        let nobody = MemberId::NOBODY.0;
        self.owner.compare_exchange(nobody, me.0, AcqRel).ok()?;
        crash::point("slab.claimed");
        // Others may have had it and given it back meanwhile.
        let Some(claim) = self.claimable(shape) else {
            self.disown();
            return None;
        };
        self.made.store(claim.made.to_word(), Relaxed);
        let writing = State::new(claim.generation, Phase::Writing).to_word();
        self.state.store(writing, Release);
        crash::point("slab.writing");
        Some(claim)
    }

    fn claimable(&self, shape: Shape) -> Option<Claim> {
        let state = self.state().ok()?;
        let base = match self.made().ok()? {
            None => 0,
            Some(made) if made.shape == shape => made.base,
            Some(_) => return None,
        };
        if state.phase != Phase::Absent || base == u32::MAX {
            return None;
        }
        Some(Claim {
            generation: state.generation.checked_add(1)?,
            made: Made { shape, base },
        })
    }

    /// Says that the slab that was claimed is made. Only for its owner.
    pub(crate) fn publish(&self, generation: u32) {
        let live = State::new(generation, Phase::Live).to_word();
        self.state.store(live, Release);
        crash::point("slab.published");
    }

    /// Says that the slab is gone; its file may be removed then. Only for its owner or for who
    /// adopts it.
    pub(crate) fn withdraw(&self, generation: u32, made: Option<Made>) {
        if let Some(made) = made {
            self.made.store(made.to_word(), Relaxed);
            crash::point("slab.based");
        }
        let absent = State::new(generation, Phase::Absent).to_word();
        self.state.store(absent, Release);
        crash::point("slab.withdrawn");
    }

    /// Leaves the slab to whoever claims it. Only for its owner or for who adopts it.
    pub(crate) fn disown(&self) {
        self.owner.store(MemberId::NOBODY.0, Release);
        crash::point("slab.disowned");
    }

    /// Makes the slab one's own as it is, if it belongs to nobody.
    pub(crate) fn take_over(&self, me: MemberId) -> bool {
        let is_live = || self.state().is_ok_and(|state| state.phase == Phase::Live);
        if self.owner() != MemberId::NOBODY || !is_live() || !self.inherit(MemberId::NOBODY, me) {
            return false;
        }
        // Others may have had it and given it back meanwhile.
        if !is_live() {
            self.disown();
            return false;
        }
        true
    }

    /// Makes the slab of a dead owner one's own.
    pub(crate) fn inherit(&self, dead: MemberId, me: MemberId) -> bool {
        let inherited = self.owner.compare_exchange(dead.0, me.0, AcqRel).is_ok();
        crash::point("slab.inherited");
        inherited
    }
}

impl<'a> From<SlabRecord<'a>> for Record<'a, std::sync::atomic::AtomicU64> {
    fn from(record: SlabRecord<'a>) -> Self {
        Self::new(record.state, record.owner, record.shape)
    }
}

impl Made {
    /// 40 bits that say it above a check of 24; zero is a slab that never was made.
    fn to_word(self) -> u64 {
        let value = (u64::from(self.base) << 8) | u64::from(self.shape.to_bits());
        (value << 24) | Self::check(value)
    }

    fn from_word(word: u64) -> Result<Option<Self>, Damaged> {
        if word == 0 {
            return Ok(None);
        }
        let value = word >> 24;
        if word & 0xff_ffff != Self::check(value) {
            return Err(Damaged);
        }
        let [.., bits] = value.to_be_bytes();
        Ok(Some(Self {
            shape: Shape::from_bits(bits).ok_or(Damaged)?,
            base: u32::try_from(value >> 8).map_err(|_| Damaged)?,
        }))
    }

    /// As the check of a state word, of 24 bits.
    const fn check(value: u64) -> u64 {
        value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{super::shape::Class, *};

    const ME: MemberId = MemberId(1 << 32 | 1);
    const OTHER: MemberId = MemberId(1 << 32 | 2);

    #[test]
    fn a_slab_is_made_again_in_its_shape_only_and_with_later_generations() {
        let words: [AtomicU64; 3] = Default::default();
        let record = Record::new(&words[0], &words[1], &words[2]);
        let shape = Class::of(100).expect("a class").shape(0);
        let other = Class::of(1000).expect("a class").shape(0);
        let first = record.claim(ME, shape).expect("it is nobody's");
        assert_eq!((first.generation, first.made.base), (1, 0));
        assert_eq!(record.claim(OTHER, shape), None);
        record.publish(1);
        assert_eq!(record.state(), Ok(State::new(1, Phase::Live)));
        let made = Made { base: 77, shape };
        record.withdraw(1, Some(made));
        assert_eq!(record.claim(OTHER, shape), None, "it has an owner");
        record.disown();
        assert_eq!(record.claim(OTHER, other), None, "it has another shape");
        assert_eq!(record.owner(), MemberId::NOBODY);
        let second = record.claim(OTHER, shape).expect("it is nobody's");
        assert_eq!((second.generation, second.made), (2, made));
        assert!(!record.inherit(ME, ME));
        assert!(record.inherit(OTHER, ME));
        assert_eq!(record.owner(), ME);
    }

    #[test]
    fn a_slab_whose_generations_are_used_up_is_not_made_again() {
        let words: [AtomicU64; 3] = Default::default();
        let record = Record::new(&words[0], &words[1], &words[2]);
        let shape = Class::TICKETS.shape(2);
        let claim = record.claim(ME, shape).expect("it is nobody's");
        let base = u32::MAX;
        record.withdraw(claim.generation, Some(Made { shape, base }));
        record.disown();
        assert_eq!(record.claim(ME, shape), None);
    }

    #[test]
    fn every_flipped_bit_of_the_shape_is_noticed() {
        for base in [0, 1, 0x1234_5678, u32::MAX] {
            let shape = Class::of(10_000).expect("a class").shape(1);
            let made = Made { shape, base };
            let word = AtomicU64::new(made.to_word());
            assert_eq!(Made::from_word(made.to_word()), Ok(Some(made)));
            for bit in 0..64 {
                let flipped = word.load(Ordering::Relaxed) ^ (1 << bit);
                assert_eq!(Made::from_word(flipped), Err(Damaged), "{base} {bit}");
            }
        }
    }
}
