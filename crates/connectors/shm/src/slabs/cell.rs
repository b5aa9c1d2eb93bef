//! One cell: how an object gets into it, out of it and away.
//!
//! | who | from | to |
//! |---|---|---|
//! | the slab's owner, to put | Free(g) | Writing(g + 1) |
//! | the same thread, having written | Writing(g) | Live(g) |
//! | anybody, to evict | Live(g) | Free(g) |
//! | who adopts the slab of a dead owner | Writing(g) | Free(g) |
//!
//! Readers copy, and then look whether the state is still what it was: while it is Live(g), nobody
//! writes. All bytes go in and out by atomic words, as a reader may be at it when the next object is
//! written; what it has copied then, it throws away.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::{
    crash,
    mutants::{Mutant, is_active},
    word::{Phase, State, Word},
};

/// A cell of a slab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a, W> {
    state: &'a W,
    /// The length of the object, with a check of it, the generation and the ticket.
    details: &'a W,
    /// The deferred key that the object was put for, or zero.
    ticket: &'a W,
    /// The state word of the object that its ticket has named; anything else: not yet.
    settled: &'a W,
    payload: &'a [W],
}

/// What there is of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen<T> {
    Present(T),
    /// Nothing any more.
    Past,
    /// Nothing yet.
    Future,
}

/// An object in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object<T> {
    /// What was made of its bytes.
    pub(crate) value: T,
    /// The deferred key that it was put for, or zero.
    pub(crate) ticket: u64,
}

/// What is known of the object in a cell without looking at its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) generation: u32,
    pub(crate) len: usize,
    /// The deferred key that the object was put for, or zero.
    pub(crate) ticket: u64,
    /// Whether the ticket has named the object.
    pub(crate) settled: bool,
}

/// A header that nobody writes so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl<'a, W: Word> Cell<'a, W> {
    /// The cell of this header and payload; none if the header has another length.
    pub(crate) fn new(header: &'a [W], payload: &'a [W]) -> Option<Self> {
        let [state, details, ticket, settled] = header else {
            return None;
        };
        Some(Self {
            state,
            details,
            ticket,
            settled,
            payload,
        })
    }

    /// Takes the cell for an object of the next generation, if it is free. Only for the slab's
    /// owner.
    pub(crate) fn take(&self) -> Option<u32> {
        take(self.state)
    }

    /// Writes the object of a cell that was taken; its bytes by `write`, which is given the words.
    pub(crate) fn fill(&self, generation: u32, len: usize, ticket: u64, write: impl FnOnce(&[W])) {
        write(self.payload);
        crash::point("cell.written");
        let details = details(generation, len, ticket);
        self.details.store(details, Relaxed);
        self.ticket.store(ticket, Relaxed);
        self.settled.store(0, Relaxed);
        crash::point("cell.described");
        publish(self.state, generation);
        crash::point("cell.published");
    }

    /// What `copy` makes of the object of a generation, given its length and its words. These may
    /// change meanwhile; what was made of them is dropped then.
    pub(crate) fn read<T>(
        &self,
        generation: u32,
        copy: impl FnOnce(usize, &[W]) -> T,
    ) -> Result<Seen<Object<T>>, Damaged> {
        match look(self.state, generation)? {
            Seen::Present(()) => {}
            Seen::Past => return Ok(Seen::Past),
            Seen::Future => return Ok(Seen::Future),
        }
        let ticket = self.ticket.load(Relaxed);
        let value = self
            .len(generation, ticket)
            .map(|len| copy(len, self.payload));
        if !unchanged(self.state, generation)? {
            return Ok(Seen::Past);
        }
        let value = value.ok_or(Damaged)?;
        Ok(Seen::Present(Object { value, ticket }))
    }

    /// Removes the object of a generation, if it is there.
    pub(crate) fn evict(&self, generation: u32) -> Result<Seen<()>, Damaged> {
        free(self.state, generation)
    }

    /// Removes the object that is there now, if there is one.
    pub(crate) fn clear(&self) -> Result<(), Damaged> {
        clear(self.state)
    }

    /// Notes that the object's ticket has named it, so that from now on it is an orphan if the
    /// ticket does not.
    pub(crate) fn settle(&self, generation: u32) {
        let word = live(generation);
        let mut current = self.settled.load(Relaxed);
        // State words of one phase are ordered by generation, and whoever is late for an object
        // that is gone must not undo what was noted for the next.
        while current < word {
            match self.settled.compare_exchange(current, word, AcqRel) {
                Ok(_) => return,
                Err(other) => current = other,
            }
        }
    }

    /// Frees the cell if a dead process was writing to it. Only for who adopts its slab.
    pub(crate) fn abandon(&self) -> bool {
        abandon(self.state)
    }

    /// The object that is there now, if there is one.
    pub(crate) fn describe(&self) -> Result<Option<Description>, Damaged> {
        let state = state(self.state)?;
        if state.phase != Phase::Live {
            return Ok(None);
        }
        let generation = state.generation;
        let ticket = self.ticket.load(Relaxed);
        let len = self.len(generation, ticket);
        let settled = self.settled.load(Relaxed) == live(generation);
        if !unchanged(self.state, generation)? {
            return Ok(None);
        }
        Ok(Some(Description {
            generation,
            len: len.ok_or(Damaged)?,
            ticket,
            settled,
        }))
    }

    /// The length of the object, if the header is sound.
    fn len(&self, generation: u32, ticket: u64) -> Option<usize> {
        let word = self.details.load(Relaxed);
        let len = usize::try_from(word >> CHECK_BITS).ok()?;
        let sound = len <= self.payload.len() * 8 && details(generation, len, ticket) == word;
        sound.then_some(len)
    }
}

/// The bits of `details` below the length.
const CHECK_BITS: u32 = 48;

/// The length of an object above a check of all that its header says.
fn details(generation: u32, len: usize, ticket: u64) -> u64 {
    // Odd multipliers and shifts keep whatever two headers differ in, as each step can be undone;
    // the multipliers are digits of the golden ratio and of the square root of two.
    let len = len as u64;
    let mut check =
        ticket ^ ((u64::from(generation) << 16) | len).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    check = (check ^ (check >> 32)).wrapping_mul(0x6a09_e667_f3bc_c909);
    (len << CHECK_BITS) | ((check ^ (check >> 29)) >> (64 - CHECK_BITS))
}

fn live(generation: u32) -> u64 {
    State::new(generation, Phase::Live).to_word()
}

/// What the state word of a cell or a ticket says.
pub(super) fn state<W: Word>(word: &W) -> Result<State, Damaged> {
    State::from_word(word.load(Acquire)).map_err(|_| Damaged)
}

/// Moves from Free(g) to Writing(g + 1); none if it is not free, or has been used too often.
pub(super) fn take<W: Word>(word: &W) -> Option<u32> {
    let current = word.load(Relaxed);
    let state = State::from_word(current).ok()?;
    if state.phase != Phase::Free {
        return None;
    }
    let generation = state.generation.checked_add(1)?;
    let writing = State::new(generation, Phase::Writing).to_word();
    word.compare_exchange(current, writing, AcqRel).ok()?;
    if !is_active(Mutant::NoFence) {
        // Whoever sees one of the words that are written next, sees that they are being written.
        W::fence(Release);
    }
    crash::point("cell.taken");
    Some(generation)
}

/// Moves from Writing(g) to Live(g). Only for who took it.
pub(super) fn publish<W: Word>(word: &W, generation: u32) {
    word.store(live(generation), Release);
}

/// Moves from Live(g) to Free(g).
pub(super) fn free<W: Word>(word: &W, generation: u32) -> Result<Seen<()>, Damaged> {
    let free = State::new(generation, Phase::Free).to_word();
    match word.compare_exchange(live(generation), free, AcqRel) {
        Ok(_) => {
            crash::point("cell.freed");
            Ok(Seen::Present(()))
        }
        Err(found) => phase(found, generation),
    }
}

/// Moves from Live(g) to Free(g), whatever g is.
pub(super) fn clear<W: Word>(word: &W) -> Result<(), Damaged> {
    let State { generation, phase } = state(word)?;
    if phase == Phase::Live {
        free(word, generation)?;
    }
    Ok(())
}

/// Moves from Writing(g) to Free(g), whatever g is.
pub(super) fn abandon<W: Word>(word: &W) -> bool {
    let current = word.load(Acquire);
    let Ok(State {
        generation,
        phase: Phase::Writing,
    }) = State::from_word(current)
    else {
        return false;
    };
    let free = State::new(generation, Phase::Free).to_word();
    word.compare_exchange(current, free, AcqRel).is_ok()
}

/// Whether there is an object of a generation; what is read next is of this generation or later.
pub(super) fn look<W: Word>(word: &W, generation: u32) -> Result<Seen<()>, Damaged> {
    phase(word.load(Acquire), generation)
}

/// Whether all that was read since `look` is of its generation.
pub(super) fn unchanged<W: Word>(word: &W, generation: u32) -> Result<bool, Damaged> {
    if !is_active(Mutant::NoFence) {
        W::fence(Acquire);
    }
    if is_active(Mutant::NoRecheck) {
        return Ok(true);
    }
    Ok(phase(word.load(Relaxed), generation)? == Seen::Present(()))
}

/// What a state word says about a generation.
fn phase(word: u64, generation: u32) -> Result<Seen<()>, Damaged> {
    let state = State::from_word(word).map_err(|_| Damaged)?;
    Ok(match state.phase {
        Phase::Live if state.generation == generation => Seen::Present(()),
        _ if state.generation < generation => Seen::Future,
        _ => Seen::Past,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Words {
        header: [AtomicU64; 4],
        payload: [AtomicU64; 16],
    }

    impl Words {
        fn new(generation: u32) -> Self {
            let words = Self {
                header: Default::default(),
                payload: Default::default(),
            };
            let free = State::new(generation, Phase::Free).to_word();
            words.header[0].store(free, Ordering::Relaxed);
            words
        }

        fn cell(&self) -> Cell<'_, AtomicU64> {
            Cell::new(&self.header, &self.payload).expect("a header")
        }

        fn put(&self, len: usize, ticket: u64, word: u64) -> u32 {
            let cell = self.cell();
            let generation = cell.take().expect("it is free");
            cell.fill(generation, len, ticket, |words| {
                words[0].store(word, Ordering::Relaxed);
            });
            generation
        }

        fn read(&self, generation: u32) -> Result<Seen<Object<(usize, u64)>>, Damaged> {
            self.cell()
                .read(generation, |len, words| (len, words[0].load(Relaxed)))
        }
    }

    #[test]
    fn a_cell_holds_one_object_after_the_other() {
        let words = Words::new(41);
        let first = words.put(8, 0, 7);
        assert_eq!(first, 42);
        let object = |value, ticket| Ok(Seen::Present(Object { value, ticket }));
        assert_eq!(words.read(first), object((8, 7), 0));
        assert_eq!(words.cell().take(), None);
        assert_eq!(words.read(41), Ok(Seen::Past));
        assert_eq!(words.read(43), Ok(Seen::Future));
        assert_eq!(words.cell().evict(43), Ok(Seen::Future));
        assert_eq!(words.cell().evict(first), Ok(Seen::Present(())));
        assert_eq!(words.cell().evict(first), Ok(Seen::Past));
        assert_eq!(words.read(first), Ok(Seen::Past));
        assert_eq!(words.cell().describe(), Ok(None));
        let second = words.put(128, 5, 9);
        assert_eq!(words.read(first), Ok(Seen::Past));
        assert_eq!(words.read(second), object((128, 9), 5));
    }

    #[test]
    fn a_cell_that_was_used_too_often_is_not_used_again() {
        let words = Words::new(u32::MAX - 1);
        let last = words.put(0, 0, 0);
        assert_eq!(last, u32::MAX);
        assert_eq!(words.cell().evict(last), Ok(Seen::Present(())));
        assert_eq!(words.cell().take(), None);
    }

    #[test]
    fn an_object_is_settled_once_and_for_itself() {
        let words = Words::new(0);
        let settled = || {
            words
                .cell()
                .describe()
                .map(|found| found.map(|found| found.settled))
        };
        let first = words.put(1, 3, 0);
        assert_eq!(settled(), Ok(Some(false)));
        words.cell().settle(first);
        assert_eq!(settled(), Ok(Some(true)));
        words.cell().evict(first).expect("it is sound");
        let second = words.put(1, 3, 0);
        words.cell().settle(first);
        assert_eq!(settled(), Ok(Some(false)));
        words.cell().settle(second);
        words.cell().settle(first);
        assert_eq!(settled(), Ok(Some(true)));
    }

    #[test]
    fn what_a_dead_process_wrote_is_no_object() {
        let words = Words::new(0);
        assert!(!words.cell().abandon());
        let taken = words.cell().take().expect("it is free");
        assert!(words.cell().abandon());
        assert_eq!(words.read(taken), Ok(Seen::Past));
        let next = words.put(1, 0, 0);
        assert_eq!(next, taken + 1);
        assert!(!words.cell().abandon());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        for (len, ticket) in [(0, 0), (1, 0), (100, 1 << 62 | 0x4d), (128, u64::MAX)] {
            let words = Words::new(0);
            let generation = words.put(len, ticket, 7);
            for word in 0..3 {
                for bit in 0..64 {
                    words.header[word].fetch_xor(1 << bit, Relaxed);
                    assert_eq!(words.read(generation), Err(Damaged), "{word} {bit}");
                    assert_eq!(words.cell().describe(), Err(Damaged), "{word} {bit}");
                    words.header[word].fetch_xor(1 << bit, Relaxed);
                }
            }
            // This one decides only whether somebody else may call the object an orphan.
            words.cell().settle(generation);
            for bit in 0..64 {
                words.header[3].fetch_xor(1 << bit, Relaxed);
                assert!(matches!(words.read(generation), Ok(Seen::Present(_))));
                let described = words.cell().describe().expect("it is sound");
                assert!(!described.expect("it is there").settled);
                words.header[3].fetch_xor(1 << bit, Relaxed);
            }
        }
    }
}
