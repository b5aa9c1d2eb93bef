//! Carries out one operation on the calling thread.

use std::{
    cell::Cell,
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
use rustix::{
    event::{PollFd, Timespec},
    io::Errno,
};

use tokio::runtime::Handle;

use crate::{
    colour::{Waits, polling},
    shared::handle,
};

/// How long a thread sleeps at most before it asks whether it shall go on waiting: short enough
/// that Ctrl-C feels immediate.
const SLICE: Duration = Duration::from_millis(50);

/// Carries out `operation` on the calling thread and returns its value.
///
/// An operation that is ready costs one check. Otherwise the thread sleeps until the operation
/// wakes it or, if that waits for sockets, until one is ready; at least every 50 ms it calls
/// `on_wait`, which may end the wait (an interpreter asks for signals there). An operation that is
/// given up is dropped, and thereby cancelled.
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
    let sleeper = Borrowed::take();
    let waker = Waker::from(Arc::clone(&sleeper.0));
    let mut context = Context::from_waker(&waker);
    let mut waits = Waits::default();
    let mut asked = Instant::now();
    let nested = Nested::enter().map_err(Stopped::Failed)?;
    loop {
        let mut poll = || Pin::new(&mut operation).poll(&mut context);
        let polled = match &nested.runtime {
            None => polling(&mut waits, poll),
            Some(runtime) => {
                let _entered = runtime.enter();
                poll()
            }
        };
        if let Poll::Ready(result) = polled {
            return result.map_err(Stopped::Failed);
        }
        loop {
            if sleeper.0.woken.swap(false, Ordering::Acquire) {
                // One that wakes itself, to let others have the thread, is asked for too.
                if asked.elapsed() >= SLICE {
                    on_wait().map_err(Stopped::Interrupted)?;
                    asked = Instant::now();
                }
                break;
            }
            let now = Instant::now();
            let left = deadline.remaining(now);
            if left == Some(Duration::ZERO) {
                let message = "the deadline passed before the operation ended";
                return Err(Stopped::Failed(Error::new(ErrorKind::TimedOut, message)));
            }
            let until = waits
                .until
                .map(|until| until.saturating_duration_since(now));
            if until == Some(Duration::ZERO) {
                break;
            }
            let slice = [left, until]
                .into_iter()
                .flatten()
                .fold(SLICE, Duration::min);
            let slept = sleep(&waits, slice);
            // A transfer that never has to wait for long is asked for as often as one that does.
            if slept != Slept::UntilReady || now.duration_since(asked) >= SLICE {
                on_wait().map_err(Stopped::Interrupted)?;
                asked = Instant::now();
            }
            if slept == Slept::UntilReady {
                break;
            }
        }
    }
}

thread_local! {
    /// Whether this thread drives an operation.
    static DRIVES: Cell<bool> = const { Cell::new(false) };
}

/// That this thread drives an operation, and perhaps another within: one of a signal handler. What
/// the outer one does for others, on the connections of the blocking colour, it does not do before
/// the inner one has ended, which therefore belongs to the shared colour.
struct Nested {
    runtime: Option<Handle>,
    outer: bool,
}

impl Nested {
    fn enter() -> Result<Self> {
        let outer = DRIVES.get();
        let runtime = if outer { Some(handle()?) } else { None };
        DRIVES.set(true);
        Ok(Self { runtime, outer })
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        DRIVES.set(self.outer);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slept {
    /// A socket is ready, or cannot be waited for.
    UntilReady,
    /// The slice is over, a signal arrived, or another thread woke this one.
    Otherwise,
}

/// Sleeps for `slice` at most.
fn sleep(waits: &Waits, slice: Duration) -> Slept {
    if waits.sockets.is_empty() {
        thread::park_timeout(slice);
        return Slept::Otherwise;
    }
    let mut sockets: Vec<PollFd<'_>> = waits
        .sockets
        .iter()
        .map(|(socket, events)| PollFd::new(socket, *events))
        .collect();
    let slice = Timespec::try_from(slice).ok();
    match rustix::event::poll(&mut sockets, slice.as_ref()) {
        Ok(0) | Err(Errno::INTR) => Slept::Otherwise,
        // Whatever is wrong with a socket, the operation finds out by using it.
        Ok(_) | Err(_) => Slept::UntilReady,
    }
}

thread_local! {
    /// The sleeper of this thread, unless an operation has it: one after the other uses the same.
    static SLEEPER: Cell<Option<Arc<Sleeper>>> = const { Cell::new(None) };
}

/// The sleeper of this thread for one operation. Another one that a signal handler carries out
/// meanwhile gets one of its own, so that neither takes the other's wake-up.
struct Borrowed(Arc<Sleeper>);

impl Borrowed {
    fn take() -> Self {
        // A thread that is ending has none any more.
        let kept = SLEEPER.try_with(Cell::take).ok().flatten();
        let sleeper = kept.unwrap_or_else(|| {
            Arc::new(Sleeper {
                thread: thread::current(),
                woken: AtomicBool::new(false),
            })
        });
        // What the last operation was woken for is over.
        sleeper.woken.store(false, Ordering::Relaxed);
        Self(sleeper)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let sleeper = Arc::clone(&self.0);
        let _ = SLEEPER.try_with(|kept| kept.set(Some(sleeper)));
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
    use crate::{Colour, colour, sleep_until};

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
    fn a_signal_ends_an_operation_that_wakes_itself() {
        let busy = future::poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<Result<()>>::Pending
        });
        match drive(Operation::pending(busy), Deadline::never(), || {
            Err("signal")
        }) {
            Err(Stopped::Interrupted(reason)) => assert_eq!(reason, "signal"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_operation_within_the_wait_of_another_is_of_the_other_colour() {
        let seen = Mutex::new(Vec::new());
        let look = |ends: bool| {
            let seen = &seen;
            Operation::pending(async move {
                seen.lock().expect("no panic").push(colour());
                sleep_until(Instant::now()).await;
                if ends {
                    Ok(())
                } else {
                    future::pending().await
                }
            })
        };
        let outer = drive(look(false), Deadline::never(), || {
            drive(look(true), Deadline::never(), || Answer::Ok(())).expect("it ends");
            Err("enough")
        });
        assert!(matches!(outer, Err(Stopped::Interrupted("enough"))));
        drive(look(true), Deadline::never(), || Answer::Ok(())).expect("it ends");
        let seen = seen.into_inner().expect("no panic");
        assert_eq!(seen, [Colour::Blocking, Colour::Shared, Colour::Blocking]);
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
