//! The control file: what all processes of a namespace know of each other and of the objects.
//!
//! | offset | content |
//! |---|---|
//! | 0 | [`Header`](HeaderWord): 512 words |
//! | 4096 | [`PROCESSES`] records of 8 words, one per process slot |
//! | then | [`SLABS`] records of 4 words, one per slab |
//! | then | [`SEGMENTS`] records of 8 words, one per segment |
//!
//! The file is sparse. Its records are given memory in runs, before anybody touches them, as
//! touching a page that a full file system has no room for kills the process.

use std::{
    fs::File,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::{
    error::ShmError,
    mapped::{Inheritance, Mapped},
};

/// How many processes can use a namespace at a time.
pub(crate) const PROCESSES: u32 = 1 << 12;
/// How many slabs a namespace can have.
pub(crate) const SLABS: u32 = 1 << 16;
/// How many segments a namespace can have.
pub(crate) const SEGMENTS: u32 = 1 << 20;

const HEADER_LEN: usize = 4096;
const PROCESS_LEN: usize = 64;
const SLAB_LEN: usize = 32;
const SEGMENT_LEN: usize = 64;

const PROCESSES_AT: usize = HEADER_LEN;
const SLABS_AT: usize = PROCESSES_AT + PROCESSES as usize * PROCESS_LEN;
const SEGMENTS_AT: usize = SLABS_AT + SLABS as usize * SLAB_LEN;
const LEN: usize = SEGMENTS_AT + SEGMENTS as usize * SEGMENT_LEN;

/// Bytes that records are given at a time.
const RUN: usize = 16 << 10;

/// Which word of the header holds what.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum HeaderWord {
    /// What the file is, and the version of its format.
    Magic = 0,
    /// The random number that keys of this namespace carry.
    Id = 1,
    /// When the namespace was made, in milliseconds since the host was started.
    Made = 2,
    /// A checksum of the words before.
    Check = 3,
    /// Milliseconds for which objects outlive the last process; the most that any asked for.
    Hold = 8,
    /// When a process last used the namespace, in milliseconds since the host was started.
    Used = 9,
    /// One more than the largest process slot ever taken.
    ProcessesEnd = 10,
    /// One more than the largest slab ever taken.
    SlabsEnd = 11,
    /// One more than the largest segment ever taken.
    SegmentsEnd = 12,
    /// How many slab records have memory behind them.
    SlabsReady = 13,
    /// How many segment records have memory behind them.
    SegmentsReady = 14,
}

/// What a process says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessRecord<'a> {
    /// Counts the takings and leavings of this slot: odd while a process has it. Set before the
    /// process pins anything.
    pub(crate) incarnation: &'a AtomicU64,
    /// The process's number, for people.
    pub(crate) pid: &'a AtomicU64,
    /// Bytes of its segments and slabs; only this process writes it.
    pub(crate) bytes: &'a AtomicU64,
    /// When it last used the namespace, in milliseconds since the host was started.
    pub(crate) used: &'a AtomicU64,
    /// Bytes that it is about to take from the system and has not got yet; only it writes this.
    pub(crate) reserved: &'a AtomicU64,
}

/// A slab: see `slabs`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlabRecord<'a> {
    /// Its state word.
    pub(crate) state: &'a AtomicU64,
    /// The member that takes cells of it.
    pub(crate) owner: &'a AtomicU64,
    /// What its cells are like.
    pub(crate) shape: &'a AtomicU64,
}

/// A segment: see `segments`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentRecord<'a, W = AtomicU64> {
    /// Its state word.
    pub(crate) state: &'a W,
    /// The member that uses its memory again.
    pub(crate) owner: &'a W,
    /// Bytes of the object.
    pub(crate) len: &'a W,
    /// Bytes of memory behind it.
    pub(crate) capacity: &'a W,
    /// Whether it is spilled, with a check of this generation's `len` and `ticket`.
    pub(crate) details: &'a W,
    /// The word of the deferred key that the object was put for, or zero.
    pub(crate) ticket: &'a W,
    /// When the object was put, in milliseconds since the host was started.
    pub(crate) put: &'a W,
}

/// The mapped control file.
#[derive(Debug)]
pub(crate) struct Control {
    file: File,
    mapped: Mapped,
}

impl Control {
    /// Makes the content of a new control file. It becomes one by being renamed to its name.
    pub(crate) fn initialise(file: File, path: &Path, id: u64, now: u64) -> Result<Self, ShmError> {
        file.set_len(LEN as u64)
            .map_err(ShmError::os("sizing the control file", path))?;
        fallocate(&file, FallocateFlags::empty(), 0, SLABS_AT as u64)
            .map_err(ShmError::os("reserving the control file", path))?;
        let control = Self::map(file, path)?;
        control
            .header(HeaderWord::Magic)
            .store(MAGIC, Ordering::Relaxed);
        control.header(HeaderWord::Id).store(id, Ordering::Relaxed);
        control
            .header(HeaderWord::Made)
            .store(now, Ordering::Relaxed);
        control
            .header(HeaderWord::Used)
            .store(now, Ordering::Relaxed);
        let check = control.check();
        control
            .header(HeaderWord::Check)
            .store(check, Ordering::Release);
        Ok(control)
    }

    /// Opens what `initialise` made.
    pub(crate) fn open(file: File, path: &Path) -> Result<Self, ShmError> {
        let len = file
            .metadata()
            .map_err(ShmError::os("looking at the control file", path))?
            .len();
        if len != LEN as u64 {
            return Err(ShmError::foreign(path, "it has another size"));
        }
        let control = Self::map(file, path)?;
        if control.header(HeaderWord::Magic).load(Ordering::Acquire) != MAGIC {
            return Err(ShmError::foreign(path, "it does not begin as one"));
        }
        if control.header(HeaderWord::Check).load(Ordering::Acquire) != control.check() {
            return Err(ShmError::foreign(path, "its header is damaged"));
        }
        Ok(control)
    }

    fn map(file: File, path: &Path) -> Result<Self, ShmError> {
        let mapped = Mapped::new(&file, LEN, Inheritance::Inherited)
            .map_err(ShmError::os("mapping the control file", path))?;
        Ok(Self { file, mapped })
    }

    fn check(&self) -> u64 {
        let words = self.mapped.words(0, HeaderWord::Check as usize);
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
            .collect();
        twox_hash::XxHash3_64::oneshot(&bytes)
    }

    pub(crate) fn id(&self) -> u64 {
        self.header(HeaderWord::Id).load(Ordering::Relaxed)
    }

    pub(crate) fn header(&self, word: HeaderWord) -> &AtomicU64 {
        &self.mapped.words(0, HEADER_LEN / 8)[word as usize]
    }

    /// The record of process slot `slot`, which is less than [`PROCESSES`].
    pub(crate) fn process(&self, slot: u32) -> ProcessRecord<'_> {
        let words = self.record(PROCESSES_AT, PROCESS_LEN, slot);
        ProcessRecord {
            incarnation: &words[0],
            pid: &words[1],
            bytes: &words[2],
            used: &words[3],
            reserved: &words[4],
        }
    }

    /// The record of a slab, if it ever was one.
    pub(crate) fn slab(&self, number: u32) -> Option<SlabRecord<'_>> {
        if u64::from(number) >= self.header(HeaderWord::SlabsReady).load(Ordering::Acquire) {
            return None;
        }
        let words = self.record(SLABS_AT, SLAB_LEN, number);
        Some(SlabRecord {
            state: &words[0],
            owner: &words[1],
            shape: &words[2],
        })
    }

    /// The record of a segment, if it ever was one.
    pub(crate) fn segment(&self, number: u32) -> Option<SegmentRecord<'_>> {
        if u64::from(number)
            >= self
                .header(HeaderWord::SegmentsReady)
                .load(Ordering::Acquire)
        {
            return None;
        }
        let words = self.record(SEGMENTS_AT, SEGMENT_LEN, number);
        Some(SegmentRecord {
            state: &words[0],
            owner: &words[1],
            len: &words[2],
            capacity: &words[3],
            details: &words[4],
            ticket: &words[5],
            put: &words[6],
        })
    }

    fn record(&self, at: usize, len: usize, index: u32) -> &[AtomicU64] {
        self.mapped.words(at + index as usize * len, len / 8)
    }

    /// A segment record that nobody has used yet, or none if all have been.
    pub(crate) fn new_segment(&self, path: &Path) -> Result<Option<u32>, ShmError> {
        self.grow(
            SEGMENTS_AT,
            SEGMENT_LEN,
            SEGMENTS,
            HeaderWord::SegmentsReady,
            HeaderWord::SegmentsEnd,
            path,
        )
    }

    /// A slab record that nobody has used yet, or none if all have been.
    pub(crate) fn new_slab(&self, path: &Path) -> Result<Option<u32>, ShmError> {
        self.grow(
            SLABS_AT,
            SLAB_LEN,
            SLABS,
            HeaderWord::SlabsReady,
            HeaderWord::SlabsEnd,
            path,
        )
    }

    /// One more than the largest segment that was ever taken.
    pub(crate) fn segments_end(&self) -> u32 {
        end(self.header(HeaderWord::SegmentsEnd), SEGMENTS)
    }

    /// One more than the largest slab that was ever taken.
    pub(crate) fn slabs_end(&self) -> u32 {
        end(self.header(HeaderWord::SlabsEnd), SLABS)
    }

    /// The owner words of all segments and slabs that have an owner.
    pub(crate) fn owners(&self) -> impl Iterator<Item = u64> + '_ {
        let segments = (0..self.segments_end())
            .filter_map(|number| self.segment(number))
            .map(|record| record.owner);
        let slabs = (0..self.slabs_end())
            .filter_map(|number| self.slab(number))
            .map(|record| record.owner);
        let owners = segments.chain(slabs);
        owners
            .map(|owner| owner.load(Ordering::Acquire))
            .filter(|&owner| owner != 0)
    }

    fn grow(
        &self,
        at: usize,
        len: usize,
        most: u32,
        ready: HeaderWord,
        end: HeaderWord,
        path: &Path,
    ) -> Result<Option<u32>, ShmError> {
        let (ready, end) = (self.header(ready), self.header(end));
        loop {
            let next = end.load(Ordering::Acquire);
            if next >= u64::from(most) {
                return Ok(None);
            }
            if next >= ready.load(Ordering::Acquire) {
                // Reserving twice does no harm, so nobody needs to be kept from it.
                let start = (at + usize::try_from(next).unwrap_or(0) * len) / RUN * RUN;
                let stop = (start + 2 * RUN).min(LEN);
                fallocate(
                    &self.file,
                    FallocateFlags::KEEP_SIZE,
                    start as u64,
                    (stop - start) as u64,
                )
                .map_err(io::Error::from)
                .map_err(ShmError::os("reserving the control file", path))?;
                let reserved = ((stop - at) / len).min(most as usize);
                ready.fetch_max(reserved as u64, Ordering::AcqRel);
            }
            let outcome = end.compare_exchange(next, next + 1, Ordering::AcqRel, Ordering::Acquire);
            if outcome.is_ok() {
                return Ok(u32::try_from(next).ok());
            }
        }
    }
}

/// "pxshm" and the version of the format.
const MAGIC: u64 = 0x7078_7368_6d00_0001;

fn end(word: &AtomicU64, most: u32) -> u32 {
    u32::try_from(word.load(Ordering::Acquire)).map_or(most, |end| end.min(most))
}
