//! Carries out one operation on the calling thread.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, Error, ErrorKind, Operation, Result};

/// How long a thread sleeps at most before it asks whether it shall go on waiting: short enough
/// that Ctrl-C feels immediate.
const SLICE: Duration = Duration::from_millis(50);

/// Carries out `operation` on the calling thread and returns its value.
///
/// An operation that is ready costs one check. Otherwise the thread sleeps until the operation
/// wakes it; at least every 50 ms it calls `on_wait`, which may end the wait (an interpreter asks
/// for signals there). An operation that is given up is dropped, and thereby cancelled.
///
/// # Errors
///
/// [`Stopped::Failed`] with the operation's own error, or with
/// [`TimedOut`](ErrorKind::TimedOut) when the deadline passes first; [`Stopped::Interrupted`] with
/// whatever `on_wait` returns.
pub fn drive<T, E>(
    operation: Operation<'_, Result<T>>,
    deadline: Deadline,
    on_wait: impl FnMut() -> Result<(), E>,
) -> Result<T, Stopped<E>> {
    match operation.into_ready() {
        Ok(result) => result.map_err(Stopped::Failed),
        Err(operation) => wait(operation, deadline, on_wait),
    }
}

/// Why an operation gave no value.
#[derive(Debug)]
pub enum Stopped<E> {
    /// The operation failed, or its deadline passed.
    Failed(Error),
    /// `on_wait` ended the wait.
    Interrupted(E),
}

impl<E: fmt::Display> fmt::Display for Stopped<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(formatter),
            Self::Interrupted(error) => write!(formatter, "interrupted: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Stopped<E> {}

fn wait<T, E>(
    mut operation: Operation<'_, Result<T>>,
    deadline: Deadline,
    mut on_wait: impl FnMut() -> Result<(), E>,
) -> Result<T, Stopped<E>> {
    let sleeper = Arc::new(Sleeper {
        thread: thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&sleeper));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = Pin::new(&mut operation).poll(&mut context) {
            return result.map_err(Stopped::Failed);
        }
        while !sleeper.woken.swap(false, Ordering::Acquire) {
            let left = deadline.remaining(Instant::now());
            if left == Some(Duration::ZERO) {
                let message = "the deadline passed before the operation ended";
                return Err(Stopped::Failed(Error::new(ErrorKind::TimedOut, message)));
            }
            thread::park_timeout(left.map_or(SLICE, |left| left.min(SLICE)));
            on_wait().map_err(Stopped::Interrupted)?;
        }
    }
}

/// A thread that sleeps until its operation can go on.
struct Sleeper {
    thread: Thread,
    /// Set by the operation, as a thread may also wake for no reason.
    woken: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future, sync::Mutex};

    use super::*;

    type Answer = Result<(), Infallible>;

    #[test]
    fn a_ready_operation_asks_nobody() {
        let operation = Operation::ready(Ok(7));
        let value = drive(operation, Deadline::never(), || Err("asked"));
        assert_eq!(value.expect("a value"), 7);
    }

    #[test]
    fn another_thread_wakes_the_driver() {
        let waker = Arc::new(Mutex::new(None::<Waker>));
        let ready = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            let operation = Operation::pending(future::poll_fn(|context| {
                if ready.load(Ordering::Acquire) {
                    return Poll::Ready(Ok(7));
                }
                *waker.lock().expect("no panic") = Some(context.waker().clone());
                Poll::Pending
            }));
            scope.spawn(|| {
                loop {
                    if let Some(waker) = waker.lock().expect("no panic").take() {
                        ready.store(true, Ordering::Release);
                        waker.wake();
                        return;
                    }
                    thread::yield_now();
                }
            });
            let value = drive(operation, Deadline::never(), || Answer::Ok(()));
            assert_eq!(value.expect("a value"), 7);
        });
    }

    #[test]
    fn the_deadline_ends_a_wait() {
        let operation = Operation::pending(future::pending::<Result<()>>());
        let deadline = Deadline::at(Instant::now() + Duration::from_millis(5));
        match drive(operation, deadline, || Answer::Ok(())) {
            Err(Stopped::Failed(error)) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            other => panic!("{other:?}"),
        }
        assert!(deadline.is_past(Instant::now()));
    }

    #[test]
    fn a_signal_ends_a_wait_and_cancels_the_operation() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let operation = Operation::pending(async move {
            let result = future::pending::<Result<()>>().await;
            drop(held);
            result
        });
        match drive(operation, Deadline::never(), || Err("signal")) {
            Err(Stopped::Interrupted(reason)) => assert_eq!(reason, "signal"),
            other => panic!("{other:?}"),
        }
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn an_operation_that_fails_says_why() {
        let operation: Operation<'_, Result<()>> =
            Operation::pending(async { Err(Error::new(ErrorKind::Closed, "closed")) });
        match drive(operation, Deadline::never(), || Answer::Ok(())) {
            Err(Stopped::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Closed),
            other => panic!("{other:?}"),
        }
    }
}
