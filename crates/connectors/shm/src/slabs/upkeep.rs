//! What keeps slabs in order: adopting those of the dead, and clearing.

use std::time::Duration;

use super::{
    Slabs,
    cell::{Damaged, Description},
    shape::Class,
    slab::{self, Slab},
};
use crate::{
    crash,
    error::ShmError,
    key::{Place, Reference},
    membership::MemberId,
    word::Phase,
};

impl Slabs {
    /// Makes the slabs of a dead process this process's own, and frees what it was at: cells that
    /// it was writing, and objects that it had put for a deferred key which does not name them.
    ///
    /// Only for who holds the dead process's lock, and until this has returned. Damaged slabs and
    /// cells stay as they are, for whoever asks for their objects to be told.
    ///
    /// # Errors
    ///
    /// If the system does not let it be done now. Some of the slabs may have been adopted.
    pub(crate) fn adopt(&self, dead: MemberId) -> Result<(), ShmError> {
        for number in self.numbers() {
            if self.owner(number) == Some(dead) {
                self.adopt_one(number, dead)?;
            }
        }
        self.free_replaced()
    }

    fn adopt_one(&self, number: u32, dead: MemberId) -> Result<(), ShmError> {
        let record = self.record(number)?;
        let Ok(state) = record.state() else {
            tracing::warn!(slab = number, "the record of a slab is damaged");
            record.inherit(dead, self.membership.check()?);
            return Ok(());
        };
        if state.phase == Phase::Live {
            return self.adopt_live(number, dead);
        }
        // It died while making the slab or giving it back, so nobody has an object there.
        record.withdraw(state.generation, None);
        self.membership.remove(&slab::name(number))?;
        crash::point("slab.removed");
        record.inherit(dead, MemberId::NOBODY);
        Ok(())
    }

    fn adopt_live(&self, number: u32, dead: MemberId) -> Result<(), ShmError> {
        let (record, me) = (self.record(number)?, self.membership.check()?);
        let slab = match Slab::open(&self.membership, number) {
            Ok(Some(slab)) => slab,
            Ok(None) => return Ok(()),
            Err(error) => {
                warn_if_corrupted(number, error)?;
                record.inherit(dead, me);
                return Ok(());
            }
        };
        for index in 0..slab.cells() {
            let abandoned = match (slab.cell(index), slab.ticket(index)) {
                (Some(cell), _) => cell.abandon(),
                (_, Some(ticket)) => ticket.abandon(),
                _ => false,
            };
            if abandoned {
                crash::point("cell.abandoned");
            }
        }
        // The dead put for no other process, so what its tickets do not name, none will.
        self.free_unnamed(&slab, |_| true)?;
        let class = slab.shape().class();
        if class == Class::TICKETS && !self.local().lock(class).slabs.is_empty() {
            // These are never given back, so whoever needs some takes them before it makes more.
            record.inherit(dead, MemberId::NOBODY);
        } else if record.inherit(dead, me) {
            let local = self.local();
            let mut owned = local.lock(class);
            self.membership.add_bytes((slab.len() as u64).cast_signed());
            self.keep(&local.table, slab);
            owned.push(number);
            if owned.slabs.len() > 1 {
                self.see_to_trimming(local);
            }
        }
        Ok(())
    }

    /// Frees objects that another one was put in place of, for the same deferred key, by a process
    /// that died before it freed them itself.
    ///
    /// # Errors
    ///
    /// If the system does not let it be done now.
    pub(crate) fn free_replaced(&self) -> Result<(), ShmError> {
        // Without deferred keys, which is common, there is nothing to look for.
        let has_tickets = |number| {
            let made = self
                .record(number)
                .ok()
                .and_then(|record| record.made().ok()?);
            made.is_some_and(|made| made.shape.is_tickets())
        };
        if !self.numbers().any(has_tickets) {
            return Ok(());
        }
        for number in self.numbers() {
            let freed = match Slab::open(&self.membership, number) {
                Ok(Some(slab)) => self.free_unnamed(&slab, |object| object.settled),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            freed.or_else(|error| warn_if_corrupted(number, error))?;
        }
        Ok(())
    }

    /// Of a slab's objects that were put for a deferred key and that `select` selects, frees those
    /// that their key does not name.
    fn free_unnamed(
        &self,
        slab: &Slab,
        select: impl Fn(&Description) -> bool,
    ) -> Result<(), ShmError> {
        for index in 0..slab.cells() {
            let (Some(cell), Ok(number)) = (slab.cell(index), u32::try_from(index)) else {
                continue;
            };
            let Ok(Some(object)) = cell.describe() else {
                continue;
            };
            if object.ticket == 0 || !select(&object) {
                continue;
            }
            let reference = Reference {
                place: Place::Cell {
                    slab: slab.number(),
                    cell: number,
                },
                generation: object.generation,
            };
            match self.names(object.ticket, reference) {
                Ok(true) if object.settled => {}
                // Its setter died before it noted that.
                Ok(true) => {
                    if let Some(ticket) = Reference::from_word(object.ticket) {
                        self.settle(ticket.place, reference)?;
                    }
                }
                Ok(false) => {
                    crash::point("orphan.found");
                    let _ = cell.evict(object.generation);
                }
                Err(error) => warn_if_corrupted(slab.number(), error)?,
            }
        }
        Ok(())
    }

    /// Evicts every object of the namespace, and ends every deferred key.
    ///
    /// # Errors
    ///
    /// If something could not be evicted; all else is evicted all the same.
    pub(crate) fn clear(&self) -> Result<(), ShmError> {
        let mut outcome = Ok(());
        for number in self.numbers() {
            let cleared = match Slab::open(&self.membership, number) {
                Ok(Some(slab)) => clear_slab(&slab),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            outcome = outcome.and(cleared);
        }
        outcome.and(self.trim(Duration::ZERO))
    }

    pub(super) fn numbers(&self) -> std::ops::Range<u32> {
        0..self.membership.control().slabs_end()
    }
}

/// Frees all cells that hold something.
fn clear_slab(slab: &Slab) -> Result<(), ShmError> {
    let mut outcome = Ok(());
    for index in 0..slab.cells() {
        let freed = match (slab.cell(index), slab.ticket(index)) {
            (Some(cell), _) => cell.clear(),
            (_, Some(ticket)) => ticket.clear(),
            _ => Ok(()),
        };
        outcome = outcome.and(freed);
    }
    outcome.map_err(|Damaged| super::damaged_cell())
}

/// Tells of damage that something else must not be kept from; passes other errors on.
fn warn_if_corrupted(slab: u32, error: ShmError) -> Result<(), ShmError> {
    match error {
        ShmError::Corrupted { problem } => {
            tracing::warn!(slab, problem, "a slab is damaged");
            Ok(())
        }
        error => Err(error),
    }
}
