//! Objects wherever they are: in cells, in segments, or behind a deferred key.

use proxystore_core::{Memory, Payload};

use crate::{
    config::Options,
    crash,
    error::ShmError,
    key::{Place, Reference},
    membership::MemberId,
    mutants::{Mutant, is_active},
    namespace::Namespace,
    segments::Found,
    slabs,
};

/// How an object is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    View,
    Copy,
}

impl Namespace {
    /// Puts an object where objects of its size go, for the deferred key of this word or for none
    /// if it is zero.
    pub(crate) fn store(
        &self,
        payload: &Payload<'_>,
        ticket: u64,
        options: &Options,
    ) -> Result<Reference, ShmError> {
        self.membership.touch();
        if payload.len() <= slabs::LARGEST {
            match self.slabs.put(payload, ticket, options) {
                // There may be room for a page where there is none for a slab, or a disk.
                Err(ShmError::Full { .. }) if !payload.is_empty() => {}
                outcome => return outcome,
            }
        }
        self.segments.put(payload, ticket, options)
    }

    /// The object that a reference names, if it is there.
    pub(crate) fn get(
        &self,
        reference: Reference,
        wanted: Wanted,
    ) -> Result<Option<Memory>, ShmError> {
        self.membership.touch();
        self.find(reference, |reference| {
            let generation = reference.generation;
            match (reference.place, wanted) {
                (Place::Segment(number), Wanted::View) => self.segments.get(number, generation),
                (Place::Segment(number), Wanted::Copy) => {
                    self.segments.get_copy(number, generation)
                }
                (Place::Cell { slab, cell }, _) => self.slabs.get(slab, cell, generation),
                (Place::Ticket { .. }, _) => Ok(None),
            }
        })
    }

    /// Whether the object that a reference names is there.
    pub(crate) fn exists(&self, reference: Reference) -> Result<bool, ShmError> {
        let found = self.find(reference, |reference| self.look(reference))?;
        Ok(found.is_some())
    }

    /// Whether there is an object at a place, and which deferred key it was put for.
    fn look(&self, reference: Reference) -> Result<Option<Found<()>>, ShmError> {
        let generation = reference.generation;
        match reference.place {
            Place::Segment(number) => self.segments.exists(number, generation),
            Place::Cell { slab, cell } => self.slabs.exists(slab, cell, generation),
            Place::Ticket { .. } => Ok(None),
        }
    }

    /// What `look` finds for a reference; for that of a deferred key, for what the key names.
    fn find<T>(
        &self,
        reference: Reference,
        look: impl Fn(Reference) -> Result<Option<Found<T>>, ShmError>,
    ) -> Result<Option<T>, ShmError> {
        let Place::Ticket { slab, cell } = reference.place else {
            return Ok(look(reference)?.map(|found| found.object));
        };
        let ticket = reference.to_word();
        let mut named = self.slabs.target(slab, cell, reference.generation)?;
        while let Some(target) = named.filter(|&target| target != 0) {
            let place = Reference::from_word(target).ok_or(ShmError::Corrupted {
                problem: "its deferred key names no place",
            })?;
            // A place that has been used again says which key it is used for now.
            if let Some(found) = look(place)?
                && found.ticket == ticket
            {
                return Ok(Some(found.object));
            }
            // Gone, or replaced between the two looks.
            let again = self.slabs.target(slab, cell, reference.generation)?;
            if again == named {
                return Ok(None);
            }
            named = again;
        }
        Ok(None)
    }

    /// Removes the object that a reference names, if it is there.
    pub(crate) fn remove(&self, reference: Reference) -> Result<(), ShmError> {
        let generation = reference.generation;
        match reference.place {
            Place::Segment(number) => self.segments.evict(number, generation),
            Place::Cell { slab, cell } => self.slabs.evict(slab, cell, generation),
            Place::Ticket { .. } => self.name(reference, 0).map(drop),
        }
    }

    /// Puts an object for a deferred key, in place of the one that is there; false if the key is
    /// none, or none any more.
    pub(crate) fn set(
        &self,
        ticket: Reference,
        payload: &Payload<'_>,
        options: &Options,
    ) -> Result<bool, ShmError> {
        if !matches!(ticket.place, Place::Ticket { .. }) {
            return Ok(false);
        }
        loop {
            let object = self.store(payload, ticket.to_word(), options)?;
            crash::point("set.stored");
            let outcome = self.name(ticket, object.to_word());
            if !matches!(outcome, Ok(true)) {
                self.remove(object)?;
                return outcome;
            }
            // A process that was stopped for long between these steps may have had its object taken
            // for one that was replaced.
            if self.look(object)?.is_some() || !self.slabs.names(ticket.to_word(), object)? {
                return outcome;
            }
        }
    }

    /// Lets a deferred key name `new`, and removes what it named before; false if there is no such
    /// key.
    fn name(&self, ticket: Reference, new: u64) -> Result<bool, ShmError> {
        let Place::Ticket { slab, cell } = ticket.place else {
            return Ok(false);
        };
        let generation = ticket.generation;
        let mut current = match self.slabs.target(slab, cell, generation) {
            Ok(Some(current)) => current,
            Ok(None) => return Ok(false),
            // What it named is not known any more; it can name something else all the same.
            Err(ShmError::Corrupted { .. }) => 0,
            Err(error) => return Err(error),
        };
        while let Err(other) = self.slabs.retarget(slab, cell, generation, current, new)? {
            let Some(other) = other else {
                return Ok(false);
            };
            current = other;
        }
        crash::point("set.named");
        // Only what was put for this key: a damaged key must not cost another one its object.
        if let Some(old) = Reference::from_word(current)
            && !is_active(Mutant::KeepReplaced)
            && self
                .look(old)?
                .is_some_and(|found| found.ticket == ticket.to_word())
        {
            self.remove(old)?;
        }
        Ok(true)
    }

    /// Removes large objects whose deferred key has not named them for so long (milliseconds) that
    /// whoever put another one in their place, or was about to let the key name them, is dead. The
    /// slabs know this of small ones without a time.
    pub(crate) fn remove_replaced(&self, age: u64) -> Result<(), ShmError> {
        let time = self.membership.touch().saturating_sub(age);
        for (object, ticket) in self.segments.tickets_before(time) {
            if !self.slabs.names(ticket, object)? {
                self.remove(object)?;
            }
        }
        Ok(())
    }

    /// Removes what a dead process had put for deferred keys that do not name it: none will.
    pub(crate) fn remove_orphans(&self, dead: MemberId) -> Result<(), ShmError> {
        for (object, ticket) in self.segments.tickets(dead) {
            if !self.slabs.names(ticket, object)? {
                crash::point("orphan.found");
                self.remove(object)?;
            }
        }
        Ok(())
    }
}
