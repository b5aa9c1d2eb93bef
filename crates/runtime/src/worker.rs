//! Threads with a runtime of their own.

use std::{future::Future, io, sync::Arc, thread, time::Duration};

use proxystore_core::{Error, Result};
use proxystore_fork::generation;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
};

use crate::shared::AbortHandle;

/// After so many turns of tasks it is looked whether sockets are ready: a task that always has
/// something to do keeps the others waiting for one turn, not for dozens.
const TURNS: u32 = 1;

/// How long tasks that block may go on after their runtime has ended.
const GRACE: Duration = Duration::from_millis(100);

/// A thread with a runtime of its own: a task stays on it from its beginning to its end, so nothing
/// that it wakes is on another thread. Whatever is spawned on it ends with it.
///
/// A forked child has none of its parent's threads, and drops nothing of theirs.
#[derive(Debug)]
pub struct Worker {
    handle: Handle,
    stopping: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
    generation: u64,
}

impl Worker {
    /// Starts a thread.
    ///
    /// # Errors
    ///
    /// If the system has no room for another thread, or no more descriptors.
    pub fn start(name: &str) -> Result<Self> {
        let started = || -> io::Result<_> {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(TURNS)
                .build()?;
            let handle = runtime.handle().clone();
            let stopping = Arc::new(Notify::new());
            let stopped = Arc::clone(&stopping);
            let builder = thread::Builder::new().name(name.to_owned());
            let thread = proxystore_memory::without_signals(|| {
                builder.spawn(move || run(runtime, &stopped))
            })?;
            Ok((handle, stopping, thread))
        };
        let (handle, stopping, thread) = started()
            .map_err(|error| Error::from_io("a thread for tasks cannot be started", error))?;
        Ok(Self {
            handle,
            stopping,
            thread: Some(thread),
            generation: generation(),
        })
    }

    /// Runs a task on this thread.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.handle.spawn(task).abort_handle()
    }
}

fn run(runtime: Runtime, stopped: &Notify) {
    runtime.block_on(stopped.notified());
    runtime.shutdown_timeout(GRACE);
}

impl Drop for Worker {
    /// Ends all tasks, and waits until they are gone.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if self.generation != generation() {
            // It is a thread of the parent's.
            std::mem::forget(thread);
            return;
        }
        self.stopping.notify_one();
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("a thread for tasks has ended with a panic; please report it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use super::*;
    use crate::{Colour, colour, sleep_until};

    #[test]
    fn tasks_stay_on_their_thread_and_end_with_it() {
        let worker = Worker::start("test-worker").expect("a thread");
        let (told, hear) = mpsc::channel();
        for _ in 0..3 {
            let told = told.clone();
            worker.spawn(async move {
                let first = thread::current().id();
                sleep_until(Instant::now() + Duration::from_millis(1)).await;
                assert_eq!(colour(), Colour::Shared);
                let same = thread::current().id() == first;
                let name = thread::current().name().map(str::to_owned);
                let _ = told.send((same, name));
            });
        }
        for _ in 0..3 {
            let (same, name) = hear.recv().expect("a task");
            assert!(same && name.as_deref() == Some("test-worker"));
        }
        let held = told.clone();
        worker.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop((told, worker));
        // Ends when the last task is gone, which has the other end of the channel.
        assert!(hear.recv().is_err());
    }

    #[test]
    fn a_task_that_panics_ends_alone() {
        let worker = Worker::start("test-worker").expect("a thread");
        let (told, hear) = mpsc::channel();
        worker.spawn(async { panic!("on purpose") });
        worker.spawn(async move {
            let _ = told.send(());
        });
        hear.recv().expect("the other task");
    }
}
