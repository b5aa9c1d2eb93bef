//! What a forked child must not inherit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::mutants::{Mutant, is_active};

/// A value of which every forked child gets one of its own, but for the defect that the tests of
/// forks must notice.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(proxystore_fork::PerProcess<T>);

impl<T> PerProcess<T> {
    /// A value that each process makes by `make` when it first asks for it.
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self(proxystore_fork::PerProcess::new(make))
    }

    /// The value of this process.
    pub(crate) fn get(&self) -> &T {
        if is_active(Mutant::SameProcess)
            && let Some(inherited) = self.0.peek()
        {
            return inherited;
        }
        self.0.get()
    }
}

impl<T> PerProcess<Mutex<T>> {
    /// Locks the value of this process.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        // What the value is like after a panic in the middle of a change is its owner's business;
        // locking for ever would help nobody.
        self.get().lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;
    use crate::testing::fork;

    #[test]
    fn a_child_starts_afresh_and_leaves_the_parents_value_alone() {
        let value: PerProcess<Mutex<Vec<u8>>> = PerProcess::new(|| Mutex::new(vec![1]));
        value.lock().push(2);
        fork(|| {
            value.lock().push(3);
            assert_eq!(*value.lock(), [1, 3]);
            // One level deeper, after this process has a value of its own.
            fork(|| assert_eq!(*value.lock(), [1])).join();
        })
        .join();
        assert_eq!(*value.lock(), [1, 2]);
    }

    #[test]
    fn a_lock_that_a_thread_of_the_parent_holds_does_not_stop_the_child() {
        let value: Arc<PerProcess<Mutex<u8>>> = Arc::new(PerProcess::new(Mutex::default));
        let (locked, is_locked) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let holder = std::thread::spawn({
            let value = Arc::clone(&value);
            move || {
                let mut guard = value.lock();
                *guard = 7;
                locked.send(()).expect("the test waits");
                released.recv().expect("the test goes on");
            }
        });
        is_locked.recv().expect("the holder locks");
        fork(|| assert_eq!(*value.lock(), 0)).join();
        release.send(()).expect("the holder waits");
        holder.join().expect("the holder ends");
        assert_eq!(*value.lock(), 7);
    }

    /// Counts how many of it there are.
    struct Counted;

    static COUNT: AtomicUsize = AtomicUsize::new(0);

    impl Counted {
        fn new() -> Self {
            COUNT.fetch_add(1, Ordering::SeqCst);
            Self
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            COUNT.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn values_are_dropped_by_the_process_that_made_them_and_by_no_other() {
        drop(PerProcess::new(Counted::new));
        assert_eq!(COUNT.load(Ordering::SeqCst), 0, "nobody asked for one");
        let value = PerProcess::new(Counted::new);
        value.get();
        value.get();
        assert_eq!(COUNT.load(Ordering::SeqCst), 1);
        let mut value = Some(value);
        fork(|| {
            drop(value.take());
            let left = COUNT.load(Ordering::SeqCst);
            assert_eq!(left, 1, "the child drops nothing that it inherited");
        })
        .join();
        fork(|| {
            let value = value.take();
            value.as_ref().map(PerProcess::get);
            assert_eq!(COUNT.load(Ordering::SeqCst), 2, "the child makes its own");
            drop(value);
            let left = COUNT.load(Ordering::SeqCst);
            assert_eq!(left, 1, "the child drops what it made");
        })
        .join();
        drop(value);
        assert_eq!(COUNT.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn threads_that_ask_at_once_get_the_same_value() {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..200 {
            let value = PerProcess::new(|| NEXT.fetch_add(1, Ordering::SeqCst));
            let barrier = Barrier::new(4);
            let seen: Vec<u64> = std::thread::scope(|scope| {
                let ask = || {
                    barrier.wait();
                    *value.get()
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                let seen = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
                seen.map(|seen| seen.expect("a value")).collect()
            });
            assert!(seen.iter().all(|&other| other == *value.get()), "{seen:?}");
        }
    }
}
