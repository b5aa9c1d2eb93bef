//! One slab: its file, mapped.

use std::{
    fs::File,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{
    cell::{self, Cell, Damaged},
    record::{Claim, Record},
    shape::{FILE_WORDS, Shape},
    ticket::Ticket,
};
use crate::{
    crash,
    error::ShmError,
    mapped::{Inheritance, Mapped},
    membership::Membership,
    word::{Phase, State},
};

/// A slab that this process has mapped.
#[derive(Debug)]
pub(crate) struct Slab {
    mapped: Mapped,
    number: u32,
    generation: u32,
    shape: Shape,
    /// How many cells there are.
    cells: usize,
    /// Words of a cell's payload.
    words: usize,
    /// Where the first payload is.
    payloads_at: usize,
}

/// What a look at all cells of a slab has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Cells that can be taken.
    pub(crate) free: usize,
    /// Cells that hold an object, or are being written, or are damaged.
    pub(crate) used: usize,
    /// Cells that are not used any more, as their generations are used up.
    pub(crate) spent: usize,
    /// The largest generation of all cells.
    pub(crate) latest: u32,
}

impl Slab {
    /// Maps a slab; none if there is no such slab at present.
    pub(crate) fn open(membership: &Membership, number: u32) -> Result<Option<Self>, ShmError> {
        let Some(record) = membership.control().slab(number).map(Record::from) else {
            return Ok(None);
        };
        loop {
            let state = record.state().map_err(|Damaged| damaged_record())?;
            if state.phase != Phase::Live {
                return Ok(None);
            }
            let opened = Self::open_as(membership, number, state.generation, &record);
            // What was found counts only if the slab was not given back, or made anew, meanwhile.
            if record.state() == Ok(state) {
                return opened.map(Some);
            }
        }
    }

    fn open_as(
        membership: &Membership,
        number: u32,
        generation: u32,
        record: &Record<'_, AtomicU64>,
    ) -> Result<Self, ShmError> {
        let made = record.made().map_err(|Damaged| damaged_record())?;
        let shape = made.ok_or_else(damaged_record)?.shape;
        let file = membership
            .open(&name(number), true)?
            .ok_or(ShmError::Corrupted {
                problem: "the file of its slab is missing",
            })?;
        let path = path(membership, number);
        let len = file
            .metadata()
            .map_err(ShmError::os("looking at the file of a slab", &path))?
            .len();
        if len != shape.len() as u64 {
            return Err(ShmError::Corrupted {
                problem: "the file of its slab has another size",
            });
        }
        let mapped = Mapped::new(&file, shape.len(), Inheritance::Private)
            .map_err(ShmError::os("mapping a slab", &path))?;
        let slab = Self::new(mapped, number, generation, shape);
        if !slab.says(membership.control().id()) {
            return Err(ShmError::Corrupted {
                problem: "the file of its slab says that it is another one",
            });
        }
        Ok(slab)
    }

    /// Makes the file of a slab that was claimed. If it fails, there is no file.
    pub(crate) fn make(
        membership: &Membership,
        number: u32,
        claim: Claim,
    ) -> Result<Self, ShmError> {
        Self::make_file(membership, number, claim).inspect_err(|_| {
            // Whoever makes the slab next removes it, if this does not.
            let _ = membership.remove(&name(number));
        })
    }

    fn make_file(membership: &Membership, number: u32, claim: Claim) -> Result<Self, ShmError> {
        // What somebody left who died while making or removing it.
        membership.remove(&name(number))?;
        let file = membership.create(&name(number))?;
        crash::point("slab.created");
        let len = claim.made.shape.len();
        reserve(&file, len as u64)
            .map_err(ShmError::os("reserving a slab", &path(membership, number)))?;
        crash::point("slab.reserved");
        let mapped = Mapped::new(&file, len, Inheritance::Private)
            .map_err(ShmError::os("mapping a slab", &path(membership, number)))?;
        let slab = Self::new(mapped, number, claim.generation, claim.made.shape);
        let free = State::new(claim.made.base, Phase::Free).to_word();
        for state in (0..slab.cells).filter_map(|cell| slab.state(cell)) {
            state.store(free, Ordering::Relaxed);
        }
        let words = slab.mapped.words(0, FILE_WORDS);
        for (word, value) in words
            .iter()
            .zip(slab.description(membership.control().id()))
        {
            word.store(value, Ordering::Relaxed);
        }
        crash::point("slab.made");
        Ok(slab)
    }

    fn new(mapped: Mapped, number: u32, generation: u32, shape: Shape) -> Self {
        Self {
            mapped,
            number,
            generation,
            shape,
            cells: shape.cells(),
            words: shape.cell_len() / 8,
            payloads_at: shape.payload_at(0),
        }
    }

    /// What the first words of the file say.
    fn description(&self, namespace: u64) -> [u64; FILE_WORDS] {
        let mut words = [0; FILE_WORDS];
        words[0] = MAGIC;
        words[1] = namespace;
        words[2] = (u64::from(self.number) << 32) | u64::from(self.generation);
        words[3] = u64::from(self.shape.to_bits());
        words
    }

    fn says(&self, namespace: u64) -> bool {
        let words = self.mapped.words(0, FILE_WORDS).iter();
        words
            .map(|word| word.load(Ordering::Relaxed))
            .eq(self.description(namespace))
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    pub(crate) const fn cells(&self) -> usize {
        self.cells
    }

    /// Bytes of its file.
    pub(crate) const fn len(&self) -> usize {
        self.mapped.len()
    }

    /// A cell for an object, if there is such.
    pub(crate) fn cell(&self, cell: usize) -> Option<Cell<'_, AtomicU64>> {
        if cell >= self.cells || self.shape.is_tickets() {
            return None;
        }
        let payload_at = self.payloads_at + cell * self.words * 8;
        Cell::new(self.header(cell), self.mapped.words(payload_at, self.words))
    }

    /// A ticket, if there is such.
    pub(crate) fn ticket(&self, cell: usize) -> Option<Ticket<'_, AtomicU64>> {
        if cell >= self.cells || !self.shape.is_tickets() {
            return None;
        }
        Ticket::new(self.header(cell))
    }

    fn header(&self, cell: usize) -> &[AtomicU64] {
        let at = self.shape.header_at(cell);
        self.mapped.words(at, self.shape.header_words())
    }

    fn state(&self, cell: usize) -> Option<&AtomicU64> {
        self.header(cell).first()
    }

    /// What is done with a cell.
    pub(crate) fn state_of(&self, cell: usize) -> Result<State, Damaged> {
        self.state(cell).ok_or(Damaged).and_then(cell::state)
    }

    /// Looks at all cells, and tells `free` those that can be taken, the last one first.
    pub(crate) fn tally(&self, mut free: impl FnMut(usize)) -> Tally {
        let mut tally = Tally::default();
        for cell in (0..self.cells).rev() {
            let Ok(state) = self.state_of(cell) else {
                tally.used += 1;
                continue;
            };
            tally.latest = tally.latest.max(state.generation);
            match state {
                State {
                    generation: u32::MAX,
                    phase: Phase::Free,
                } => tally.spent += 1,
                State {
                    phase: Phase::Free, ..
                } => {
                    tally.free += 1;
                    free(cell);
                }
                _ => tally.used += 1,
            }
        }
        tally
    }

    /// Whether this is still the slab of its number.
    pub(crate) fn is_current(&self, membership: &Membership) -> bool {
        let record = membership.control().slab(self.number).map(Record::from);
        let state = record.and_then(|record| record.state().ok());
        state == Some(State::new(self.generation, Phase::Live))
    }
}

/// Gives a file all its memory: touching a page that there is no room for kills the process.
fn reserve(file: &File, len: u64) -> rustix::io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            // What a signal interrupts begins anew, and is little.
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// "pxslab" and the version of the format.
const MAGIC: u64 = 0x7078_736c_6162_0001;

/// The name of a slab's file.
pub(crate) fn name(number: u32) -> String {
    format!("c{number}")
}

fn path(membership: &Membership, number: u32) -> PathBuf {
    membership.path().join(name(number))
}

pub(super) fn damaged_record() -> ShmError {
    ShmError::Corrupted {
        problem: "the record of its slab is not what was written",
    }
}
