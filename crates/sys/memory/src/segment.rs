//! Borrowed bytes that others may be writing to.

use std::{
    fmt, io,
    marker::PhantomData,
    mem::MaybeUninit,
    ops::{Bound, RangeBounds},
    os::fd::{AsFd, AsRawFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU8,
};

/// The most segments that one `writev(2)` takes on Linux.
const IOV_MAX: usize = 1024;

/// Segments gathered on the stack for one system call; longer lists take several calls.
const GATHERED: usize = 64;

/// Borrowed bytes that others may be writing to meanwhile.
///
/// Unlike `&[u8]`, a segment does not promise that the bytes stay what they are: it is read through
/// raw pointers only. A reader that races with a writer gets some mixture of old and new bytes,
/// byte by byte, and nothing worse. One that was made of a `&[u8]` remembers that nobody writes to
/// it: [`as_slice`](Self::as_slice).
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    pointer: NonNull<u8>,
    len: usize,
    /// Whether this was a `&'a [u8]`, or a part of one.
    constant: bool,
    memory: PhantomData<&'a [u8]>,
}

impl<'a> Segment<'a> {
    /// A segment without bytes.
    pub const EMPTY: Self = Self {
        pointer: NonNull::dangling(),
        len: 0,
        constant: true,
        memory: PhantomData,
    };

    /// A segment over `len` bytes at `pointer`.
    ///
    /// # Safety
    ///
    /// The memory must stay allocated and readable for `'a`. It may be written to meanwhile, by
    /// other threads or processes.
    #[must_use]
    pub const unsafe fn from_raw_parts(pointer: NonNull<u8>, len: usize) -> Self {
        Self {
            pointer,
            len,
            constant: false,
            memory: PhantomData,
        }
    }

    /// The bytes, if nobody writes to them as long as they are borrowed: then they need not be
    /// copied for several readers to see the same.
    #[must_use]
    pub const fn as_slice(&self) -> Option<&'a [u8]> {
        if !self.constant {
            return None;
        }
        // SAFETY: a constant segment is made of a `&'a [u8]` and nothing else, or has no bytes;
        // `pointer` and `len` name that slice or a part of it.
        Some(unsafe { slice::from_raw_parts(self.as_ptr(), self.len) })
    }

    /// The address of the first byte; dangling if the segment is empty.
    #[must_use]
    pub const fn as_ptr(&self) -> *const u8 {
        self.pointer.as_ptr()
    }

    /// The number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part of this segment within `range`, cut at its end.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.saturating_add(1),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len,
        };
        let start = start.min(self.len);
        let end = end.clamp(start, self.len);
        // SAFETY: `start <= self.len`, so the address stays within the memory that whoever made
        // this segment promised, or one past its end.
        let pointer = unsafe { self.pointer.add(start) };
        Self {
            pointer,
            len: end - start,
            constant: self.constant,
            memory: PhantomData,
        }
    }

    /// Copies as many bytes as fit into `target` and returns how many.
    pub fn copy_to(&self, target: &mut [u8]) -> usize {
        let len = self.len.min(target.len());
        // SAFETY: whoever made this segment promised `len` readable bytes; `target` is ours alone,
        // so the two do not overlap. The bytes may change while they are copied, which mixes old
        // and new bytes: no reference to the source exists that would forbid it.
        unsafe { ptr::copy_nonoverlapping(self.as_ptr(), target.as_mut_ptr(), len) };
        len
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::<u8>::with_capacity(self.len);
        // SAFETY: the source is readable for `len` bytes by the promise of whoever made this
        // segment, the target was just allocated for as many, and they become initialised here.
        unsafe {
            ptr::copy_nonoverlapping(self.as_ptr(), bytes.as_mut_ptr(), self.len);
            bytes.set_len(self.len);
        }
        bytes
    }
}

impl<'a> From<&'a [u8]> for Segment<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            pointer: NonNull::from(bytes).cast(),
            len: bytes.len(),
            constant: true,
            memory: PhantomData,
        }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Segment<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<'a> From<&'a Vec<u8>> for Segment<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<'a> From<&'a [AtomicU8]> for Segment<'a> {
    fn from(bytes: &'a [AtomicU8]) -> Self {
        Self {
            pointer: NonNull::from(bytes).cast(),
            len: bytes.len(),
            constant: false,
            memory: PhantomData,
        }
    }
}

impl fmt::Debug for Segment<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Segment")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

// SAFETY: a segment only ever reads, through raw pointers and without any state of its own; the
// memory outlives `'a` on every thread by the promise of whoever made it.
unsafe impl Send for Segment<'_> {}
// SAFETY: as for `Send`; a shared segment can do no more than an owned one, as it is `Copy`.
unsafe impl Sync for Segment<'_> {}

/// Copies a gather list out in pieces, so that what is done with a piece (checksum it, then write
/// it) sees the same bytes, whoever writes to the source meanwhile.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    /// The part that is being copied.
    current: Segment<'a>,
    rest: &'a [Segment<'a>],
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `segments`.
    #[must_use]
    pub const fn new(segments: &'a [Segment<'a>]) -> Self {
        Self {
            current: Segment::EMPTY,
            rest: segments,
        }
    }

    /// Passes over the next `len` bytes, or as many as are left, without copying them, and returns
    /// the segments that they are in; none if those are more than `most`, and then nothing is
    /// passed over.
    pub fn take(&mut self, len: usize, most: usize) -> Option<Vec<Segment<'a>>> {
        let mut ahead = self.clone();
        let mut parts = Vec::new();
        let mut left = len;
        while left > 0 {
            if ahead.current.is_empty() {
                let Some((next, rest)) = ahead.rest.split_first() else {
                    break;
                };
                (ahead.current, ahead.rest) = (*next, rest);
                continue;
            }
            if parts.len() == most {
                return None;
            }
            let part = ahead.current.slice(..left);
            ahead.current = ahead.current.slice(part.len..);
            left -= part.len;
            parts.push(part);
        }
        *self = ahead;
        Some(parts)
    }

    /// Copies the next bytes into `buffer` and returns how many: as many as fit, or all that are
    /// left.
    pub fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.current.is_empty() {
                let Some((next, rest)) = self.rest.split_first() else {
                    break;
                };
                (self.current, self.rest) = (*next, rest);
                continue;
            }
            let copied = self.current.copy_to(&mut buffer[filled..]);
            self.current = self.current.slice(copied..);
            filled += copied;
        }
        filled
    }
}

/// Writes the first bytes of `segments`, in order, with one system call, and returns how many.
///
/// # Errors
///
/// Whatever `writev(2)` answers, `Interrupted` included.
pub fn write_vectored(descriptor: impl AsFd, segments: &[Segment<'_>]) -> io::Result<usize> {
    let descriptor = descriptor.as_fd().as_raw_fd();
    gather(segments, |parts, count| {
        // SAFETY: the first `count` entries name memory that whoever made their segments promised
        // to be readable, and `count <= IOV_MAX`. The kernel only reads it.
        unsafe { libc::writev(descriptor, parts, libc::c_int::try_from(count).unwrap_or(0)) }
    })
}

/// Sends the first bytes of `segments`, in order, over a socket with one system call, and returns
/// how many. A peer that has gone is an error, never a signal.
///
/// # Errors
///
/// Whatever `sendmsg(2)` answers, `WouldBlock` and `Interrupted` included.
pub fn send_vectored(socket: impl AsFd, segments: &[Segment<'_>]) -> io::Result<usize> {
    let socket = socket.as_fd().as_raw_fd();
    gather(segments, |parts, count| {
        // SAFETY: zero is a valid value of every field of this plain structure.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.cast_mut();
        // The field is narrower with some C libraries; the count is at most `IOV_MAX`.
        message.msg_iovlen = count as _;
        // SAFETY: the first `count` entries name memory that whoever made their segments promised
        // to be readable, and `count <= IOV_MAX`. The kernel only reads it, and no address or
        // ancillary data is named.
        unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) }
    })
}

/// Calls `write` with the first segments that have bytes, as the kernel takes them.
fn gather(
    segments: &[Segment<'_>],
    write: impl FnOnce(*const libc::iovec, usize) -> isize,
) -> io::Result<usize> {
    let mut gathered = [const { MaybeUninit::<libc::iovec>::uninit() }; GATHERED];
    let mut count = 0;
    let parts = segments.iter().filter(|segment| !segment.is_empty());
    for (slot, segment) in gathered.iter_mut().zip(parts) {
        slot.write(libc::iovec {
            iov_base: segment.pointer.as_ptr().cast(),
            iov_len: segment.len,
        });
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    const { assert!(GATHERED <= IOV_MAX) };
    let written = write(gathered.as_ptr().cast(), count);
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Writes all bytes of `segments`, in order.
///
/// Goes on after short writes and interruptions, whatever the length of the list and of its parts
/// (one `writev(2)` takes at most 1024 parts and 2 GiB less one page).
///
/// # Errors
///
/// Whatever `writev(2)` answers; some bytes may have been written then. `WriteZero` if the system
/// takes no more bytes without saying why.
pub fn write_all(descriptor: impl AsFd, segments: &[Segment<'_>]) -> io::Result<()> {
    let descriptor = descriptor.as_fd();
    let mut rest = segments;
    while let Some((first, others)) = rest.split_first() {
        if first.is_empty() {
            rest = others;
            continue;
        }
        let mut written = write_once(descriptor, rest)?;
        while let Some((first, others)) = rest.split_first() {
            if written >= first.len {
                written -= first.len;
                rest = others;
                continue;
            }
            if written > 0 {
                // The system stopped within a part: finish it alone, then go on with whole ones.
                let mut part = first.slice(written..);
                while !part.is_empty() {
                    let more = write_once(descriptor, &[part])?;
                    part = part.slice(more..);
                }
                rest = others;
            }
            break;
        }
    }
    Ok(())
}

fn write_once(descriptor: impl AsFd, segments: &[Segment<'_>]) -> io::Result<usize> {
    loop {
        match write_vectored(&descriptor, segments) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Seek},
        os::unix::net::UnixStream,
        thread,
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slices_are_cut_at_the_end() {
        let segment = Segment::from(b"abcdef");
        assert_eq!(segment.slice(2..4).to_vec(), b"cd");
        assert_eq!(segment.slice(..=1).to_vec(), b"ab");
        assert_eq!(segment.slice(4..100).to_vec(), b"ef");
        assert!(segment.slice(100..).is_empty());
        let (start, end) = (4, 2);
        assert!(segment.slice(start..end).is_empty());
        assert!(Segment::EMPTY.slice(1..).is_empty());
    }

    #[test]
    fn copies_stop_at_the_shorter_side() {
        let mut target = [0; 4];
        assert_eq!(Segment::from(b"ab").copy_to(&mut target), 2);
        assert_eq!(&target, b"ab\0\0");
        assert_eq!(Segment::from(b"abcdef").copy_to(&mut target), 4);
        assert_eq!(&target, b"abcd");
    }

    #[test]
    fn short_writes_into_a_full_socket_are_continued() {
        let parts: Vec<Vec<u8>> = (0..50_u8).map(|part| vec![part; 20_001]).collect();
        let segments: Vec<_> = parts.iter().map(Segment::from).collect();
        let (writer, mut reader) = UnixStream::pair().expect("a socket pair");
        let received = thread::scope(|scope| {
            let received = scope.spawn(move || {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map(|_| bytes)
            });
            write_all(&writer, &segments).expect("everything is taken");
            drop(writer);
            received.join().expect("the reader ends").expect("a read")
        });
        assert_eq!(received, parts.concat());
    }

    #[test]
    fn a_refused_write_is_an_error() {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("the device");
        let error = write_all(&full, &[Segment::from(b"x")]).expect_err("no room");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn only_what_nobody_writes_to_is_a_slice() {
        let bytes = *b"abcdef";
        let segment = Segment::from(&bytes);
        assert_eq!(segment.slice(2..4).as_slice(), Some(&b"cd"[..]));
        assert_eq!(Segment::EMPTY.slice(1..).as_slice(), Some(&[][..]));
        let shared = [AtomicU8::new(1), AtomicU8::new(2)];
        assert_eq!(Segment::from(shared.as_slice()).slice(1..).as_slice(), None);
        // SAFETY: `bytes` outlives the segment.
        let raw = unsafe { Segment::from_raw_parts(segment.pointer, segment.len) };
        assert_eq!(raw.as_slice(), None);
    }

    proptest! {
        #[test]
        fn gather_lists_arrive_in_order(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..200),
        ) {
            let segments: Vec<_> = parts.iter().map(Segment::from).collect();
            let mut file = tempfile::tempfile()?;
            write_all(&file, &segments)?;
            file.rewind()?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            prop_assert_eq!(bytes, parts.concat());
        }

        #[test]
        fn pieces_are_full_and_join_to_the_whole(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10),
            size in 1..40_usize,
        ) {
            let segments: Vec<_> = parts.iter().map(Segment::from).collect();
            let mut cursor = Cursor::new(&segments);
            let mut buffer = vec![0; size];
            let mut whole = Vec::new();
            loop {
                let filled = cursor.fill(&mut buffer);
                whole.extend_from_slice(&buffer[..filled]);
                if filled < size {
                    break;
                }
            }
            prop_assert_eq!(cursor.fill(&mut buffer), 0);
            prop_assert_eq!(whole, parts.concat());
        }

        #[test]
        fn what_is_taken_and_what_is_copied_follow_each_other(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10),
            sizes in prop::collection::vec(0..40_usize, 20),
        ) {
            let segments: Vec<_> = parts.iter().map(Segment::from).collect();
            let mut cursor = Cursor::new(&segments);
            let mut whole = Vec::new();
            for size in sizes {
                let before = whole.len();
                let taken = cursor.take(size, 2).map(|taken| {
                    assert!(taken.len() <= 2);
                    taken.iter().flat_map(Segment::to_vec).collect()
                });
                let passed = taken.unwrap_or_else(|| {
                    let mut buffer = vec![0; size];
                    let filled = cursor.fill(&mut buffer);
                    buffer.truncate(filled);
                    buffer
                });
                whole.extend(passed);
                let left = parts.concat().len() - before;
                prop_assert_eq!(whole.len() - before, size.min(left));
            }
            prop_assert_eq!(&whole[..], &parts.concat()[..whole.len()]);
        }
    }
}
