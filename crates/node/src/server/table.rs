//! The connections of a node.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use proxystore_runtime::shared::AbortHandle;

use super::options::ServerLimits;

/// The connections of a node, within its limits.
#[derive(Debug)]
pub(super) struct Table {
    limits: ServerLimits,
    state: Mutex<State>,
    /// Told when a connection has ended.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    next: u64,
    /// Connections that are not authenticated yet, the oldest first.
    strangers: BTreeMap<u64, AbortHandle>,
    connections: BTreeMap<u64, Arc<Connected>>,
    /// How many connections each of the node's threads serves.
    loads: Vec<usize>,
    draining: bool,
    total: u64,
    /// Connections that ended before they were authenticated.
    rejected: u64,
}

/// What a connection and its node tell each other.
#[derive(Debug)]
pub(super) struct Connected {
    /// Which of the node's threads serves it.
    worker: usize,
    draining: AtomicBool,
    /// Of the task that serves it, once it waits.
    waker: Mutex<Option<Waker>>,
    /// Requests that are not answered yet.
    under_way: AtomicUsize,
}

/// How many connections there are and were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Connections {
    pub(super) present: usize,
    pub(super) strangers: usize,
    pub(super) under_way: usize,
    pub(super) total: u64,
    pub(super) rejected: u64,
}

impl Table {
    /// An empty table of connections that so many threads serve.
    pub(super) fn new(limits: ServerLimits, threads: usize) -> Self {
        Self {
            limits,
            state: Mutex::new(State {
                next: 0,
                strangers: BTreeMap::new(),
                connections: BTreeMap::new(),
                loads: vec![0; threads],
                draining: false,
                total: 0,
                rejected: 0,
            }),
            ended: Condvar::new(),
        }
    }

    pub(super) const fn limits(&self) -> &ServerLimits {
        &self.limits
    }

    /// Enters a new connection, which `serve` begins to serve on the thread of this number; nothing
    /// is begun if the node is about to stop.
    pub(super) fn enter(self: &Arc<Self>, serve: impl FnOnce(Seat, usize) -> AbortHandle) {
        let mut state = self.lock();
        if state.draining {
            return;
        }
        state.total += 1;
        while state.strangers.len() >= self.limits.strangers.max(1) {
            state.reject_oldest();
        }
        let threads = 0..state.loads.len();
        let worker = threads.min_by_key(|&worker| state.loads[worker]);
        let worker = worker.unwrap_or(0);
        let number = state.next;
        state.next += 1;
        let connected = Arc::new(Connected {
            worker,
            draining: AtomicBool::new(false),
            waker: Mutex::default(),
            under_way: AtomicUsize::new(0),
        });
        if let Some(load) = state.loads.get_mut(worker) {
            *load += 1;
        }
        state.connections.insert(number, Arc::clone(&connected));
        let seat = Seat {
            table: Arc::clone(self),
            number,
            connected,
        };
        // Under the lock, as the task may have ended before it is known otherwise.
        let task = serve(seat, worker);
        state.strangers.insert(number, task);
    }

    /// Ends the oldest connection that is not authenticated yet, as the system has no room for more.
    /// Whether there was one.
    pub(super) fn make_room(&self) -> bool {
        let mut state = self.lock();
        let is_one = !state.strangers.is_empty();
        state.reject_oldest();
        is_one
    }

    /// Asks all connections to finish what is under way, and lets no more in.
    pub(super) fn drain(&self) {
        let mut state = self.lock();
        state.draining = true;
        for connected in state.connections.values() {
            connected.draining.store(true, Ordering::Release);
            connected.wake();
        }
        while !state.strangers.is_empty() {
            state.reject_oldest();
        }
    }

    /// Waits until no connection is left, or the time has come. Whether none is.
    pub(super) fn wait_until_empty(&self, until: Instant) -> bool {
        let mut state = self.lock();
        while !state.connections.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            let waited = self.ended.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    pub(super) fn count(&self) -> Connections {
        let state = self.lock();
        let connections = state.connections.values();
        Connections {
            present: connections.len(),
            strangers: state.strangers.len(),
            under_way: connections
                .map(|connected| connected.under_way.load(Ordering::Relaxed))
                .sum(),
            total: state.total,
            rejected: state.rejected,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reject_oldest(&mut self) {
        if let Some((number, oldest)) = self.strangers.pop_first() {
            oldest.abort();
            self.rejected += 1;
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u64) {
        if let Some(connected) = self.connections.remove(&number)
            && let Some(load) = self.loads.get_mut(connected.worker)
        {
            *load -= 1;
        }
    }
}

impl Connected {
    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
    }
}

/// A connection's place in the table, which it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    table: Arc<Table>,
    number: u64,
    connected: Arc<Connected>,
}

impl Seat {
    /// Whether one more connection may stay.
    pub(super) fn has_room(&self) -> bool {
        let state = self.table.lock();
        let known = state.connections.len() - state.strangers.len();
        known < self.table.limits.connections
    }

    /// The client is authenticated: the connection stays until one of the two ends it.
    pub(super) fn introduced(&self) {
        self.table.lock().strangers.remove(&self.number);
    }

    /// Lets the node wake the task of this connection.
    pub(super) fn wake_by(&self, waker: &Waker) {
        let connected = &self.connected;
        let known = connected.waker.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Whether the node is about to stop.
    pub(super) fn is_draining(&self) -> bool {
        self.connected.draining.load(Ordering::Acquire)
    }

    pub(super) fn tell_under_way(&self, requests: usize) {
        self.connected.under_way.store(requests, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        if state.strangers.remove(&self.number).is_some() {
            state.rejected += 1;
        }
        state.leave(self.number);
        self.table.ended.notify_all();
    }
}
