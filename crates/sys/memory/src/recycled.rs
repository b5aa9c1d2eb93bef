//! Large buffers that are used again.
//!
//! A copy into fresh pages takes two to four times as long as one into pages that are there. So
//! large buffers are kept for a while when they are given up: few, bounded in bytes, and marked as
//! free for the kernel to take when it runs out of memory. A thread gives back what is idle for some
//! seconds, and ends when there is no more of it.
//!
//! There is no lock, as a forked child would inherit it in whatever state it is. Idle buffers are
//! empty in forked children and cost them nothing.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use rustix::{
    mm::{Advice, madvise},
    time::{ClockId, clock_gettime},
};

use crate::{background::background, mapping::Mapping};

/// Buffers of fewer bytes are not kept; those of more are a multiple of it.
pub(crate) const SMALLEST: usize = 2 << 20;

/// How many idle buffers are kept at most.
const COUNT: usize = 32;
/// Idle buffers take at most this fraction of the machine's memory.
const SHARE: usize = 8;
/// After so many milliseconds a buffer is given back.
const IDLE: u64 = 3_000;
const TICK: Duration = Duration::from_millis(500);

/// A place for an idle buffer. What stands beside the pointer may be that of the buffer before:
/// it only guides the choice.
struct Slot {
    buffer: AtomicPtr<Mapping>,
    len: AtomicUsize,
    since: AtomicU64,
}

static SLOTS: [Slot; COUNT] = [const {
    Slot {
        buffer: AtomicPtr::new(ptr::null_mut()),
        len: AtomicUsize::new(0),
        since: AtomicU64::new(0),
    }
}; COUNT];

/// The process whose thread gives back idle buffers, or zero if there is none. A forked child has
/// its parent's number here, and no thread.
static COLLECTOR: AtomicU32 = AtomicU32::new(0);

/// A buffer of at least `len` bytes, of which at most half are more than that. Its bytes are
/// arbitrary.
pub(crate) fn take(len: usize) -> std::io::Result<Mapping> {
    let fits = |capacity: usize| (len..=len.saturating_mul(2)).contains(&capacity);
    loop {
        let best = SLOTS
            .iter()
            .filter(|slot| !slot.buffer.load(Ordering::Relaxed).is_null())
            .filter(|slot| fits(slot.len.load(Ordering::Relaxed)))
            .min_by_key(|slot| slot.len.load(Ordering::Relaxed));
        let Some(slot) = best else {
            return Mapping::anonymous(rounded(len));
        };
        let Some(buffer) = slot.take() else {
            continue;
        };
        if !fits(buffer.len()) {
            keep(buffer);
            continue;
        }
        // One that children could not inherit is none for an object.
        if advise(&buffer, Advice::LinuxKeepOnFork) {
            return Ok(buffer);
        }
    }
}

/// Keeps a buffer for the next who takes one, or gives it back.
pub(crate) fn give(buffer: Mapping) {
    let len = buffer.len();
    if len < SMALLEST || len > most() {
        return;
    }
    // A kernel that cannot do this would let children pay for what they never use.
    if !advise(&buffer, Advice::LinuxWipeOnFork) {
        return;
    }
    // A wish: the kernel takes the pages when it needs them, and else they stay as they are.
    advise(&buffer, Advice::LinuxFree);
    while idle_bytes() + len > most() {
        let Some(oldest) = oldest(|_| true) else {
            break;
        };
        drop(oldest.take());
    }
    keep(buffer);
    collect();
}

/// Bytes of memory in idle buffers.
#[must_use]
pub fn idle_bytes() -> usize {
    let occupied = SLOTS
        .iter()
        .filter(|slot| !slot.buffer.load(Ordering::Relaxed).is_null());
    occupied.map(|slot| slot.len.load(Ordering::Relaxed)).sum()
}

/// Gives back all idle buffers.
pub fn free_idle() {
    for slot in &SLOTS {
        drop(slot.take());
    }
}

impl Slot {
    fn take(&self) -> Option<Mapping> {
        let buffer = self.buffer.swap(ptr::null_mut(), Ordering::AcqRel);
        if buffer.is_null() {
            return None;
        }
        // SAFETY: `keep` made the pointer of a box and put it into this one slot, and whoever swaps
        // it out has it alone.
        Some(*unsafe { Box::from_raw(buffer) })
    }
}

/// Puts a buffer into an empty slot, or gives it back if there is none.
fn keep(buffer: Mapping) {
    let len = buffer.len();
    let boxed = Box::into_raw(Box::new(buffer));
    for slot in &SLOTS {
        let outcome = slot.buffer.compare_exchange(
            ptr::null_mut(),
            boxed,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if outcome.is_ok() {
            slot.len.store(len, Ordering::Relaxed);
            slot.since.store(now(), Ordering::Relaxed);
            return;
        }
    }
    // SAFETY: the pointer was made above and is in no slot.
    drop(unsafe { Box::from_raw(boxed) });
}

fn oldest(condition: impl Fn(&Slot) -> bool) -> Option<&'static Slot> {
    SLOTS
        .iter()
        .filter(|slot| !slot.buffer.load(Ordering::Relaxed).is_null())
        .filter(|slot| condition(slot))
        .min_by_key(|slot| slot.since.load(Ordering::Relaxed))
}

/// Sees to it that idle buffers are given back.
fn collect() {
    let this = std::process::id();
    let running = COLLECTOR.load(Ordering::SeqCst);
    if running == this {
        return;
    }
    let outcome = COLLECTOR.compare_exchange(running, this, Ordering::SeqCst, Ordering::SeqCst);
    if outcome.is_ok() && background("proxystore-idle", collect_once).is_err() {
        // Without a thread nobody would give them back.
        COLLECTOR.store(0, Ordering::SeqCst);
        free_idle();
    }
}

/// Gives back what has been idle for long; when to look again, unless there is nothing left.
fn collect_once() -> Option<Duration> {
    let now = now();
    let is_due = |slot: &Slot| slot.since.load(Ordering::Relaxed) + IDLE <= now;
    while let Some(slot) = oldest(is_due) {
        drop(slot.take());
    }
    let is_empty = || oldest(|_| true).is_none();
    if !is_empty() {
        return Some(TICK);
    }
    // Who gives a buffer now either sees the zero and starts a thread, or is seen here.
    COLLECTOR.store(0, Ordering::SeqCst);
    std::sync::atomic::fence(Ordering::SeqCst);
    if is_empty() {
        return None;
    }
    let this = std::process::id();
    let outcome = COLLECTOR.compare_exchange(0, this, Ordering::SeqCst, Ordering::SeqCst);
    outcome.is_ok().then_some(TICK)
}

/// The bytes that a new buffer for `len` is made of, so that objects of about one size can share
/// one. What is never touched takes no memory.
fn rounded(len: usize) -> usize {
    let step = len.checked_ilog2().map_or(0, |log| (1 << log) / 8);
    let step = step.max(SMALLEST);
    len.checked_next_multiple_of(step).unwrap_or(len)
}

/// The most bytes that idle buffers may take.
fn most() -> usize {
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let known = MOST.load(Ordering::Relaxed);
    if known > 0 {
        return known;
    }
    // SAFETY: asks for a number.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    let pages = usize::try_from(pages).unwrap_or(0);
    let most = (pages / SHARE).saturating_mul(rustix::param::page_size());
    let most = most.max(SMALLEST);
    MOST.store(most, Ordering::Relaxed);
    most
}

fn advise(buffer: &Mapping, advice: Advice) -> bool {
    // SAFETY: the range is one whole mapping that nobody else knows; the advice changes at most its
    // bytes, which are arbitrary from here on.
    unsafe { madvise(buffer.as_ptr().cast(), buffer.len(), advice) }.is_ok()
}

/// Milliseconds since some time in the past.
fn now() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let milliseconds = now.tv_sec * 1_000 + now.tv_nsec / 1_000_000;
    u64::try_from(milliseconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, thread};

    use super::*;
    use crate::{memory::Memory, segment::Segment};

    /// All tests share the process's buffers, those of other modules as well.
    static ALONE: Mutex<()> = Mutex::new(());

    /// An unusual size, so that only this test's buffers fit.
    fn memory(len: usize, byte: u8) -> Memory {
        let bytes = vec![byte; len];
        let memory = Memory::copied_from(&[Segment::from(&bytes)]).expect("memory");
        assert!(memory.to_vec() == bytes, "the copy is whole");
        memory
    }

    #[test]
    fn a_buffer_is_used_again_for_what_fits() {
        let _alone = ALONE.lock();
        free_idle();
        let first = memory(40 << 20, 1);
        let address = first.as_ptr();
        drop(first);
        assert!(idle_bytes() >= 40 << 20);
        // More than half of it would be idle.
        let small = memory((20 << 20) - 1, 2);
        assert_ne!(small.as_ptr(), address);
        let second = memory(39 << 20, 3);
        assert_eq!(second.as_ptr(), address);
        let third = memory(39 << 20, 4);
        assert_ne!(third.as_ptr(), address);
        assert!(second.to_vec().iter().all(|&byte| byte == 3));
    }

    #[test]
    fn idle_buffers_are_given_back_in_time() {
        let _alone = ALONE.lock();
        drop(memory(50 << 20, 1));
        assert!(idle_bytes() >= 50 << 20);
        while idle_bytes() > 0 || COLLECTOR.load(Ordering::SeqCst) != 0 {
            thread::sleep(TICK);
        }
        // Another thread does the same again.
        drop(memory(50 << 20, 1));
        while idle_bytes() > 0 {
            thread::sleep(TICK);
        }
    }

    #[test]
    fn a_forked_child_pays_nothing_for_idle_buffers_and_uses_them() {
        let _alone = ALONE.lock();
        free_idle();
        let held = memory(60 << 20, 7);
        let idle = memory(61 << 20, 8);
        let address = idle.as_ptr() as usize;
        drop(idle);
        // SAFETY: the child makes system calls, allocates (the C library's allocator survives
        // forks) and leaves by `_exit`.
        match unsafe { libc::fork() } {
            0 => {
                let intact = held.as_segment().slice(..1).to_vec() == [7];
                let same = take(61 << 20).is_ok_and(|buffer| {
                    let start = buffer.as_segment().slice(..4096).to_vec();
                    buffer.as_ptr() as usize == address && start == [0; 4096]
                });
                // SAFETY: ends the child without running the parent's exit handlers.
                unsafe { libc::_exit(i32::from(!(intact && same))) }
            }
            child => {
                let mut status = 0;
                // SAFETY: `child` is a child of this process and `status` a place for its status.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
            }
        }
    }

    #[test]
    fn many_threads_never_share_a_buffer() {
        let _alone = ALONE.lock();
        thread::scope(|scope| {
            for byte in 1..=4_u8 {
                scope.spawn(move || {
                    for _ in 0..40 {
                        let memory = memory(SMALLEST + usize::from(byte), byte);
                        thread::yield_now();
                        assert!(memory.to_vec().iter().all(|&found| found == byte));
                    }
                });
            }
        });
    }

    #[test]
    fn sizes_are_rounded_a_little() {
        for len in [SMALLEST, SMALLEST + 1, 100 << 20, (100 << 20) + 1, 1 << 40] {
            let rounded = rounded(len);
            assert!(rounded >= len && rounded - len <= SMALLEST.max(len / 8));
        }
        assert_eq!(rounded(usize::MAX), usize::MAX);
    }
}
