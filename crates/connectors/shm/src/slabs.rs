//! Small objects: cells of slabs, copied by whoever gets them; and tickets.
//!
//! A slab is a file of equal cells. The process that made it is its owner and the only one to take
//! cells of it; the others get and evict what is in them. Nothing is counted and nothing is queued in
//! shared memory, where the death of a process would leave it wrong: the owner finds free cells by
//! looking.
//!
//! # Layout
//!
//! * `cell`, `ticket`, `record`: the protocols, over the words that they use.
//! * `shape`: what sizes there are, and where things are in the file.
//! * `slab`: one slab: its file, mapped; `fill`: copying objects into it.
//! * `table`: the slabs that this process has mapped; `owned`: those of them that it puts into.
//! * `deferred`: tickets; `upkeep`: adopting and clearing.
//! * `trim`: giving back those that hold nothing; `usage`: what all of them take.

mod cell;
#[cfg(test)]
mod crashes;
mod deferred;
mod fill;
#[cfg(test)]
mod model;
mod owned;
mod record;
mod shape;
mod slab;
#[cfg(test)]
mod stress;
mod table;
#[cfg(test)]
mod tests;
mod ticket;
mod trim;
mod upkeep;
mod usage;

use std::{
    array,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use proxystore_core::{Memory, Payload};
use proxystore_limits::Machine;
use proxystore_memory::{Cursor, Segment};

use self::{
    cell::{Damaged, Object, Seen},
    owned::Owned,
    shape::{CLASSES, Class},
    slab::Slab,
    table::Table,
};
use crate::{
    config::Options,
    error::ShmError,
    key::{Place, Reference},
    membership::Membership,
    per_process::PerProcess,
    segments::Found,
};

/// The slabs of a namespace, and those of this process that it puts into.
#[derive(Debug)]
pub(crate) struct Slabs {
    membership: Arc<Membership>,
    /// Shared with the trimming thread.
    local: Arc<PerProcess<Local>>,
    machine: Machine,
}

/// What a process has of the slabs, and a forked child has not.
#[derive(Debug)]
struct Local {
    table: Table,
    /// The slabs that this process owns, by class. Whoever locks one of these may lock entries of
    /// the table next, never the other way round.
    owned: [Mutex<Owned>; CLASSES],
    /// Whether there is a thread that gives back what is idle.
    is_trimmed: AtomicBool,
    /// Milliseconds after which a slab without objects is given back.
    idle: AtomicU64,
}

/// The largest object that is kept in a cell, in bytes.
pub(crate) const LARGEST: usize = 16 << 10;

impl Slabs {
    pub(crate) fn new(membership: Arc<Membership>) -> Self {
        Self {
            membership,
            local: Arc::new(PerProcess::new(Local::default)),
            machine: Machine::default(),
        }
    }

    /// Puts an object of at most [`LARGEST`] bytes, for the ticket of this word or for none if it
    /// is zero.
    ///
    /// # Errors
    ///
    /// [`ShmError::Full`] if there is no room. Nothing is left behind then.
    pub(crate) fn put(
        &self,
        payload: &Payload<'_>,
        ticket: u64,
        options: &Options,
    ) -> Result<Reference, ShmError> {
        let len = payload.len();
        let class = Class::of(len).ok_or_else(|| ShmError::Full {
            reason: format!("{len} bytes are more than a cell holds"),
        })?;
        let sealed = fill::sealed(payload)?;
        let sealed = sealed.as_deref().map(Segment::from);
        let bytes = || {
            let whole = sealed.as_ref().map(std::slice::from_ref);
            Cursor::new(whole.unwrap_or(payload.segments()))
        };
        let (slab, cell, generation) = self.take(class, Some(options), |slab, index, taken| {
            let cell = slab.cell(index)?;
            let generation = cell.take()?;
            drop(taken);
            cell.fill(generation, len, ticket, |words| {
                fill::copy_in(bytes(), len, words);
            });
            Some(generation)
        })?;
        Ok(Reference {
            place: Place::Cell { slab, cell },
            generation,
        })
    }

    /// Lets `take` take a free cell of this process, until it does: it is given the slab, the cell
    /// and the lock on the class, to be dropped once the cell is taken.
    fn take(
        &self,
        class: Class,
        options: Option<&Options>,
        take: impl Fn(&Slab, usize, MutexGuard<'_, Owned>) -> Option<u32>,
    ) -> Result<(u32, u32, u32), ShmError> {
        let local = self.local();
        loop {
            let mut owned = local.lock(class);
            let Some((slab, cell)) = owned.pop() else {
                self.refill(local, &mut owned, class, options)?;
                continue;
            };
            let taken = local
                .table
                .with(slab, |slab| take(slab, usize::from(cell), owned));
            if let Some(generation) = taken.flatten() {
                return Ok((slab, u32::from(cell), generation));
            }
        }
    }

    /// A copy of an object.
    pub(crate) fn get(
        &self,
        slab: u32,
        cell: u32,
        generation: u32,
    ) -> Result<Option<Found<Memory>>, ShmError> {
        let Some(Found { object, ticket }) =
            self.read(slab, cell, generation, Memory::from_words)?
        else {
            return Ok(None);
        };
        let path = self.membership.path();
        let object = object.map_err(ShmError::os("taking memory for a copy", path))?;
        Ok(Some(Found { object, ticket }))
    }

    pub(crate) fn exists(
        &self,
        slab: u32,
        cell: u32,
        generation: u32,
    ) -> Result<Option<Found<()>>, ShmError> {
        self.read(slab, cell, generation, |_, _| ())
    }

    /// What `copy` makes of an object, given its length and its words.
    fn read<T>(
        &self,
        slab: u32,
        cell: u32,
        generation: u32,
        copy: impl Fn(usize, &[AtomicU64]) -> T,
    ) -> Result<Option<Found<T>>, ShmError> {
        let object = self.look(slab, |slab| match slab.cell(cell as usize) {
            Some(cell) => cell.read(generation, &copy),
            None => Ok(Seen::Past),
        })?;
        Ok(object.map(|Object { value, ticket }| Found {
            object: value,
            ticket,
        }))
    }

    /// Removes an object, if it is there.
    pub(crate) fn evict(&self, slab: u32, cell: u32, generation: u32) -> Result<(), ShmError> {
        let evicted = self.look(slab, |slab| match slab.cell(cell as usize) {
            Some(cell) => cell.evict(generation),
            None => Ok(Seen::Past),
        })?;
        let _: Option<()> = evicted;
        Ok(())
    }

    fn local(&self) -> &Local {
        self.local.get()
    }

    /// What `look` sees in a slab, which is mapped if need be, and again if it was made anew.
    fn look<T>(
        &self,
        number: u32,
        look: impl Fn(&Slab) -> Result<Seen<T>, Damaged>,
    ) -> Result<Option<T>, ShmError> {
        let table = &self.local().table;
        loop {
            let seen = table.with(number, |slab| match look(slab) {
                // A mapping of what the slab was before shows nothing of what it is now.
                Ok(Seen::Future) if slab.is_current(&self.membership) => Ok(Seen::Past),
                seen => seen,
            });
            match seen {
                Some(Ok(Seen::Present(value))) => return Ok(Some(value)),
                Some(Ok(Seen::Past)) => return Ok(None),
                Some(Err(Damaged)) => return Err(damaged_cell()),
                Some(Ok(Seen::Future)) | None => {
                    if !self.map(table, number)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Maps a slab as it is now; false if there is no such slab.
    fn map(&self, table: &Table, number: u32) -> Result<bool, ShmError> {
        let Some(slab) = Slab::open(&self.membership, number)? else {
            return Ok(false);
        };
        // Slabs come and go with their owners, and what is mapped of those that are gone keeps
        // their memory.
        table.retain(|slab| slab.is_current(&self.membership));
        self.keep(table, slab);
        Ok(true)
    }

    /// Keeps a slab mapped, instead of another one if there are too many.
    fn keep(&self, table: &Table, slab: Slab) {
        let me = self.membership.id();
        table.insert(slab, |slab| self.owner(slab.number()) != Some(me));
    }
}

impl Default for Local {
    fn default() -> Self {
        Self {
            table: Table::default(),
            owned: array::from_fn(|_| Mutex::default()),
            is_trimmed: AtomicBool::new(false),
            // As long as nothing is put, nobody says otherwise.
            idle: AtomicU64::new(10_000),
        }
    }
}

impl Local {
    /// Sets after how long a slab without objects is given back.
    fn set_idle(&self, idle: Duration) {
        let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        self.idle.store(idle, Ordering::Relaxed);
    }

    fn lock(&self, class: Class) -> MutexGuard<'_, Owned> {
        let owned = &self.owned[class.index()];
        owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn damaged_cell() -> ShmError {
    ShmError::Corrupted {
        problem: "the header of its cell is not what was written",
    }
}
