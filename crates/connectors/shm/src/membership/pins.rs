//! What a process holds on to: a count for every segment, in a file that all others look at.
//!
//! | offset | content |
//! |---|---|
//! | 0 | header words: [`MAGIC`], how many counts have memory behind them, the incarnation |
//! | 4096 | a count of 32 bits for every segment |

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsRawFd, RawFd},
    path::Path,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use rustix::{
    fs::{FallocateFlags, fallocate, ftruncate},
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap},
};

use crate::{
    control::SEGMENTS,
    error::ShmError,
    mapped::{Inheritance, Mapped},
    mutants::{Mutant, is_active},
    word::Word,
};

/// "pxpin" and the version of the format.
const MAGIC: u64 = 0x7078_7069_6e00_0001;

const HEADER_LEN: usize = 4096;
const LEN: usize = HEADER_LEN + SEGMENTS as usize * 4;

/// Bytes that are given memory at a time, the header's among the first.
const RUN: usize = 16 << 10;

/// Says that a segment is held on to, before its state is looked at.
pub(crate) fn hold<W: Word>(word: &W, count: u64) {
    word.store(count, Ordering::Relaxed);
    if !is_active(Mutant::NoFence) {
        W::fence(Ordering::SeqCst);
    }
}

/// Orders the end of a segment's use before looking at who holds on to it.
pub(crate) fn before_look<W: Word>() {
    if !is_active(Mutant::NoFence) {
        W::fence(Ordering::SeqCst);
    }
}

/// Whether somebody holds on to a segment; after [`before_look`].
pub(crate) fn is_held<W: Word>(word: &W) -> bool {
    word.load(Ordering::Acquire) != 0
}

/// Says that a segment is not held on to any more, or less; after the last look at its bytes.
pub(crate) fn let_go<W: Word>(word: &W, count: u64) {
    word.store(count, Ordering::Release);
}

impl Word for AtomicU32 {
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order).into()
    }

    fn store(&self, value: u64, order: Ordering) {
        Self::store(self, u32::try_from(value).unwrap_or(u32::MAX), order);
    }

    fn compare_exchange(&self, current: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        let narrow = |value| u32::try_from(value).unwrap_or(u32::MAX);
        Self::compare_exchange(self, narrow(current), narrow(new), order, Ordering::Acquire)
            .map(u64::from)
            .map_err(u64::from)
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}

/// This process's pin file, locked and mapped.
#[derive(Debug)]
pub(super) struct PinFile {
    /// Locked.
    file: File,
    mapped: Mapped,
    /// A page of what is locked, which nobody reads.
    locked: Option<Mapped>,
}

impl PinFile {
    /// Makes the content of a new pin file, which is locked and of which `mapped` is another
    /// descriptor: the counts that `mirror` has.
    pub(super) fn initialise(
        file: File,
        mapped: &File,
        path: &Path,
        mirror: &Mirror,
    ) -> Result<Self, ShmError> {
        ftruncate(&file, LEN as u64).map_err(ShmError::os("sizing the pin file", path))?;
        // Whoever inherits a mapping keeps what was opened for it, and so would keep its lock.
        let mapped = Mapped::new(mapped, LEN, Inheritance::Inherited)
            .map_err(ShmError::os("mapping the pin file", path))?;
        let pins = Self {
            file,
            mapped,
            locked: None,
        };
        pins.reserve_bytes(RUN, path)?;
        pins.header(Header::Magic).store(MAGIC, Ordering::Relaxed);
        for segment in 0..mirror.end() {
            let count = mirror.count(segment);
            if count > 0 {
                pins.reserve(segment, path)?;
                if let Some(word) = pins.count(segment) {
                    word.store(count, Ordering::Relaxed);
                }
            }
        }
        Ok(pins)
    }

    /// Keeps the lock for as long as this process lives, though it may close descriptors that are
    /// not its own, as daemons do: what is mapped stays open. Children do not inherit it.
    pub(super) fn keep_locked(&mut self) {
        // Without a mapping left, the descriptor alone keeps it.
        self.locked = Mapped::new(&self.file, HEADER_LEN, Inheritance::Private).ok();
    }

    /// Forgets, in a forked child, what it has not inherited.
    pub(super) fn forget_lock(&mut self) {
        std::mem::forget(self.locked.take());
    }

    /// Makes sure that a segment's count has memory behind it.
    pub(super) fn reserve(&self, segment: u32, path: &Path) -> Result<(), ShmError> {
        if u64::from(segment) < self.header(Header::Ready).load(Ordering::Relaxed) {
            return Ok(());
        }
        let end = HEADER_LEN + (segment as usize + 1) * 4;
        self.reserve_bytes(end.next_multiple_of(RUN).min(LEN), path)
    }

    fn reserve_bytes(&self, end: usize, path: &Path) -> Result<(), ShmError> {
        fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, end as u64)
            .map_err(ShmError::os("reserving memory for a pin", path))?;
        let ready = (end - HEADER_LEN) / 4;
        self.header(Header::Ready)
            .store(ready as u64, Ordering::Release);
        Ok(())
    }

    /// The count of a segment, if it has memory behind it.
    pub(super) fn count(&self, segment: u32) -> Option<&AtomicU32> {
        count(&self.mapped, segment)
    }

    pub(super) fn incarnation(&self) -> &AtomicU64 {
        self.header(Header::Incarnation)
    }

    fn header(&self, word: Header) -> &AtomicU64 {
        header(&self.mapped, word)
    }
}

impl AsRawFd for PinFile {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The counts of another process.
#[derive(Debug)]
pub(super) struct Counts(Mapped);

impl Counts {
    /// Maps another process's pin file; none if it is none.
    pub(super) fn open(file: &File) -> io::Result<Option<Self>> {
        if file.metadata()?.len() != LEN as u64 {
            return Ok(None);
        }
        let mapped = Mapped::new(file, LEN, Inheritance::Private)?;
        let is_one = header(&mapped, Header::Magic).load(Ordering::Acquire) == MAGIC;
        Ok(is_one.then_some(Self(mapped)))
    }

    pub(super) fn incarnation(&self) -> u64 {
        header(&self.0, Header::Incarnation).load(Ordering::Acquire)
    }

    /// Whether the process holds on to a segment; after [`before_look`].
    pub(super) fn is_held(&self, segment: u32) -> bool {
        count(&self.0, segment).is_some_and(is_held)
    }

    /// How many segments the process holds on to.
    pub(super) fn held(&self) -> usize {
        let ready = header(&self.0, Header::Ready).load(Ordering::Acquire);
        let ready = u32::try_from(ready).unwrap_or(SEGMENTS).min(SEGMENTS);
        (0..ready).filter(|&segment| self.is_held(segment)).count()
    }
}

#[derive(Clone, Copy)]
enum Header {
    Magic,
    /// How many counts have memory behind them.
    Ready,
    Incarnation,
}

fn header(mapped: &Mapped, word: Header) -> &AtomicU64 {
    &mapped.words(0, HEADER_LEN / 8)[word as usize]
}

fn count(mapped: &Mapped, segment: u32) -> Option<&AtomicU32> {
    let ready = header(mapped, Header::Ready).load(Ordering::Acquire);
    if u64::from(segment) >= ready {
        return None;
    }
    mapped.half_words().get(HEADER_LEN / 4 + segment as usize)
}

/// The counts of this process, in memory of its own.
///
/// A forked child finds in it what its parent held on to at the instant of the fork, which the pin
/// file goes on from. It is of atomics in a fixed place, so that it can be read in a child whatever
/// a thread of the parent was doing to it.
pub(super) struct Mirror {
    counts: NonNull<AtomicU32>,
    /// One more than the largest segment ever held on to.
    end: AtomicU32,
}

impl Mirror {
    const LEN: usize = SEGMENTS as usize * 4;

    pub(super) fn new() -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
        let pointer = unsafe { mmap_anonymous(ptr::null_mut(), Self::LEN, access, flags) }?;
        // SAFETY: the range is the mapping just made. A kernel without huge pages may refuse.
        let _ = unsafe { madvise(pointer, Self::LEN, Advice::LinuxNoHugepage) };
        Ok(Self {
            counts: NonNull::new(pointer.cast()).ok_or(io::ErrorKind::InvalidData)?,
            end: AtomicU32::new(0),
        })
    }

    /// Counts one more, and says how many there are. Only ever called under one lock.
    pub(super) fn add(&self, segment: u32) -> u32 {
        let count = self.count(segment).saturating_add(1);
        self.set(segment, count);
        self.end.fetch_max(segment + 1, Ordering::Relaxed);
        count
    }

    /// Counts one less, and says how many there are. Only ever called under one lock.
    pub(super) fn take(&self, segment: u32) -> u32 {
        let count = self.count(segment).saturating_sub(1);
        self.set(segment, count);
        count
    }

    pub(super) fn count(&self, segment: u32) -> u32 {
        let count = self.counts().get(segment as usize);
        count.map_or(0, |count| count.load(Ordering::Acquire))
    }

    fn set(&self, segment: u32, count: u32) {
        if let Some(word) = self.counts().get(segment as usize) {
            word.store(count, Ordering::Release);
        }
    }

    pub(super) fn end(&self) -> u32 {
        self.end.load(Ordering::Relaxed)
    }

    /// Whether nothing is held on to.
    pub(super) fn is_empty(&self) -> bool {
        (0..self.end()).all(|segment| self.count(segment) == 0)
    }

    fn counts(&self) -> &[AtomicU32] {
        // SAFETY: the mapping has room for so many words, is aligned to a page, zero at first, and
        // only ever used as atomics while `self` exists.
        unsafe { slice::from_raw_parts(self.counts.as_ptr(), SEGMENTS as usize) }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, whole; what was handed out was bound to the
        // life of `self`.
        let _ = unsafe { munmap(self.counts.as_ptr().cast(), Self::LEN) };
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mirror")
            .field("end", &self.end())
            .finish_non_exhaustive()
    }
}

// SAFETY: pages belong to the process, and what is handed out are atomics.
unsafe impl Send for Mirror {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mirror {}
