//! What a forked child must not inherit.

use std::{
    fmt,
    marker::PhantomData,
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

use crate::generation;

/// A value of which every forked child gets one of its own.
///
/// A child finds the parent's locks as some thread of the parent may have held them, and the
/// parent's mappings not at all; so the inherited value is neither used nor dropped but forgotten.
pub struct PerProcess<T> {
    current: AtomicPtr<Slot<T>>,
    make: fn() -> T,
    /// Values are owned, and dropped.
    values: PhantomData<T>,
}

struct Slot<T> {
    generation: u64,
    value: T,
}

impl<T> PerProcess<T> {
    /// A value that each process makes by `make` when it first asks for it. Threads that ask first
    /// at the same time may each make one, of which one is kept.
    #[must_use]
    pub const fn new(make: fn() -> T) -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            make,
            values: PhantomData,
        }
    }

    /// The value of this process.
    pub fn get(&self) -> &T {
        let generation = generation();
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: a slot is made by `Box::into_raw` in `renew` and given back only by `drop`, which
        // has `self` to itself, while what is returned here borrows it.
        match unsafe { current.as_ref() } {
            Some(slot) if slot.generation == generation => &slot.value,
            _ => self.renew(generation, current),
        }
    }

    /// The value that is there, inherited or not, if there is one: what a forked child closes
    /// descriptors by. It must not lock what it finds.
    pub fn peek(&self) -> Option<&T> {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: as in `get`.
        unsafe { current.as_ref() }.map(|slot| &slot.value)
    }

    #[cold]
    fn renew(&self, generation: u64, mut current: *mut Slot<T>) -> &T {
        let fresh = Box::into_raw(Box::new(Slot {
            generation,
            value: (self.make)(),
        }));
        loop {
            let outcome =
                self.current
                    .compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire);
            match outcome {
                // What was there before, if anything, is inherited, and leaked on purpose.
                // SAFETY: the slot just made, which lives as long as `self`.
                Ok(_) => return unsafe { &(*fresh).value },
                Err(other) => current = other,
            }
            // SAFETY: as in `get`.
            if let Some(slot) = unsafe { current.as_ref() }
                && slot.generation == generation
            {
                // SAFETY: nobody else has seen the slot just made.
                drop(unsafe { Box::from_raw(fresh) });
                return &slot.value;
            }
        }
    }
}

impl<T> PerProcess<Mutex<T>> {
    /// Locks the value of this process.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // What the value is like after a panic in the middle of a change is its owner's business;
        // locking for ever would help nobody.
        self.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        // SAFETY: made by `Box::into_raw` in `renew`, and `self` is not used any more.
        if let Some(slot) = unsafe { current.as_ref() }
            && slot.generation == generation()
        {
            // SAFETY: as above; this process made it.
            drop(unsafe { Box::from_raw(current) });
        }
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PerProcess").finish_non_exhaustive()
    }
}

// SAFETY: whoever has this has the value, which may go to other threads.
unsafe impl<T: Send> Send for PerProcess<T> {}
// SAFETY: whoever shares this shares the value, may have made it, and may drop it.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_one_value() {
        let value: PerProcess<Mutex<Vec<u8>>> = PerProcess::new(|| Mutex::new(vec![1]));
        assert!(value.peek().is_none());
        value.lock().push(2);
        assert_eq!(*value.lock(), [1, 2]);
        assert!(value.peek().is_some());
    }

    #[test]
    fn a_child_makes_its_own_and_leaves_the_parents_alone() {
        let value: PerProcess<Mutex<u8>> = PerProcess::new(|| Mutex::new(1));
        // Held by a thread that the child does not have.
        let mut held = value.lock();
        *held = 2;
        let child = crate::tests::forked(|| {
            let inherited = value.peek().is_some();
            *value.lock() += 4;
            *value.lock() + 10 * u8::from(inherited)
        });
        assert_eq!((child, *held), (15, 2));
    }
}
