//! Python's buffers, held while an operation that no call waits for is under way.

use std::{
    mem::{self, ManuallyDrop},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use proxystore::Payload;
use proxystore_fork::PerProcess;
use pyo3::prelude::*;

use super::gather::Gathered;

/// Buffers that go on being borrowed after the call that borrowed them has returned, on whatever
/// thread.
///
/// Letting go of a buffer takes the interpreter. [`release`](Self::release) does so at once; what is
/// dropped anywhere else waits until somebody attached calls [`release_dropped`].
pub(crate) struct Held(ManuallyDrop<Gathered<'static>>);

// SAFETY: what is not `Send` in the buffers is that they are released attached. Only `release` and
// `release_dropped` do that, which take proof of it; every other use reads raw memory through
// segments, which any thread may.
unsafe impl Send for Held {}
// SAFETY: as for `Send`; a shared one only hands out segments.
unsafe impl Sync for Held {}

/// Buffers that were dropped by threads that are not attached. Those that a forked child inherited
/// stay as they are: it cannot know what its parent's threads were doing with them.
static DROPPED: PerProcess<Mutex<Vec<Held>>> = PerProcess::new(Mutex::default);
/// How many those are, so that asking costs nothing as a rule.
static WAITING: AtomicUsize = AtomicUsize::new(0);

impl Held {
    /// Holds on to what was borrowed.
    pub(crate) fn hold(gathered: Gathered<'_>) -> Self {
        // SAFETY: the two types differ in a lifetime only. It stands for two things. That the
        // interpreter is attached, which matters when the buffers are released; see above. And
        // that the memory is there: each buffer holds a reference to its exporter, which keeps the
        // memory in place until the buffer is released, however long that takes.
        let gathered = unsafe { mem::transmute::<Gathered<'_>, Gathered<'static>>(gathered) };
        Self(ManuallyDrop::new(gathered))
    }

    /// The payload, valid as long as this.
    pub(crate) fn payload(&self) -> Payload<'_> {
        self.0.payload()
    }

    /// Whether checksums are yet to be made, by the connector or by [`seal`](Self::seal).
    pub(crate) fn is_unsealed(&self) -> bool {
        self.0.is_unsealed()
    }

    /// Makes the checksums that are yet to be made, on the calling thread.
    pub(crate) fn seal(&mut self) {
        self.0.complete();
    }

    /// Lets go of the buffers.
    pub(crate) fn release(mut self, _: Python<'_>) {
        // SAFETY: `self` is forgotten right after, so the buffers are dropped once, and attached.
        unsafe { ManuallyDrop::drop(&mut self.0) }
        mem::forget(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: `self` is not used again.
        let gathered = unsafe { ManuallyDrop::take(&mut self.0) };
        let mut dropped = DROPPED.lock();
        dropped.push(Self(ManuallyDrop::new(gathered)));
        WAITING.store(dropped.len(), Ordering::Relaxed);
    }
}

/// Whether buffers wait to be released.
pub(crate) fn any_dropped() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

/// Releases the buffers that were dropped by threads that are not attached.
pub(crate) fn release_dropped(py: Python<'_>) {
    if !any_dropped() {
        return;
    }
    let dropped = {
        let mut dropped = DROPPED.lock();
        WAITING.store(0, Ordering::Relaxed);
        mem::take(&mut *dropped)
    };
    for held in dropped {
        held.release(py);
    }
}
