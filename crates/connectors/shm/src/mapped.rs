//! Files mapped for all processes to share.

use std::{
    ffi::c_void,
    fmt, io,
    os::fd::AsFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, AtomicU64},
};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// A file's pages, shared with every process that maps it. Unmapped when dropped.
pub(crate) struct Mapped {
    pointer: NonNull<u8>,
    len: usize,
}

/// Whether a forked child sees a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inheritance {
    /// It does.
    Inherited,
    /// It does not, so the memory is freed when the parent gives it up.
    Private,
}

impl Mapped {
    /// Maps the first `len` bytes of a file. Bytes beyond the file's end, or without memory behind
    /// them when the file system is full, kill whoever touches them: reserve them first.
    ///
    /// # Errors
    ///
    /// Whatever `mmap(2)` answers.
    pub(crate) fn new(file: impl AsFd, len: usize, inheritance: Inheritance) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
        let pointer = unsafe { mmap(ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) }?;
        let mapped = Self {
            pointer: NonNull::new(pointer.cast()).ok_or(io::ErrorKind::InvalidData)?,
            len,
        };
        if inheritance == Inheritance::Private {
            // SAFETY: the range is the mapping just made; the advice changes none of its bytes.
            unsafe { madvise(mapped.address(), len, Advice::LinuxDontFork) }?;
        }
        Ok(mapped)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn as_ptr(&self) -> *mut u8 {
        self.pointer.as_ptr()
    }

    fn address(&self) -> *mut c_void {
        self.pointer.as_ptr().cast()
    }

    /// `count` words from byte `offset` on, a multiple of eight; as many of them as lie within the
    /// mapping.
    pub(crate) fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        debug_assert_eq!(offset % 8, 0, "words are aligned");
        let all = self.len / 8;
        let start = offset.div_ceil(8).min(all);
        let count = count.min(all - start);
        // SAFETY: the range lies within the mapping, which starts at a page, so the words are
        // aligned. They are given out as atomics only, which whoever shares the file may write to,
        // and stay mapped while `self` is borrowed.
        unsafe { slice::from_raw_parts(self.pointer.cast().add(start).as_ptr(), count) }
    }

    /// All the words of 32 bits. Nobody uses both these and `words` of one file, as atomics of two
    /// sizes in one place are not ordered.
    pub(crate) fn half_words(&self) -> &[AtomicU32] {
        // SAFETY: as in `words`.
        unsafe { slice::from_raw_parts(self.pointer.cast().as_ptr(), self.len / 4) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, whole; what was handed out was bound to the
        // life of `self`.
        let _ = unsafe { munmap(self.address(), self.len) };
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mapped")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

// SAFETY: pages belong to the process, and what is handed out safely are atomics.
unsafe impl Send for Mapped {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapped {}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::atomic::Ordering};

    use super::*;

    fn file(len: u64) -> File {
        let file = tempfile::tempfile_in("/dev/shm").expect("a file");
        file.set_len(len).expect("room");
        file
    }

    fn map(file: &File, len: usize, inheritance: Inheritance) -> Mapped {
        Mapped::new(file, len, inheritance).expect("a mapping")
    }

    #[test]
    fn mappings_of_a_file_share_its_words() {
        let file = file(4096);
        let first = map(&file, 4096, Inheritance::Inherited);
        let second = map(&file, 4096, Inheritance::Private);
        first.words(8, 1)[0].store(7 << 32 | 9, Ordering::Relaxed);
        assert_eq!(second.words(0, 2)[1].load(Ordering::Relaxed), 7 << 32 | 9);
        let halves = second.half_words()[2..4].iter();
        let halves: Vec<u32> = halves.map(|half| half.load(Ordering::Relaxed)).collect();
        assert!(halves == [9, 7] || halves == [7, 9]);
        drop(first);
        assert_eq!(second.words(8, 1)[0].load(Ordering::Relaxed), 7 << 32 | 9);
    }

    #[test]
    fn there_are_no_words_beyond_the_end() {
        let file = file(4096);
        let mapped = map(&file, 4096, Inheritance::Private);
        for (offset, count, given) in [
            (0, 512, 512),
            (0, 513, 512),
            (0, usize::MAX, 512),
            (4088, 1, 1),
            (4088, 2, 1),
            (4096, 1, 0),
            (usize::MAX / 8 * 8, usize::MAX, 0),
        ] {
            assert_eq!(mapped.words(offset, count).len(), given, "{offset} {count}");
        }
        // A length that is no multiple of a word leaves the rest out.
        let odd = map(&file, 4093, Inheritance::Private);
        assert_eq!(odd.words(0, 512).len(), 511);
        assert_eq!(odd.words(4088, 1).len(), 0);
        assert_eq!(odd.half_words().len(), 1023);
        Mapped::new(&file, 0, Inheritance::Private).expect_err("nothing cannot be mapped");
    }

    /// Whether this process has a mapping at an address.
    fn is_mapped(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("the mappings");
        let starts = maps.lines().filter_map(|line| line.split_once('-'));
        let mut starts = starts.filter_map(|(start, _)| usize::from_str_radix(start, 16).ok());
        starts.any(|start| start == address)
    }

    #[test]
    fn only_what_is_inherited_is_seen_by_a_forked_child() {
        crate::testing::alone(|_| {
            let file = file(4096);
            let inherited = map(&file, 4096, Inheritance::Inherited);
            let private = map(&file, 4096, Inheritance::Private);
            let [seen, unseen] = [&inherited, &private].map(|mapped| mapped.as_ptr() as usize);
            let child = crate::testing::fork(|| {
                assert!(is_mapped(seen) && !is_mapped(unseen));
                inherited.words(0, 1)[0].store(5, Ordering::Relaxed);
            });
            child.join();
            assert_eq!(private.words(0, 1)[0].load(Ordering::Relaxed), 5);
            assert!(is_mapped(seen) && is_mapped(unseen));
            drop(private);
            assert!(is_mapped(seen) && !is_mapped(unseen));
        });
    }
}
