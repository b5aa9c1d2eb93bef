//! A way to a node that is there whenever it is needed.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use proxystore_core::Deadline;
use proxystore_runtime::{Colour, colour, generation, timeout};

use super::{
    connection::Connection,
    dial::dial,
    error::ClientError,
    settings::{NodeAddress, Settings},
    statistics::Statistics,
    unsettled::Unsettled,
};

/// A connection that was not used for so long may have been closed by the node unnoticed, so it is
/// looked at before it is used.
const UNSEEN: Duration = Duration::from_millis(100);

/// A way to a node, for operations of one colour: one connection at a time, made when it is needed
/// and again when it was lost.
#[derive(Debug)]
pub(crate) struct Lane {
    node: NodeAddress,
    settings: Arc<Settings>,
    colour: Colour,
    statistics: Arc<Statistics>,
    unsettled: Arc<Unsettled>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Arc<Connection>>,
    attempt: Option<Arc<Attempt>>,
}

/// An attempt to connect, which several operations may wait for.
#[derive(Debug, Default)]
struct Attempt(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    outcome: Option<Attempted>,
    waiting: Vec<Waker>,
}

#[derive(Clone, Debug)]
enum Attempted {
    Connected(Arc<Connection>),
    Failed(ClientError),
    /// Whoever attempted it has given up.
    Abandoned,
}

impl Lane {
    pub(crate) fn new(
        node: NodeAddress,
        settings: Arc<Settings>,
        colour: Colour,
        statistics: Arc<Statistics>,
        unsettled: Arc<Unsettled>,
    ) -> Self {
        Self {
            node,
            settings,
            colour,
            statistics,
            unsettled,
            state: Mutex::default(),
        }
    }

    /// A connection that works as far as this side knows.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<Connection>, ClientError> {
        loop {
            let step = self.open_or_attempt();
            let Step::Open(connection) = step else {
                // Seldom, and large.
                match Box::pin(self.connect(step)).await {
                    Attempted::Connected(connection) => return Ok(connection),
                    Attempted::Failed(error) => return Err(error),
                    Attempted::Abandoned => continue,
                }
            };
            if self.colour == Colour::Blocking {
                connection.catch_up(UNSEEN).await;
                if !connection.is_usable() {
                    continue;
                }
            }
            return Ok(connection);
        }
    }

    async fn connect(self: &Arc<Self>, step: Step) -> Attempted {
        let attempt = match step {
            Step::Open(connection) => return Attempted::Connected(connection),
            Step::Wait(attempt) => attempt,
            Step::Begin(attempt) => match self.begin(&attempt).await {
                Ok(()) => attempt,
                Err(error) => return Attempted::Failed(error),
            },
        };
        attempt.wait().await
    }

    fn open_or_attempt(&self) -> Step {
        let mut state = self.lock();
        if let Some(open) = &state.open {
            if open.is_usable() {
                return Step::Open(Arc::clone(open));
            }
            // Operations that are under way on it keep it until they are done.
            state.open = None;
        }
        if let Some(attempt) = &state.attempt {
            return Step::Wait(Arc::clone(attempt));
        }
        let attempt = Arc::new(Attempt::default());
        state.attempt = Some(Arc::clone(&attempt));
        Step::Begin(attempt)
    }

    /// Makes the attempt: here, or in a task that then turns the connection.
    async fn begin(self: &Arc<Self>, attempt: &Arc<Attempt>) -> Result<(), ClientError> {
        let pending = Pending {
            generation: generation(),
            lane: Arc::clone(self),
            attempt: Arc::clone(attempt),
        };
        if colour() == Colour::Blocking {
            pending.make().await;
            return Ok(());
        }
        let task = async move {
            if let Some(connection) = pending.make().await {
                connection.turn().await;
            }
        };
        proxystore_runtime::spawn(task)?;
        Ok(())
    }

    /// Ends the connection if it was not used for `idle`; whether it is gone.
    pub(crate) fn close_if_idle(&self, idle: Duration, now: Instant) -> bool {
        let mut state = self.lock();
        if state.attempt.is_some() {
            return false;
        }
        let Some(open) = &state.open else {
            return true;
        };
        let (used, busy) = open.usage();
        if busy || now.saturating_duration_since(used) < idle {
            return false;
        }
        open.close();
        state.open = None;
        true
    }

    /// The connection, if there is one that can be used.
    pub(crate) fn open(&self) -> Option<Arc<Connection>> {
        let open = self.lock().open.clone();
        open.filter(|connection| connection.is_usable())
    }

    /// Ends the connection, and fails what is under way on it.
    pub(crate) fn close(&self) {
        if let Some(open) = self.lock().open.take() {
            open.close();
        }
    }

    /// The number of requests under way.
    pub(crate) fn under_way(&self) -> u64 {
        let state = self.lock();
        state.open.as_ref().map_or(0, |open| open.under_way())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Step {
    Open(Arc<Connection>),
    Wait(Arc<Attempt>),
    Begin(Arc<Attempt>),
}

/// An attempt that is being made. Dropped before it is done, it is abandoned, and another operation
/// makes the next.
struct Pending {
    /// The process that makes it.
    generation: u64,
    lane: Arc<Lane>,
    attempt: Arc<Attempt>,
}

impl Pending {
    async fn make(self) -> Option<Arc<Connection>> {
        let lane = &self.lane;
        let until = Instant::now().checked_add(lane.settings.timeout);
        let dialled = timeout(Deadline::from(until), dial(&lane.node, &lane.settings)).await;
        let dialled = dialled.unwrap_or(Err(ClientError::TimedOut));
        let outcome = dialled.map(|dialled| {
            let unsettled = Arc::clone(&lane.unsettled);
            let statistics = Arc::clone(&lane.statistics);
            let keep_alive = lane.settings.keep_alive();
            let connection = Connection::new(dialled, keep_alive, unsettled, statistics);
            Arc::new(connection)
        });
        match outcome {
            Ok(connection) => {
                self.finish(Attempted::Connected(Arc::clone(&connection)));
                Some(connection)
            }
            Err(error) => {
                self.finish(Attempted::Failed(error));
                None
            }
        }
    }

    fn finish(&self, outcome: Attempted) {
        let mut state = self.lane.lock();
        state.attempt = None;
        if let Attempted::Connected(connection) = &outcome {
            state.open = Some(Arc::clone(connection));
        }
        drop(state);
        self.attempt.finish(outcome);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.generation != generation() {
            // A forked child must not even lock what it inherits.
            return;
        }
        let mut state = self.lane.lock();
        let current = state.attempt.as_ref();
        if current.is_some_and(|current| Arc::ptr_eq(current, &self.attempt)) {
            state.attempt = None;
            drop(state);
            self.attempt.finish(Attempted::Abandoned);
        }
    }
}

impl Attempt {
    async fn wait(&self) -> Attempted {
        poll_fn(|context| {
            let mut progress = self.lock();
            if let Some(outcome) = &progress.outcome {
                return Poll::Ready(outcome.clone());
            }
            let waiting = &mut progress.waiting;
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn finish(&self, outcome: Attempted) {
        let mut progress = self.lock();
        progress.outcome = Some(outcome);
        let waiting = std::mem::take(&mut progress.waiting);
        drop(progress);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
