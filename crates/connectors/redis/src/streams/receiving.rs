//! Waiting for messages over one connection.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use proxystore_core::Memory;
use proxystore_fork::PerProcess;
use proxystore_memory::Filling;
use proxystore_runtime::{Colour, colour};

use crate::{
    client::Limit, connection::Connection, error::RedisError, exchanges::into_memory,
    resp::Malformed,
};

/// The longest name of a channel or a queue that is taken from a server.
const LONGEST_NAME: usize = 64 << 10;

/// What is done with a connection, and the connection afterwards if it is still good.
pub(super) type Wait<T> =
    Pin<Box<dyn Future<Output = (Option<Connection>, Result<T, RedisError>)> + Send>>;

/// What goes on with a connection, whoever waits for it. It is kept here and not by whoever waits,
/// so that what has arrived in part is not lost when a wait is given up.
///
/// A forked child finds nothing here: what arrives at the connection is for its parent.
pub(super) struct Receiving<T>(PerProcess<Mutex<State<T>>>);

struct State<T> {
    connection: Option<Connection>,
    wait: Option<(Wait<T>, Colour)>,
    /// Who else waits.
    wakers: Vec<Waker>,
}

impl<T> Receiving<T> {
    pub(super) const fn new() -> Self {
        Self(PerProcess::new(Mutex::default))
    }

    /// What comes of the wait that is going on, or of the one that `begin` begins with the
    /// connection. Whoever drops this leaves the wait to the next one who asks.
    pub(super) async fn outcome(
        &self,
        mut begin: impl FnMut(Option<Connection>) -> Wait<T>,
    ) -> Result<T, RedisError> {
        poll_fn(|context| self.lock().poll(context, &mut begin)).await
    }

    /// Whether a wait was given up that can be taken up.
    pub(super) fn is_waiting(&self) -> bool {
        self.lock().wait.is_some()
    }

    /// Ends the connection, whatever goes on with it.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        let ended = (state.connection.take(), state.wait.take());
        state.wake();
        drop(state);
        drop(ended);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock()
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            connection: None,
            wait: None,
            wakers: Vec::new(),
        }
    }
}

impl<T> State<T> {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        begin: &mut impl FnMut(Option<Connection>) -> Wait<T>,
    ) -> Poll<Result<T, RedisError>> {
        let here = colour();
        let resting = self.connection.as_ref().map(Connection::colour);
        let own = self.wait.as_ref().map(|(_, own)| *own).or(resting);
        if own.is_some_and(|own| own != here) {
            return Poll::Ready(Err(RedisError::Astray));
        }
        let connection = &mut self.connection;
        let (wait, _) = self
            .wait
            .get_or_insert_with(|| (begin(connection.take()), here));
        let Poll::Ready((connection, outcome)) = wait.as_mut().poll(context) else {
            if !self
                .wakers
                .iter()
                .any(|waker| waker.will_wake(context.waker()))
            {
                self.wakers.push(context.waker().clone());
            }
            return Poll::Pending;
        };
        (self.connection, self.wait) = (connection, None);
        // The others begin another wait.
        self.wake();
        Poll::Ready(outcome)
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// Reads a short text within a reply.
pub(super) async fn name(connection: &mut Connection) -> Result<String, RedisError> {
    let Some(len) = connection.bulk().await? else {
        return Ok(String::new());
    };
    if len > LONGEST_NAME {
        return Err(connection.malformed(Malformed::Excessive));
    }
    let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
    connection.body(&mut filling, len, None).await?;
    Ok(String::from_utf8_lossy(filling.filled()).into_owned())
}

/// Reads the bytes of a message within a reply.
pub(super) async fn payload(
    connection: &mut Connection,
    limit: &Limit,
) -> Result<Memory, RedisError> {
    let Some(len) = connection.bulk().await? else {
        let found = "a message without bytes".to_owned();
        return Err(connection.malformed(Malformed::Unexpected { found }));
    };
    limit.extend(len as u64);
    let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
    connection.body(&mut filling, len, None).await?;
    into_memory(filling)
}
