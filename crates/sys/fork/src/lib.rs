//! Tells whether this process is a fork of the one that asked before.
//!
//! A forked child inherits memory but not threads: locks held by a thread that does not exist,
//! connections that the parent goes on using. Whoever keeps such things notes the
//! [`generation`] they were made in, and starts afresh when it has changed; [`PerProcess`] does so
//! for whatever it holds. Descriptors that children must not keep are named by [`ClosedInChild`].

mod closing;
mod per_process;

pub use self::{closing::ClosedInChild, per_process::PerProcess};

use std::{
    ptr::{self, NonNull},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

/// The first generation; zero is what a forked child finds in the wiped page.
const FIRST: u64 = 1;

/// The newest generation that this process and its ancestors have had.
static NEWEST: AtomicU64 = AtomicU64::new(FIRST);

static DETECTOR: OnceLock<Detector> = OnceLock::new();

/// The number of forks between this process and the ancestor that first asked, plus one.
///
/// Costs one load. Catches forks of every kind, those without `pthread_atfork` handlers included,
/// as the kernel wipes the page that the number is kept in.
#[must_use]
pub fn generation() -> u64 {
    DETECTOR.get_or_init(Detector::new).generation()
}

enum Detector {
    /// A word that the kernel zeroes in forked children.
    Wiped(&'static AtomicU64),
    /// For kernels that cannot (before 4.14): the process that the newest generation belongs to.
    Process(AtomicU64),
}

impl Detector {
    fn new() -> Self {
        match wiped_on_fork() {
            Some(word) => {
                word.store(NEWEST.load(Ordering::Acquire), Ordering::Release);
                Self::Wiped(word)
            }
            None => Self::Process(AtomicU64::new(process())),
        }
    }

    fn generation(&self) -> u64 {
        match self {
            Self::Wiped(word) => match word.load(Ordering::Acquire) {
                0 => Self::next(word),
                generation => generation,
            },
            Self::Process(owner) => {
                let this = process();
                if owner.swap(this, Ordering::AcqRel) != this {
                    NEWEST.fetch_add(1, Ordering::AcqRel);
                }
                NEWEST.load(Ordering::Acquire)
            }
        }
    }

    /// Many threads of a child may come here at once: the first to write the word names the
    /// generation, and `NEWEST` only has to be right before the next fork.
    #[cold]
    fn next(word: &AtomicU64) -> u64 {
        let next = NEWEST.load(Ordering::Acquire) + 1;
        match word.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                NEWEST.store(next, Ordering::Release);
                next
            }
            Err(named) => named,
        }
    }
}

fn process() -> u64 {
    u64::from(
        rustix::process::getpid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs(),
    )
}

/// One page, never given back, that a forked child finds zeroed.
fn wiped_on_fork() -> Option<&'static AtomicU64> {
    let size = rustix::param::page_size();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) }.ok()?;
    // SAFETY: the range is the page just made, which nothing else uses.
    unsafe { madvise(page, size, Advice::LinuxWipeOnFork) }.ok()?;
    let word = NonNull::new(page.cast::<AtomicU64>())?;
    // SAFETY: the page is zeroed, aligned, never unmapped, and only ever used as this atomic; a
    // fork zeroes it in the child, where no other thread runs yet.
    Some(unsafe { word.as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `check` in a forked child and returns its answer.
    pub(crate) fn forked(check: impl FnOnce() -> u8) -> u8 {
        // SAFETY: the child runs only `check`, which makes system calls and loads, and leaves by
        // `_exit`; it takes no lock that another thread of the parent could have held.
        match unsafe { libc::fork() } {
            // SAFETY: `_exit` ends the child without running the parent's exit handlers.
            0 => unsafe { libc::_exit(i32::from(check())) },
            child => {
                let mut status = 0;
                // SAFETY: `child` is a child of this process and `status` a place for its status.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert!(libc::WIFEXITED(status), "the child ended by itself");
                u8::try_from(libc::WEXITSTATUS(status)).expect("an exit status")
            }
        }
    }

    #[test]
    fn a_fork_is_a_generation() {
        let parent = generation();
        assert_eq!(generation(), parent);
        let grandchild = forked(|| {
            let child = generation();
            let grandchild = forked(|| u8::try_from(generation() - parent).unwrap_or(u8::MAX));
            if child == parent + 1 && generation() == child {
                grandchild
            } else {
                u8::MAX
            }
        });
        assert_eq!(grandchild, 2);
        assert_eq!(generation(), parent);
    }

    #[test]
    fn processes_are_told_apart_without_the_page() {
        let detector = Detector::Process(AtomicU64::new(process()));
        let parent = detector.generation();
        assert_eq!(detector.generation(), parent);
        let steps = forked(|| u8::try_from(detector.generation() - parent).unwrap_or(u8::MAX));
        assert_eq!(steps, 1);
    }
}
