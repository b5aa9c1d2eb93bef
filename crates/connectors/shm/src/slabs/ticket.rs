//! One ticket: which object a deferred key stands for.
//!
//! A ticket is a cell without payload, whose one word names the object, or nothing. It has the
//! states of a cell. Its key can be set again after it was evicted, and nobody knows who still has
//! the key; so a ticket is only freed when its namespace is cleared or ends. Until then it takes 16
//! bytes.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::cell::{self, Damaged, Seen};
use crate::{crash, word::Word};

/// A ticket of a slab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket<'a, W> {
    state: &'a W,
    /// The reference of the object or zero, as `encode` has it.
    target: &'a W,
}

impl<'a, W: Word> Ticket<'a, W> {
    /// The ticket of these words; none if they are not two.
    pub(crate) fn new(words: &'a [W]) -> Option<Self> {
        let [state, target] = words else {
            return None;
        };
        Some(Self { state, target })
    }

    /// Takes the ticket for a new key, if it is free. Only for the slab's owner.
    pub(crate) fn take(&self) -> Option<u32> {
        cell::take(self.state)
    }

    /// Lets the ticket that was taken name nothing yet.
    pub(crate) fn publish(&self, generation: u32) {
        self.target.store(0, Relaxed);
        crash::point("ticket.written");
        cell::publish(self.state, generation);
        crash::point("ticket.published");
    }

    /// The reference of the object that is named, or zero.
    pub(crate) fn target(&self, generation: u32) -> Result<Seen<u64>, Damaged> {
        match cell::look(self.state, generation)? {
            Seen::Present(()) => {}
            Seen::Past => return Ok(Seen::Past),
            Seen::Future => return Ok(Seen::Future),
        }
        let target = decode(self.target.load(Acquire));
        Ok(if cell::unchanged(self.state, generation)? {
            Seen::Present(target?)
        } else {
            Seen::Past
        })
    }

    /// Names `new` instead of `current`, or of what is no reference; if something else is named,
    /// that.
    ///
    /// Should the ticket be freed and used for another key meanwhile, that key may name `new` for a
    /// moment. Nobody takes that for its object, as `new` says which ticket it was put for.
    pub(crate) fn retarget(
        &self,
        generation: u32,
        current: u64,
        new: u64,
    ) -> Result<Seen<Result<(), u64>>, Damaged> {
        match cell::look(self.state, generation)? {
            Seen::Present(()) => {}
            Seen::Past => return Ok(Seen::Past),
            Seen::Future => return Ok(Seen::Future),
        }
        crash::point("ticket.looked");
        let (mut current, new) = (encode(current), encode(new));
        while let Err(other) = self.target.compare_exchange(current, new, AcqRel) {
            if let Ok(other) = decode(other) {
                return Ok(Seen::Present(Err(other)));
            }
            current = other;
        }
        crash::point("ticket.moved");
        if cell::look(self.state, generation)? == Seen::Present(()) {
            return Ok(Seen::Present(Ok(())));
        }
        if new != 0 {
            let _ = self.target.compare_exchange(new, 0, AcqRel);
        }
        Ok(Seen::Past)
    }

    /// Whether `object`, which was named, still is. Ordered against all who let the ticket name
    /// something else: either this sees it, or they see what the caller wrote before.
    pub(crate) fn is_named(&self, object: u64) -> bool {
        let word = encode(object);
        self.target.compare_exchange(word, word, AcqRel).is_ok()
    }

    /// Frees the ticket, if it is some key's.
    pub(crate) fn clear(&self) -> Result<(), Damaged> {
        cell::clear(self.state)
    }

    /// Frees the ticket if a dead process was making it. Only for who adopts its slab.
    pub(crate) fn abandon(&self) -> bool {
        cell::abandon(self.state)
    }
}

/// A reference, which has 63 bits, below a bit that makes the number of set bits even; so a word
/// with one bit changed is told from one that names something else.
const fn encode(reference: u64) -> u64 {
    reference | ((reference.count_ones() as u64 & 1) << 63)
}

const fn decode(word: u64) -> Result<u64, Damaged> {
    if word.count_ones().is_multiple_of(2) {
        Ok(word & (u64::MAX >> 1))
    } else {
        Err(Damaged)
    }
}
