//! The slabs that a process owns, and the free cells that it knows of.

use std::{
    io::ErrorKind::{QuotaExceeded, StorageFull},
    sync::atomic::AtomicU64,
    time::Duration,
};

use proxystore_limits::{Limit, Shortage};

use super::{
    Local, Slabs,
    record::{Claim, Record},
    shape::{Class, Shape},
    slab::{self, Slab},
    table::Table,
};
use crate::{
    allotment::Allotment, config::Options, control::SLABS, crash, error::ShmError,
    membership::MemberId,
};

/// The slabs of one class that a process owns.
#[derive(Debug, Default)]
pub(super) struct Owned {
    pub(super) slabs: Vec<Own>,
    /// The slab that cells are taken of.
    current: usize,
    /// The slab that was looked at last.
    looked: usize,
}

/// A slab that a process owns.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) number: u32,
    /// Cells that were free when the slab was looked at; only this process takes any.
    free: Vec<u16>,
    /// Since when all cells have been free, as far as anybody has looked.
    pub(super) empty_since: Option<Duration>,
}

/// How many slabs are looked at for free cells before another one is made. What a put costs stays
/// bounded however many slabs there are.
const LOOKS: usize = 4;
/// A slab is worth taking cells of if one out of so many is free, else the looking costs too much.
const WORTH: usize = 8;

impl Owned {
    /// A cell that was free when somebody looked, if one is known: its slab and its number.
    pub(super) fn pop(&mut self) -> Option<(u32, u16)> {
        let own = self.slabs.get_mut(self.current)?;
        let cell = own.free.pop()?;
        own.empty_since = None;
        Some((own.number, cell))
    }

    pub(super) fn push(&mut self, number: u32) {
        self.slabs.push(Own {
            number,
            free: Vec::new(),
            empty_since: None,
        });
    }

    /// Forgets a slab of those that are owned.
    pub(super) fn remove(&mut self, index: usize) {
        self.slabs.swap_remove(index);
        // Another slab may stand there now, of which free cells are known: any will do.
        (self.current, self.looked) = (0, 0);
    }

    /// Looks at a slab for free cells, to take these next; false if fewer than one of `worth` are.
    fn look(&mut self, table: &Table, index: usize, worth: usize) -> bool {
        let Some(own) = self.slabs.get_mut(index) else {
            return false;
        };
        let free = &mut own.free;
        free.clear();
        let tally = table.with(own.number, |slab| {
            slab.tally(|cell| free.extend(u16::try_from(cell)))
        });
        let cells = tally.map_or(0, |tally| tally.free + tally.used + tally.spent);
        let found = !free.is_empty() && free.len() >= cells / worth;
        if found {
            self.current = index;
        }
        found
    }
}

impl Slabs {
    /// Finds free cells in the slabs of a class, or makes another one.
    pub(super) fn refill(
        &self,
        local: &Local,
        owned: &mut Owned,
        class: Class,
        options: Option<&Options>,
    ) -> Result<(), ShmError> {
        let (table, count) = (&local.table, owned.slabs.len());
        for _ in 0..count.min(LOOKS) {
            owned.looked = (owned.looked + 1) % count;
            if owned.look(table, owned.looked, WORTH) {
                return Ok(());
            }
        }
        if class == Class::TICKETS && self.take_over_tickets(table, owned)? {
            return Ok(());
        }
        let budget = options.and_then(|options| options.budget);
        let full = match self.make(class.shape(count), budget) {
            Ok(slab) => {
                owned.push(slab.number());
                self.keep(table, slab);
                owned.look(table, count, usize::MAX);
                if let Some(options) = options {
                    local.set_idle(options.idle);
                }
                if count > 0 {
                    self.see_to_trimming(local);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        // Better few cells than none.
        if (0..count).any(|index| owned.look(table, index, usize::MAX)) {
            return Ok(());
        }
        Err(full)
    }

    /// Takes over slabs of tickets that belong to nobody, until one has free ones; false if there is
    /// none.
    fn take_over_tickets(&self, table: &Table, owned: &mut Owned) -> Result<bool, ShmError> {
        let me = self.membership.check()?;
        for number in self.numbers() {
            let record = self.record(number)?;
            let is_tickets = matches!(record.made(), Ok(Some(made)) if made.shape.is_tickets());
            if !is_tickets || !record.take_over(me) {
                continue;
            }
            let slab = match Slab::open(&self.membership, number) {
                Ok(Some(slab)) => slab,
                // Whoever asks for what it has is told.
                Ok(None) | Err(ShmError::Corrupted { .. }) => continue,
                Err(error) => return Err(error),
            };
            self.membership.add_bytes((slab.len() as u64).cast_signed());
            self.keep(table, slab);
            owned.push(number);
            if owned.look(table, owned.slabs.len() - 1, usize::MAX) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes a slab of this shape, or a smaller one if there is no room for it.
    fn make(&self, mut shape: Shape, budget: Option<u64>) -> Result<Slab, ShmError> {
        loop {
            let error = match self.make_as(shape, budget) {
                // Not even a name or a record has room.
                Err(ShmError::Os { source, .. })
                    if matches!(source.kind(), StorageFull | QuotaExceeded) =>
                {
                    self.full(shape.len() as u64).into()
                }
                Err(error) => error,
                made => return made,
            };
            match (shape.smaller(), &error) {
                (Some(smaller), ShmError::Full { .. }) => shape = smaller,
                _ => return Err(error),
            }
        }
    }

    fn full(&self, needed: u64) -> Shortage {
        Shortage {
            limit: Limit::FileSystem(self.membership.path().to_owned()),
            needed,
            available: 0,
        }
    }

    fn make_as(&self, shape: Shape, budget: Option<u64>) -> Result<Slab, ShmError> {
        let allotment = Allotment::within(budget, &self.membership, shape.len() as u64)?;
        allotment.check(&self.machine)?;
        let (number, claim) = self.claim(shape)?;
        let record = self.record(number)?;
        match Slab::make(&self.membership, number, claim) {
            Ok(slab) => {
                record.publish(claim.generation);
                allotment.keep();
                Ok(slab)
            }
            Err(error) => {
                record.withdraw(claim.generation, None);
                record.disown();
                Err(error)
            }
        }
    }

    /// A slab that nobody owns, for this process to make of this shape.
    fn claim(&self, shape: Shape) -> Result<(u32, Claim), ShmError> {
        let (control, me) = (self.membership.control(), self.membership.check()?);
        // Those that were given back go first, so that there are no more than were needed at a time.
        for number in 0..control.slabs_end() {
            if let Some(claim) = self.record(number)?.claim(me, shape) {
                return Ok((number, claim));
            }
        }
        while let Some(number) = control.new_slab(self.membership.path())? {
            crash::point("slab.new");
            if let Some(claim) = self.record(number)?.claim(me, shape) {
                return Ok((number, claim));
            }
        }
        Err(ShmError::Full {
            reason: format!("the namespace has {SLABS} slabs of small objects already"),
        })
    }

    pub(super) fn record(&self, number: u32) -> Result<Record<'_, AtomicU64>, ShmError> {
        let record = self.membership.control().slab(number);
        record.map(Record::from).ok_or_else(slab::damaged_record)
    }

    pub(super) fn owner(&self, number: u32) -> Option<MemberId> {
        self.record(number).ok().map(|record| record.owner())
    }
}
