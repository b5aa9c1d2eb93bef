//! What a get returns.

use std::{
    alloc::{Layout, alloc, dealloc},
    fmt, io,
    marker::PhantomData,
    os::fd::AsFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::io::Errno;

use crate::{mapping::Mapping, recycled, segment::Segment};

/// From this many bytes on, owned memory is mapped on its own, advised to use huge pages, and used
/// again.
const HUGE: usize = recycled::SMALLEST;

/// From this many bytes on, allocations start on a cache line, as vector code wants; before, asking
/// for that costs more than it gives.
const ALIGNED: usize = 4 << 10;
const ALIGNMENT: usize = 64;

/// The bytes of one object, owned by whoever holds this: private and writable.
pub struct Memory(Inner);

enum Inner {
    Owned(Owned),
    Mapped(Mapping),
    Guarded(Guarded),
}

/// A view, and what keeps its file from being written to. The view goes first: fields are dropped
/// in the order of their declaration.
struct Guarded {
    mapping: Mapping,
    _guard: Box<dyn Send + Sync>,
}

impl Memory {
    /// Takes over memory of which every byte is initialised.
    pub(crate) const fn from_owned(owned: Owned) -> Self {
        Self(Inner::Owned(owned))
    }

    /// Takes over a view of a file.
    #[must_use]
    pub const fn from_mapping(mapping: Mapping) -> Self {
        Self(Inner::Mapped(mapping))
    }

    /// Takes over a view of a file whose pages will be used for something else once `guard` is
    /// dropped, which happens after the view is gone.
    #[must_use]
    pub fn guarded(mapping: Mapping, guard: Box<dyn Send + Sync>) -> Self {
        Self(Inner::Guarded(Guarded {
            mapping,
            _guard: guard,
        }))
    }

    /// Owned memory with a copy of `segments`, one after the other.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the system has not as much.
    pub fn copied_from(segments: &[Segment<'_>]) -> io::Result<Self> {
        let len = segments.iter().try_fold(0_usize, |len, segment| {
            len.checked_add(segment.len())
                .ok_or(io::ErrorKind::OutOfMemory)
        })?;
        let memory = Owned::uninitialised(len)?;
        let mut offset = 0;
        for segment in segments {
            // SAFETY: the segment is readable for its length by the promise of whoever made it,
            // and the lengths add up to that of the memory, which nobody else knows yet.
            unsafe {
                let target = memory.pointer().add(offset);
                ptr::copy_nonoverlapping(segment.as_ptr(), target, segment.len());
            }
            offset += segment.len();
        }
        Ok(Self(Inner::Owned(memory)))
    }

    /// Owned memory with the first `len` bytes of `words`, or of as many as there are, each of which
    /// is read once. Whoever shares the words may write to them meanwhile; what mixture of old and
    /// new words was read is for the caller to find out.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the system has not as much.
    pub fn from_words(len: usize, words: &[AtomicU64]) -> io::Result<Self> {
        let len = len.min(words.len().saturating_mul(8));
        let memory = Owned::uninitialised(len)?;
        let pointer = memory.pointer();
        let (whole, rest) = words[..len.div_ceil(8)].split_at(len / 8);
        for (index, word) in whole.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            // SAFETY: `8 * index + 8 <= len`, so the place is within the memory, which nobody else
            // knows yet.
            unsafe { pointer.add(8 * index).cast::<u64>().write_unaligned(word) };
        }
        if let [last] = rest {
            let bytes = last.load(Ordering::Relaxed).to_ne_bytes();
            let start = 8 * whole.len();
            // SAFETY: `len - start < 8` bytes are left of the memory, which nobody else knows yet.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), pointer.add(start), len - start) };
        }
        Ok(Self(Inner::Owned(memory)))
    }

    /// Owned memory with exactly `len` bytes read from where the descriptor stands, straight into
    /// their final place.
    ///
    /// # Errors
    ///
    /// [`ReadError::Ended`] if there are fewer bytes; [`ReadError::Os`] with whatever `read(2)`
    /// answers, or `OutOfMemory`.
    pub fn read_exact(descriptor: impl AsFd, len: usize) -> Result<Self, ReadError> {
        let memory = Owned::uninitialised(len).map_err(ReadError::Os)?;
        let descriptor = descriptor.as_fd();
        let mut filled = 0;
        while filled < len {
            // SAFETY: `filled < len`, so the range is within the memory, which nobody else knows
            // yet. It may be uninitialised, and the kernel only writes to it.
            let target = unsafe {
                slice::from_raw_parts_mut(
                    memory
                        .pointer()
                        .add(filled)
                        .cast::<std::mem::MaybeUninit<u8>>(),
                    len - filled,
                )
            };
            match rustix::io::read(descriptor, target) {
                Ok(([], _)) => return Err(ReadError::Ended { filled }),
                Ok((read, _)) => filled += read.len(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(ReadError::Os(error.into())),
            }
        }
        Ok(Self(Inner::Owned(memory)))
    }

    /// The address of the first byte, dangling if there are none. Whoever writes through it answers
    /// for races with readers, [`as_slice`](Self::as_slice) included.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        match &self.0 {
            Inner::Owned(owned) => owned.pointer(),
            Inner::Mapped(mapping) | Inner::Guarded(Guarded { mapping, .. }) => mapping.as_ptr(),
        }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match &self.0 {
            Inner::Owned(owned) => owned.len,
            Inner::Mapped(mapping) | Inner::Guarded(Guarded { mapping, .. }) => mapping.len(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// If this is a view of a file, reads `len` bytes of it from `offset` on into memory; see
    /// [`Mapping::load`].
    ///
    /// # Errors
    ///
    /// `EIO` if these bytes cannot be read.
    pub fn load(&self, offset: usize, len: usize) -> io::Result<()> {
        match &self.0 {
            Inner::Owned(_) => Ok(()),
            Inner::Mapped(mapping) | Inner::Guarded(Guarded { mapping, .. }) => {
                mapping.load(offset, len)
            }
        }
    }

    /// Whether this is a view of a file rather than a copy.
    #[must_use]
    pub const fn is_mapped(&self) -> bool {
        matches!(self.0, Inner::Mapped(_) | Inner::Guarded(_))
    }

    /// Whether holding this keeps memory from being used for other objects.
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        matches!(self.0, Inner::Guarded(_))
    }

    /// The bytes, if they are owned. A view of a file has no slice, as nobody can promise that the
    /// file stays what it is: use [`as_segment`](Self::as_segment).
    #[must_use]
    pub const fn as_slice(&self) -> Option<&[u8]> {
        match &self.0 {
            Inner::Owned(owned) => {
                // SAFETY: the memory is initialised (nothing hands it out before), stays allocated
                // until `self` is dropped, and writers through `as_ptr` answer for themselves.
                Some(unsafe { slice::from_raw_parts(owned.pointer(), owned.len) })
            }
            Inner::Mapped(_) | Inner::Guarded(_) => None,
        }
    }

    /// The bytes, to be read while others may write.
    #[must_use]
    pub const fn as_segment(&self) -> Segment<'_> {
        match &self.0 {
            // SAFETY: the memory stays allocated until `self` is dropped, which the borrow forbids.
            Inner::Owned(owned) => unsafe { Segment::from_raw_parts(owned.address(), owned.len) },
            Inner::Mapped(mapping) | Inner::Guarded(Guarded { mapping, .. }) => {
                mapping.as_segment()
            }
        }
    }

    /// Copies as many bytes as fit into `target` and returns how many.
    pub fn copy_to(&self, target: &mut [u8]) -> usize {
        self.as_segment().copy_to(target)
    }

    /// Writes as many of `bytes` as there is room for from `offset` on, and returns how many.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let room = self.len().saturating_sub(offset);
        let len = bytes.len().min(room);
        if len > 0 {
            // SAFETY: `offset + len <= self.len()`; the memory is writable, and as it is borrowed
            // exclusively, no slice of it exists, `bytes` included.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_ptr().add(offset), len) };
        }
        len
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.as_segment().to_vec()
    }
}

impl From<Mapping> for Memory {
    fn from(mapping: Mapping) -> Self {
        Self::from_mapping(mapping)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Memory")
            .field("len", &self.len())
            .field("mapped", &self.is_mapped())
            .finish()
    }
}

/// Why a number of bytes could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// There were fewer bytes than expected.
    Ended {
        /// How many bytes there were.
        filled: usize,
    },
    /// The system refused.
    Os(io::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { filled } => write!(formatter, "the data ended after {filled} bytes"),
            Self::Os(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ended { .. } => None,
            Self::Os(error) => Some(error),
        }
    }
}

/// Memory from the allocator or, if large, of its own; not initialised when made.
pub(crate) struct Owned {
    place: Place,
    len: usize,
}

enum Place {
    Allocated(NonNull<u8>, PhantomData<u8>),
    Nowhere,
    /// None only while this is dropped.
    Pages(Option<Mapping>),
}

impl Owned {
    pub(crate) fn uninitialised(len: usize) -> io::Result<Self> {
        let place = if len == 0 {
            Place::Nowhere
        } else if len < HUGE {
            // SAFETY: the layout has at least one byte.
            let pointer = unsafe { alloc(Self::layout(len)?) };
            let pointer = NonNull::new(pointer).ok_or(io::ErrorKind::OutOfMemory)?;
            Place::Allocated(pointer, PhantomData)
        } else {
            Place::Pages(Some(recycled::take(len)?))
        };
        Ok(Self { place, len })
    }

    fn layout(len: usize) -> io::Result<Layout> {
        let alignment = if len < ALIGNED { 16 } else { ALIGNMENT };
        Layout::from_size_align(len, alignment).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    const fn address(&self) -> NonNull<u8> {
        match &self.place {
            Place::Allocated(pointer, _) => *pointer,
            Place::Nowhere | Place::Pages(None) => NonNull::dangling(),
            Place::Pages(Some(mapping)) => mapping.address(),
        }
    }

    pub(crate) const fn pointer(&self) -> *mut u8 {
        self.address().as_ptr()
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        match &mut self.place {
            Place::Allocated(pointer, _) => {
                if let Ok(layout) = Self::layout(self.len) {
                    // SAFETY: allocated in `uninitialised` with the same layout, and freed only
                    // here.
                    unsafe { dealloc(pointer.as_ptr(), layout) };
                }
            }
            Place::Nowhere => {}
            Place::Pages(pages) => {
                if let Some(mapping) = pages.take() {
                    recycled::give(mapping);
                }
            }
        }
    }
}

// SAFETY: the allocation belongs to this value alone, on whatever thread it is.
unsafe impl Send for Owned {}
// SAFETY: shared use only reads the address and the length; whoever writes through the pointer
// answers for races.
unsafe impl Sync for Owned {}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn a_read_fills_the_memory_exactly() {
        for len in [0, 1, 100, HUGE - 1, HUGE, HUGE + 5] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&bytes).expect("room");
            file.rewind().expect("a seek");
            let memory = Memory::read_exact(&file, len).expect("all bytes");
            assert_eq!(memory.len(), len);
            assert_eq!(memory.as_slice(), Some(bytes.as_slice()));
            assert_eq!(memory.to_vec(), bytes);
        }
    }

    #[test]
    fn a_short_read_is_an_error() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"abc").expect("room");
        file.rewind().expect("a seek");
        let error = Memory::read_exact(&file, 4).expect_err("one byte is missing");
        assert!(matches!(error, ReadError::Ended { filled: 3 }));
    }

    #[test]
    fn copies_join_segments() {
        let memory = Memory::copied_from(&[b"ab".into(), Segment::EMPTY, b"c".into()]);
        assert_eq!(memory.expect("memory").to_vec(), b"abc");
        assert!(Memory::copied_from(&[]).expect("memory").is_empty());
    }

    #[test]
    fn words_become_the_bytes_that_they_were() {
        let bytes: Vec<u8> = (0..=250).cycle().take(4096).collect();
        let words: Vec<AtomicU64> = bytes
            .chunks_exact(8)
            .map(|word| AtomicU64::new(u64::from_ne_bytes(word.try_into().expect("eight bytes"))))
            .collect();
        for len in (0..40).chain(4080..=4096) {
            let memory = Memory::from_words(len, &words).expect("memory");
            assert_eq!(memory.to_vec(), bytes[..len]);
        }
        let cut = Memory::from_words(usize::MAX, &words).expect("memory");
        assert_eq!(cut.to_vec(), bytes);
        assert!(Memory::from_words(7, &[]).expect("memory").is_empty());
    }

    #[test]
    fn writes_stay_within_the_memory() {
        let mut memory = Memory::copied_from(&[b"abc".into()]).expect("memory");
        assert_eq!(memory.write_at(1, b"xyz"), 2);
        assert_eq!(memory.write_at(3, b"x"), 0);
        assert_eq!(memory.write_at(usize::MAX, b"x"), 0);
        assert_eq!(memory.to_vec(), b"axy");
    }

    #[test]
    fn memory_starts_on_a_cache_line() {
        let memory = Memory::copied_from(&[(&[1; ALIGNED]).into()]).expect("memory");
        assert_eq!(memory.as_ptr() as usize % ALIGNMENT, 0);
    }
}
