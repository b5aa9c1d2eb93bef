//! Private, copy-on-write views of files.

use std::{
    ffi::c_void,
    fmt, io,
    marker::PhantomData,
    os::fd::AsFd,
    ptr::{self, NonNull},
};

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap},
    param::page_size,
};

use crate::segment::Segment;

/// A private, writable view of memory pages, given back when dropped.
///
/// Over a file, pages are shared with the page cache until they are written to; what is written
/// here is seen by nobody else and never reaches the file. The view outlives the file's name and
/// descriptor. Somebody who writes to the file in place is seen in every page not yet copied, and
/// somebody who truncates it kills this process with SIGBUS at the next access, so only files that
/// are replaced and never changed may be mapped.
pub struct Mapping {
    pointer: NonNull<u8>,
    len: usize,
    memory: PhantomData<u8>,
}

impl Mapping {
    /// Maps the first `len` bytes of a file. Nothing is read until it is touched.
    ///
    /// # Errors
    ///
    /// Whatever `mmap(2)` answers; an empty file cannot be mapped (`InvalidInput`).
    pub fn of_file(descriptor: impl AsFd, len: usize) -> io::Result<Self> {
        // MAP_POPULATE would copy every page at once, as the mapping is private and writable.
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
        let pointer = unsafe { mmap(ptr::null_mut(), len, Self::ACCESS, flags, descriptor, 0) }?;
        Self::adopt(pointer, len)
    }

    /// Maps `len` zeroed bytes of fresh memory, backed by huge pages where the system has them.
    ///
    /// # Errors
    ///
    /// Whatever `mmap(2)` answers; no bytes cannot be mapped (`InvalidInput`).
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
        let pointer = unsafe { mmap_anonymous(ptr::null_mut(), len, Self::ACCESS, flags) }?;
        let mapping = Self::adopt(pointer, len)?;
        // SAFETY: the range is the mapping just made, and this advice changes none of its bytes.
        // It is a wish: a kernel without huge pages refuses it, and nothing is lost.
        let _ = unsafe { madvise(pointer, len, Advice::LinuxHugepage) };
        Ok(mapping)
    }

    const ACCESS: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

    fn adopt(pointer: *mut c_void, len: usize) -> io::Result<Self> {
        let pointer = NonNull::new(pointer.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            pointer,
            len,
            memory: PhantomData,
        })
    }

    /// Reads the pages of `len` bytes from `offset` on, as far as there are such, so that touching
    /// them next finds them there.
    ///
    /// # Errors
    ///
    /// `EIO` where touching them would kill this process with SIGBUS: the device cannot read them,
    /// or the file has become shorter. Linux before 5.14 cannot tell, and nothing is done.
    pub fn load(&self, offset: usize, len: usize) -> io::Result<()> {
        let start = offset.min(self.len) / page_size() * page_size();
        let end = offset.saturating_add(len).min(self.len);
        if start >= end {
            return Ok(());
        }
        loop {
            // SAFETY: the range lies within the mapping and starts at a page; reading pages changes
            // no byte.
            let outcome = unsafe {
                let address = self.pointer.as_ptr().add(start).cast();
                madvise(address, end - start, Advice::LinuxPopulateRead)
            };
            match outcome {
                Ok(()) | Err(Errno::INVAL) => return Ok(()),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::FAULT) => return Err(Errno::IO.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) const fn address(&self) -> NonNull<u8> {
        self.pointer
    }

    /// The address of the first byte. Whoever writes through it answers for races with readers.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.pointer.as_ptr()
    }

    /// The number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes, which no mapping is made of.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, to be read while others may write.
    #[must_use]
    pub const fn as_segment(&self) -> Segment<'_> {
        // SAFETY: the pages stay mapped until `self` is dropped, which the borrow forbids.
        unsafe { Segment::from_raw_parts(self.pointer, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `adopt` took over, whole; every pointer handed out was
        // bound to the life of `self`. Unmapping a whole mapping cannot fail.
        let _ = unsafe { munmap(self.pointer.as_ptr().cast(), self.len) };
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mapping")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

// SAFETY: pages belong to the process, not to a thread, and `Mapping` itself only hands out their
// address; whoever writes through it answers for races.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`: shared use reads the address and the length, which never change.
unsafe impl Sync for Mapping {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pages_that_cannot_be_read_are_an_error_to_load() {
        let file = tempfile::tempfile().expect("a file");
        let (page, len) = (page_size(), 3 * page_size() + 1);
        file.set_len(len as u64).expect("room");
        let view = Mapping::of_file(&file, len).expect("a view");
        for (offset, length) in [
            (0, len),
            (1, 1),
            (len - 1, 1),
            (len, 1),
            (7 * len, 1),
            (9, 0),
        ] {
            view.load(offset, length).expect("it is there");
        }
        view.load(page, usize::MAX).expect("it is there");
        file.set_len(page as u64).expect("it can be cut");
        view.load(0, page).expect("it is there");
        let error = view.load(0, len).expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
        view.load(len - 1, 1).expect_err("it is gone");
    }

    #[test]
    fn a_view_is_private_writable_and_outlives_its_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&[7; 10_000]).expect("room");
        let first = Mapping::of_file(file.as_file(), 10_000).expect("a view");
        let second = Mapping::of_file(file.as_file(), 10_000).expect("a view");
        // SAFETY: nobody else holds a reference into `first`, and the index is in bounds.
        unsafe { first.as_ptr().add(5_000).write(9) };
        assert_eq!(first.as_segment().slice(4_999..5_002).to_vec(), [7, 9, 7]);
        assert_eq!(second.as_segment().to_vec(), [7; 10_000]);
        assert_eq!(std::fs::read(file.path()).expect("a read"), [7; 10_000]);
        file.close().expect("the name goes");
        assert_eq!(second.as_segment().slice(9_999..).to_vec(), [7]);
    }

    #[test]
    fn fresh_memory_is_zeroed() {
        let mapping = Mapping::anonymous(5_000_000).expect("memory");
        assert!(mapping.as_segment().to_vec().iter().all(|&byte| byte == 0));
    }

    #[test]
    fn nothing_cannot_be_mapped() {
        let file = tempfile::tempfile().expect("a file");
        let error = Mapping::of_file(&file, 0).expect_err("no bytes");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
