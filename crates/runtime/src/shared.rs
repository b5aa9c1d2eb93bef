//! The tokio runtime that all asynchronous operations of a process share.

use std::{
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use proxystore_core::{Error, ErrorKind, Result};
use proxystore_fork::PerProcess;
use tokio::runtime::{Builder, Runtime};

pub use tokio::{runtime::Handle, task::AbortHandle};

/// Threads that turn sockets and run tasks. Tasks hand bytes on and compute nothing.
const WORKERS: usize = 2;
/// The most threads that block on behalf of operations at once.
const BLOCKING: usize = 64;
/// After so long without work a thread that may block ends.
const IDLE: Duration = Duration::from_secs(10);

/// A forked child has none of the parent's threads, and makes a runtime of its own.
static RUNTIME: PerProcess<Mutex<Option<Runtime>>> = PerProcess::new(Mutex::default);

/// The runtime that all asynchronous operations of this process share, made on first use.
///
/// # Errors
///
/// If its threads cannot be started.
pub fn handle() -> Result<Handle> {
    let mut runtime = RUNTIME.lock();
    let runtime = match &mut *runtime {
        Some(runtime) => runtime,
        none => none.insert(start().map_err(|error| {
            Error::from_io(
                "the threads of the asynchronous operations cannot be started",
                error,
            )
        })?),
    };
    Ok(runtime.handle().clone())
}

fn start() -> io::Result<Runtime> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(IDLE)
        .enable_io()
        .enable_time()
        .thread_name_fn(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            format!("proxystore-{number}")
        })
        .build()
}

/// Runs a task on the shared runtime.
///
/// # Errors
///
/// As [`handle`].
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Result<AbortHandle> {
    Ok(handle()?.spawn(task).abort_handle())
}

/// The value of `work`, done on a thread that may block. Work that has begun goes on when nobody
/// waits for it any more.
///
/// # Errors
///
/// As [`handle`]; `Internal` if the work panicked.
pub async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let shared = Arc::new(Mutex::new(Progress::<T>::Waiting(None)));
    let worker = Arc::clone(&shared);
    handle()?.spawn_blocking(move || {
        let answer = Answer(worker);
        let value = work();
        answer.give(value);
    });
    std::future::poll_fn(|context| {
        let mut progress = shared.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *progress, Progress::Waiting(None)) {
            Progress::Waiting(_) => {
                *progress = Progress::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            Progress::Done(value) => Poll::Ready(Ok(value)),
            Progress::Panicked => {
                let message = "work on a thread that may block ended with a panic";
                Poll::Ready(Err(Error::new(ErrorKind::Internal, message)))
            }
        }
    })
    .await
}

enum Progress<T> {
    Waiting(Option<Waker>),
    Done(T),
    Panicked,
}

/// Answers whatever happens to the work.
struct Answer<T>(Arc<Mutex<Progress<T>>>);

impl<T> Answer<T> {
    fn give(self, value: T) {
        self.set(Progress::Done(value));
    }

    fn set(&self, outcome: Progress<T>) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Progress::Waiting(waker) = std::mem::replace(&mut *progress, outcome) {
            drop(progress);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.set(Progress::Panicked);
        }
    }
}
