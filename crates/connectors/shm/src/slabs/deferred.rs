//! Tickets of deferred keys: which object each of them names.

use super::{Slabs, cell::Seen, shape::Class};
use crate::{
    crash,
    error::ShmError,
    key::{Place, Reference},
};

impl Slabs {
    /// A ticket that has no object yet.
    ///
    /// # Errors
    ///
    /// [`ShmError::Full`] if there is no room.
    pub(crate) fn new_ticket(&self) -> Result<Reference, ShmError> {
        let (slab, cell, generation) = self.take(Class::TICKETS, None, |slab, index, taken| {
            let ticket = slab.ticket(index)?;
            let generation = ticket.take()?;
            drop(taken);
            ticket.publish(generation);
            Some(generation)
        })?;
        Ok(Reference {
            place: Place::Ticket { slab, cell },
            generation,
        })
    }

    /// The object that a ticket names; zero if there is none yet, none if the ticket is gone.
    pub(crate) fn target(
        &self,
        slab: u32,
        cell: u32,
        generation: u32,
    ) -> Result<Option<u64>, ShmError> {
        self.look(slab, |slab| match slab.ticket(cell as usize) {
            Some(ticket) => ticket.target(generation),
            None => Ok(Seen::Past),
        })
    }

    /// Lets a ticket name another object, if it names `current`; else what it names instead, or
    /// none if the ticket is gone.
    pub(crate) fn retarget(
        &self,
        slab: u32,
        cell: u32,
        generation: u32,
        current: u64,
        new: u64,
    ) -> Result<Result<(), Option<u64>>, ShmError> {
        let moved = self.look(slab, |slab| match slab.ticket(cell as usize) {
            Some(ticket) => ticket.retarget(generation, current, new),
            None => Ok(Seen::Past),
        })?;
        match moved {
            Some(Ok(())) => {
                if let Some(object) = Reference::from_word(new) {
                    self.settle(Place::Ticket { slab, cell }, object)?;
                }
                Ok(Ok(()))
            }
            Some(Err(other)) => Ok(Err(Some(other))),
            None => Ok(Err(None)),
        }
    }

    /// Notes that an object of a cell has been named by a ticket. If it no longer is, whoever put
    /// another one in its place may have died without knowing that, so it is removed.
    pub(super) fn settle(&self, ticket: Place, object: Reference) -> Result<(), ShmError> {
        let (
            Place::Ticket { slab, cell },
            Place::Cell {
                slab: number,
                cell: index,
            },
        ) = (ticket, object.place)
        else {
            return Ok(());
        };
        self.look(number, |slab| {
            if let Some(cell) = slab.cell(index as usize) {
                cell.settle(object.generation);
            }
            Ok(Seen::Present(()))
        })?;
        crash::point("object.settled");
        let named = self.look(slab, |slab| {
            let ticket = slab.ticket(cell as usize);
            let named = ticket.is_some_and(|ticket| ticket.is_named(object.to_word()));
            Ok(Seen::Present(named))
        })?;
        if named == Some(false) {
            self.evict(number, index, object.generation)?;
        }
        Ok(())
    }

    /// Whether the ticket of this word names an object.
    pub(crate) fn names(&self, ticket: u64, object: Reference) -> Result<bool, ShmError> {
        let Some(Reference { place, generation }) = Reference::from_word(ticket) else {
            return Ok(false);
        };
        let Place::Ticket { slab, cell } = place else {
            return Ok(false);
        };
        Ok(self.target(slab, cell, generation)? == Some(object.to_word()))
    }
}
