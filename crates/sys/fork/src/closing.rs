//! Descriptors that forked children close.

use std::{
    array,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    },
};

use rustix::fs::fstat;

use crate::generation;

/// Places of one part of the table.
const PART: usize = 1024;
/// Parts of the table, which are made as they are needed and never given back.
const PARTS: usize = 64;
/// What stands in a place that holds no descriptor.
const NONE: RawFd = -1;
/// What stands in a place that is being filled.
const TAKEN: RawFd = -2;

type Part = [Place; PART];

struct Place {
    descriptor: AtomicI32,
    /// Of the file that the descriptor stands for: by a fork it may stand for another.
    inode: AtomicU64,
}

/// There is no lock: a child would inherit it in whatever state it is.
static TABLE: [AtomicPtr<Part>; PARTS] = [const { AtomicPtr::new(ptr::null_mut()) }; PARTS];
/// Where to look for an empty place first.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A descriptor that every forked child closes before it runs anything else, until this is dropped
/// or the descriptor is closed.
///
/// A child that keeps a copy of a listening socket keeps the port when its parent is gone, and one
/// that keeps a copy of a connection keeps the peer waiting. Children that are made without
/// `pthread_atfork` handlers keep theirs, and what a child inherits of the descriptor's owner it
/// must forget, as dropping it would close what has the same number by then.
#[derive(Debug)]
#[must_use = "dropping it lets children keep the descriptor"]
pub struct ClosedInChild {
    /// None if the table is full.
    place: Option<usize>,
    generation: u64,
}

impl ClosedInChild {
    /// Lets children close `descriptor`.
    pub fn new(descriptor: impl AsFd) -> Self {
        install();
        Self {
            place: enter(descriptor.as_fd()),
            generation: generation(),
        }
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        // The table of a child is its own.
        if self.generation == generation()
            && let Some(place) = self.place
            && let Some(part) = part(place / PART)
        {
            part[place % PART].descriptor.store(NONE, Ordering::Release);
        }
    }
}

fn enter(descriptor: BorrowedFd<'_>) -> Option<usize> {
    let inode = fstat(descriptor).ok()?.st_ino;
    let first = NEXT.load(Ordering::Relaxed);
    for attempt in 0..PART * PARTS {
        let place = (first + attempt) % (PART * PARTS);
        let part = match part(place / PART) {
            Some(part) => part,
            None => grow(place / PART),
        };
        let free = &part[place % PART];
        let outcome =
            free.descriptor
                .compare_exchange(NONE, TAKEN, Ordering::AcqRel, Ordering::Relaxed);
        if outcome.is_ok() {
            free.inode.store(inode, Ordering::Relaxed);
            let number = descriptor.as_raw_fd();
            free.descriptor.store(number, Ordering::Release);
            // Parts are filled one after the other: the next place after the last one of a part
            // is looked for from the start.
            let next = if (place + 1).is_multiple_of(PART) {
                0
            } else {
                place + 1
            };
            NEXT.store(next, Ordering::Relaxed);
            return Some(place);
        }
    }
    None
}

fn part(number: usize) -> Option<&'static Part> {
    let part = TABLE[number].load(Ordering::Acquire);
    // SAFETY: parts are made by `Box::into_raw` and never given back.
    unsafe { part.as_ref() }
}

#[cold]
fn grow(number: usize) -> &'static Part {
    let part: Box<Part> = Box::new(array::from_fn(|_| Place {
        descriptor: AtomicI32::new(NONE),
        inode: AtomicU64::new(0),
    }));
    let fresh = Box::into_raw(part);
    let outcome =
        TABLE[number].compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
    match outcome {
        // SAFETY: made just now, and never given back from here on.
        Ok(_) => unsafe { &*fresh },
        Err(other) => {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
            // SAFETY: made by another thread in the same way.
            unsafe { &*other }
        }
    }
}

fn install() {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: the handler is a function of this library, which is never unloaded; it loads and
        // stores atomics and calls `fstat` and `close`, all of which a forked child may do.
        unsafe { libc::pthread_atfork(None, None, Some(close_all)) == 0 }
    });
}

extern "C" fn close_all() {
    for number in 0..PARTS {
        let Some(part) = part(number) else {
            continue;
        };
        for place in part {
            let number = place.descriptor.swap(NONE, Ordering::AcqRel);
            if number < 0 {
                continue;
            }
            // SAFETY: only asks about a number that may stand for nothing by now.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let inode = place.inode.load(Ordering::Relaxed);
            if fstat(descriptor).is_ok_and(|found| found.st_ino == inode) {
                // SAFETY: the child's copy of a descriptor whose owner the child forgets.
                unsafe { libc::close(number) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, pipe},
        os::fd::OwnedFd,
    };

    use super::*;
    use crate::tests::forked;

    fn is_open(descriptor: RawFd) -> bool {
        // SAFETY: only asks about a number that may stand for nothing.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        rustix::io::fcntl_getfd(descriptor).is_ok()
    }

    #[test]
    fn children_close_what_is_named_for_as_long_as_it_is() {
        let (mut reader, writer) = pipe().expect("a pipe");
        let closed = ClosedInChild::new(&writer);
        let number = writer.as_raw_fd();
        let seen = forked(|| u8::from(is_open(number)));
        assert_eq!(seen, 0);
        drop(closed);
        let seen = forked(|| u8::from(is_open(number)));
        assert_eq!(seen, 1);
        assert!(is_open(number));
        drop(writer);
        assert_eq!(reader.read(&mut [0]).expect("the end"), 0);
    }

    #[test]
    fn what_has_the_number_of_a_closed_descriptor_stays_open() {
        let (_reader, writer) = pipe().expect("a pipe");
        let closed = ClosedInChild::new(&writer);
        let number = writer.as_raw_fd();
        let mut place = OwnedFd::from(writer);
        let (other, _writer) = pipe().expect("another pipe");
        rustix::io::dup2(&other, &mut place).expect("it takes the number");
        assert_eq!(forked(|| u8::from(is_open(number))), 1);
        drop(closed);
    }

    #[test]
    fn many_descriptors_are_remembered_and_forgotten() {
        let (_reader, writer) = pipe().expect("a pipe");
        let many: Vec<_> = (0..3 * PART).map(|_| ClosedInChild::new(&writer)).collect();
        let places: std::collections::HashSet<_> = many.iter().map(|one| one.place).collect();
        assert_eq!(places.len(), many.len());
        drop(many);
        let again: Vec<_> = (0..3 * PART).map(|_| ClosedInChild::new(&writer)).collect();
        assert!(again.iter().all(|one| one.place < Some(5 * PART)));
    }
}
