//! Results on their way to a loop.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

use super::request::Done;

/// Which future of a loop a result is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The address of the future.
    pub(super) address: usize,
    /// Tells it from others that were at this address before.
    pub(super) serial: u64,
}

/// A result.
pub(super) struct Arrival {
    pub(super) place: Place,
    pub(super) done: Done,
}

/// Takes results from any thread, and tells one loop that there are some.
pub(super) struct Mailbox {
    /// As many as operations are under way at most.
    arrivals: Mutex<VecDeque<Arrival>>,
    /// Whether the loop has been told, and has not looked yet.
    told: AtomicBool,
    event: OwnedFd,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            arrivals: Mutex::default(),
            told: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// The descriptor that is readable when there are results.
    pub(super) fn descriptor(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    pub(super) fn put(&self, arrival: Arrival) {
        self.lock().push_back(arrival);
        self.tell();
    }

    pub(super) fn put_all(&self, arrivals: impl IntoIterator<Item = Arrival>) {
        self.lock().extend(arrivals);
        self.tell();
    }

    /// Takes up to `limit` results. If some are left the loop is told again, as results that come
    /// in the meantime may not tell it.
    pub(super) fn take(&self, limit: usize) -> VecDeque<Arrival> {
        // It holds one number and is not blocking, so there is nothing that can fail but to find it
        // empty.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        // Before looking: whoever puts from here on tells the loop, or is seen now.
        self.told.store(false, Ordering::SeqCst);
        let mut arrivals = self.lock();
        if arrivals.len() <= limit {
            return std::mem::take(&mut *arrivals);
        }
        let taken = arrivals.drain(..limit).collect();
        drop(arrivals);
        self.tell();
        taken
    }

    /// Puts results back that were taken, before all others.
    pub(super) fn put_back(&self, mut taken: VecDeque<Arrival>) {
        if taken.is_empty() {
            return;
        }
        let mut arrivals = self.lock();
        taken.append(&mut arrivals);
        *arrivals = taken;
        drop(arrivals);
        self.tell();
    }

    fn tell(&self) {
        if !self.told.swap(true, Ordering::SeqCst) {
            // Fails only if the number would overflow, and then the loop has been told.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
