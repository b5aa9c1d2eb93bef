//! Words for the model checker, and processes that die between two of their writes.

use std::{cell::Cell, sync::atomic::Ordering};

use loom::sync::atomic::{AtomicU64, fence};

use super::Word;

/// A word of which loom explores every value that a load may see.
#[derive(Debug)]
pub(crate) struct Modelled(AtomicU64);

loom::thread_local! {
    /// How many more writes of this thread take place; none: all of them.
    static LEFT: Cell<Option<u32>> = Cell::new(None);
}

/// Lets this thread be one of a process that is killed after so many more of its writes: none of
/// the later ones takes place. What the thread returns is to be ignored.
pub(crate) fn die_after(writes: u32) {
    LEFT.with(|left| left.set(Some(writes)));
}

/// Whether this thread goes on writing, counting one write.
fn is_alive() -> bool {
    LEFT.with(|left| match left.get() {
        None => true,
        Some(0) => false,
        Some(writes) => {
            left.set(Some(writes - 1));
            true
        }
    })
}

impl Modelled {
    pub(crate) fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }
}

impl Word for Modelled {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        if is_alive() {
            self.0.store(value, order);
        }
    }

    fn compare_exchange(&self, current: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        if is_alive() {
            self.0
                .compare_exchange(current, new, order, Ordering::Acquire)
        } else {
            Ok(current)
        }
    }

    fn fence(order: Ordering) {
        fence(order);
    }
}
