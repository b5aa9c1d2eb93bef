//! Memory that is being received.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
    ptr, slice,
};

use crate::memory::{Memory, Owned};

/// Memory of a known length whose first bytes are there already: what a body that arrives in pieces
/// is received into, so that every byte is written to its final place and nowhere else.
///
/// Its pages are taken from the system as they are filled, so that a length that a peer announced
/// costs address space and nothing more.
pub struct Filling {
    memory: Owned,
    /// How many bytes, from the first on, are initialised.
    filled: usize,
}

impl Filling {
    /// Memory for `len` bytes, none of which is there yet.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` if the system has not as much.
    pub fn new(len: usize) -> io::Result<Self> {
        let memory = Owned::uninitialised(len)?;
        Ok(Self { memory, filled: 0 })
    }

    /// The number of bytes that there will be.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there will be no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes that are missing.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.len() - self.filled
    }

    /// The bytes that are there.
    #[must_use]
    pub const fn filled(&self) -> &[u8] {
        // SAFETY: the first `filled` bytes are initialised, and nobody else knows the memory.
        unsafe { slice::from_raw_parts(self.memory.pointer(), self.filled) }
    }

    /// Appends as many of `bytes` as there is room for, and returns how many.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.remaining());
        // SAFETY: `filled + len <= self.len()`, and `bytes` is not this memory, which is borrowed
        // exclusively.
        unsafe {
            let target = self.memory.pointer().add(self.filled);
            ptr::copy_nonoverlapping(bytes.as_ptr(), target, len);
        }
        self.filled += len;
        len
    }

    /// Reads from `descriptor` with one system call: at most `limit` bytes to their place here,
    /// then what else there is into `rest`. Returns how many went where; both are zero at the end
    /// of the data, or if there is room for none.
    ///
    /// # Errors
    ///
    /// Whatever `readv(2)` answers, `WouldBlock` and `Interrupted` included.
    pub fn read(
        &mut self,
        descriptor: impl AsFd,
        limit: usize,
        rest: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        let room = self.remaining().min(limit);
        let parts = [
            libc::iovec {
                // SAFETY: `filled <= self.len()`, so the address is within the memory or its end.
                iov_base: unsafe { self.memory.pointer().add(self.filled) }.cast(),
                iov_len: room,
            },
            libc::iovec {
                iov_base: rest.as_mut_ptr().cast(),
                iov_len: rest.len(),
            },
        ];
        let descriptor = descriptor.as_fd().as_raw_fd();
        // SAFETY: both parts name memory that is borrowed exclusively for as many bytes; the kernel
        // only writes to it.
        let read = unsafe { libc::readv(descriptor, parts.as_ptr(), 2) };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        let here = read.min(room);
        self.filled += here;
        Ok((here, read - here))
    }

    /// The memory, once every byte is there.
    ///
    /// # Errors
    ///
    /// This value, if bytes are missing.
    pub fn finish(self) -> Result<Memory, Self> {
        if self.remaining() == 0 {
            Ok(Memory::from_owned(self.memory))
        } else {
            Err(self)
        }
    }
}

impl fmt::Debug for Filling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Filling")
            .field("len", &self.len())
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream};

    use super::*;
    use crate::segment::{Segment, send_vectored};

    #[test]
    fn bytes_arrive_in_their_place_and_what_follows_beside() {
        let (mut writer, reader) = UnixStream::pair().expect("a socket pair");
        writer.write_all(b"abcdefgh").expect("room");
        let mut filling = Filling::new(5).expect("memory");
        assert_eq!(filling.push(b"xy"), 2);
        let mut rest = [0; 4];
        assert_eq!(filling.read(&reader, 2, &mut rest).expect("bytes"), (2, 4));
        assert_eq!(filling.filled(), b"xyab");
        assert_eq!(&rest, b"cdef");
        let mut filling = filling.finish().expect_err("one byte is missing");
        assert_eq!(filling.read(&reader, 9, &mut rest).expect("bytes"), (1, 1));
        assert_eq!((filling.remaining(), rest[0]), (0, b'h'));
        assert_eq!(filling.push(b"more"), 0);
        assert_eq!(filling.finish().expect("all bytes").to_vec(), b"xyabg");
        drop(writer);
        let mut end = Filling::new(3).expect("memory");
        assert_eq!(end.read(&reader, 3, &mut rest).expect("the end"), (0, 0));
    }

    #[test]
    fn nothing_can_be_received() {
        let filling = Filling::new(0).expect("memory");
        assert!(filling.is_empty());
        assert!(filling.finish().expect("all bytes").is_empty());
    }

    #[test]
    fn a_peer_that_has_gone_is_an_error() {
        let (writer, reader) = UnixStream::pair().expect("a socket pair");
        drop(reader);
        let error = send_vectored(&writer, &[Segment::from(b"x")]).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn segments_are_sent_in_order() {
        let (writer, reader) = UnixStream::pair().expect("a socket pair");
        let parts = [Segment::from(b"ab"), Segment::EMPTY, Segment::from(b"c")];
        assert_eq!(send_vectored(&writer, &parts).expect("room"), 3);
        let memory = Memory::read_exact(&reader, 3).expect("bytes");
        assert_eq!(memory.to_vec(), b"abc");
    }
}
