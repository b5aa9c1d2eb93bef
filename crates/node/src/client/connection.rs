//! One connection, shared by all operations of a colour.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use proxystore_fork::ClosedInChild;
use proxystore_runtime::Colour;
use proxystore_stream::Stream;
use proxystore_wire::{ObjectKey, StreamId, client::Session};

use super::{
    dial::Dialled,
    error::{ClientError, Lost},
    reading::Reader,
    statistics::Statistics,
    unsettled::Unsettled,
    waiters::{Waiters, Wakers},
    writing::{Flushed, Writer},
};

/// How often a task sends and reads before it lets others have the thread.
const TURNS: usize = 64;

/// One connection, shared by all operations of a colour.
///
/// In the blocking colour one of the operations that wait, the leader, reads for all of them; in the
/// shared colour a task does. Whoever finds nobody writing sends what all have queued. Three locks
/// are held for as long as a system call takes at most, never across a wait: `writer` and `reader`
/// before `state`, and each of the two by itself.
pub(crate) struct Connection {
    /// A child that kept the descriptor would keep the node from seeing that this process ended.
    _in_child: ClosedInChild,
    pub(super) stream: Stream,
    /// The process that made it.
    generation: u64,
    pub(super) statistics: Arc<Statistics>,
    unsettled: Arc<Unsettled>,
    state: Mutex<State>,
    pub(super) writer: Mutex<Writer>,
    pub(super) reader: Mutex<Reader>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(super) session: Session,
    pub(super) waiters: Waiters,
    /// Frames may be queued that nobody is sending.
    pub(super) unsent: bool,
    /// Why it cannot be used any more.
    lost: Option<ClientError>,
    /// What turns it, in the shared colour.
    pub(super) task: Option<Waker>,
    pub(super) used: Instant,
}

impl State {
    /// Fails once the connection is lost.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        match &self.lost {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Something was queued, or credit came: whoever turns the connection has to send.
    pub(super) fn has_more_to_send(&mut self, wakers: &mut Wakers) {
        self.unsent = true;
        wakers.add(self.task.take());
    }

    /// Gives requests up.
    pub(super) fn cancel(&mut self, streams: Vec<StreamId>, wakers: &mut Wakers) {
        for stream in streams {
            self.session.cancel(stream);
            self.has_more_to_send(wakers);
        }
    }
}

impl Connection {
    /// A connection, which first of all removes what is unsettled from the node. While the node owes
    /// an answer, nothing may be heard of it for as long as `keep_alive`.
    pub(crate) fn new(
        dialled: Dialled,
        keep_alive: Duration,
        unsettled: Arc<Unsettled>,
        statistics: Arc<Statistics>,
    ) -> Self {
        let Dialled {
            stream,
            agreed,
            rest,
        } = dialled;
        let now = Instant::now();
        let mut session = Session::new(&agreed, keep_alive, now);
        for key in unsettled.take() {
            // Nobody waits for the answers, and a new session is never busy with so few.
            let _ = session.evict(&key, now);
        }
        let led_by_task = stream.colour() == Colour::Shared;
        statistics.connections.add(1);
        Self {
            _in_child: ClosedInChild::new(&stream),
            stream,
            generation: proxystore_runtime::generation(),
            statistics,
            unsettled,
            state: Mutex::new(State {
                session,
                waiters: Waiters::new(led_by_task),
                unsent: true,
                lost: None,
                task: None,
                used: now,
            }),
            writer: Mutex::default(),
            reader: Mutex::new(Reader::new(&rest)),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn colour(&self) -> Colour {
        self.stream.colour()
    }

    /// Whether this process made it. A forked child must not even lock it.
    pub(super) fn is_ours(&self) -> bool {
        self.generation == proxystore_runtime::generation()
    }

    /// Whether a new operation may begin on it.
    pub(crate) fn is_usable(&self) -> bool {
        let state = self.lock();
        state.lost.is_none() && !state.session.is_draining()
    }

    /// When it was last used, and whether it is in use.
    pub(crate) fn usage(&self) -> (Instant, bool) {
        let state = self.lock();
        (state.used, state.session.under_way() > 0)
    }

    /// The number of requests under way.
    pub(crate) fn under_way(&self) -> u64 {
        self.lock().session.under_way() as u64
    }

    /// Reads what has come since it was last used, if that is as long ago as `unseen` and nobody
    /// reads: a farewell of the node perhaps.
    pub(crate) async fn catch_up(&self, unseen: Duration) {
        let id = {
            let mut state = self.lock();
            if state.used.elapsed() < unseen || state.waiters.has_leader() {
                return;
            }
            let id = state.waiters.enter();
            state.waiters.lead(id);
            id
        };
        poll_fn(|context| {
            self.stream.assume_readable();
            // What it fails by is noted; pending is that nothing has come.
            while let Poll::Ready(Ok(())) = self.poll_read(context) {}
            Poll::Ready(())
        })
        .await;
        let mut wakers = Wakers::default();
        self.lock().waiters.leave(id, &mut wakers);
    }

    /// Asks the node to remove objects, and waits for no answer. Returns those that it could not ask
    /// for, as too much is to be sent already.
    pub(crate) fn remove<'k>(&self, mut keys: &'k [ObjectKey]) -> &'k [ObjectKey] {
        loop {
            let mut wakers = Wakers::default();
            let mut state = self.lock();
            let now = Instant::now();
            let asked = keys
                .iter()
                .take_while(|key| state.session.evict(key, now).is_ok());
            let asked = asked.count();
            if asked == 0 || state.lost.is_some() {
                return keys;
            }
            keys = &keys[asked..];
            state.has_more_to_send(&mut wakers);
            drop(state);
            drop(wakers);
            self.send_for_nobody();
        }
    }

    /// Sends what is queued, in the blocking colour, where nobody may come to do it.
    pub(super) fn send_for_nobody(&self) {
        if self.colour() == Colour::Shared {
            return;
        }
        // What the socket does not take now is for the leader or, if nobody waits, for whoever comes.
        let flushed = self.flush(&mut Context::from_waker(Waker::noop()), None);
        if matches!(flushed, Ok(Flushed::Blocked)) {
            let mut wakers = Wakers::default();
            self.lock().waiters.wake_leader(&mut wakers);
        }
    }

    /// Turns it until it is lost: the task of a connection of the shared colour.
    pub(crate) async fn turn(self: Arc<Self>) {
        poll_fn(|context| self.poll_turn(context)).await;
    }

    fn poll_turn(&self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            let mut state = self.lock();
            if state.lost.is_some() {
                return Poll::Ready(());
            }
            state.task = Some(context.waker().clone());
            let unsent = state.unsent;
            drop(state);
            if unsent && self.flush(context, None).is_err() {
                return Poll::Ready(());
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends it: every operation under way fails, and so does every later one.
    pub(crate) fn lose(&self, error: ClientError) -> ClientError {
        let mut wakers = Wakers::default();
        let mut state = self.lock();
        if let Some(first) = &state.lost {
            return first.clone();
        }
        if state.session.under_way() > 0 {
            self.statistics.losses.add(1);
        }
        self.unsettled.add(state.session.unsettled());
        state.lost = Some(error.clone());
        state.waiters.fail(&error, &mut wakers);
        wakers.add(state.task.take());
        // Whoever waits for the socket is woken by its end.
        self.stream.shutdown();
        error
    }

    /// Ends it from this side.
    pub(crate) fn close(&self) {
        if self.is_ours() {
            self.lose(ClientError::Lost(Lost::Here));
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
