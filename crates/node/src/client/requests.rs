//! The requests that operations come down to, each repeated as far as that is safe.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use proxystore_core::Payload;
use proxystore_runtime::generation;
use proxystore_wire::{
    ObjectKey, StreamId,
    client::{NotNow, Session},
    frame::MAX_INLINE,
    message::{Mode, Refusal},
};

use super::{
    connection::Connection,
    error::ClientError,
    exchange::Exchange,
    peers::{Peer, Purpose},
    unsettled::Unfinished,
    waiters::Outcome,
    work::{Put, Requests},
};

/// What can be asked in a few bytes, and again after the connection was lost.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Get { whole: bool },
    Exists,
    Evict,
}

/// Fails an operation that was under way when this process was forked: what it waits for is the
/// parent's.
pub(super) async fn in_this_process<T>(
    operation: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let mut operation = pin!(operation);
    let begun_in = generation();
    poll_fn(|context| {
        if generation() != begun_in {
            return Poll::Ready(Err(ClientError::Forked));
        }
        operation.as_mut().poll(context)
    })
    .await
}

/// Tries again, once, what is the same when done twice and whose connection was lost.
pub(super) async fn again<T, F: Future<Output = Result<T, ClientError>>>(
    mut operation: impl FnMut() -> F,
) -> Result<T, ClientError> {
    let mut was_lost = false;
    loop {
        match operation().await {
            Err(error) if error.is_loss() && !was_lost => was_lost = true,
            done => return done,
        }
    }
}

/// Carries requests of a frame each out.
pub(super) async fn carry_out<F>(
    connection: Arc<Connection>,
    mut requests: Requests<F>,
) -> Result<Vec<Option<Outcome>>, ClientError>
where
    F: FnMut(usize, &mut Session, Instant) -> Result<StreamId, NotNow>,
{
    let exchange = Exchange::new(connection);
    poll_fn(|context| exchange.poll(context, &mut requests)).await?;
    Ok(requests.into_outcomes())
}

/// What each request came to or, if one failed, which and why.
fn all(outcomes: Vec<Option<Outcome>>) -> Result<Vec<Outcome>, (usize, ClientError)> {
    let mut came_to = Vec::with_capacity(outcomes.len());
    let mut unanswered = None;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Some(Outcome::Failed(error)) => return Err((index, error)),
            Some(outcome) => came_to.push(outcome),
            None => unanswered = unanswered.or(Some(index)),
        }
    }
    match unanswered {
        Some(index) => Err((index, ClientError::Nonsense)),
        None => Ok(came_to),
    }
}

pub(super) fn first(outcomes: Vec<Option<Outcome>>) -> Result<Outcome, ClientError> {
    let outcomes = all(outcomes).map_err(|(_, error)| error)?;
    outcomes.into_iter().next().ok_or(ClientError::Nonsense)
}

pub(super) async fn question_of(
    peer: &Peer,
    purpose: Purpose,
    question: Question,
    key: &ObjectKey,
) -> Result<Outcome, ClientError> {
    again(|| async {
        let connection = peer.lane(purpose).connection().await?;
        let ask = |_, session: &mut Session, now| question.ask(session, key, now);
        first(carry_out(connection, Requests::new(1, ask)).await?)
    })
    .await
}

pub(super) async fn questions<'k>(
    peer: &Peer,
    purpose: Purpose,
    question: Question,
    keys: impl ExactSizeIterator<Item = &'k ObjectKey>,
) -> Result<Vec<Outcome>, (usize, ClientError)> {
    let keys: Vec<_> = keys.collect();
    let asked = again(|| async {
        let connection = peer.lane(purpose).connection().await?;
        let ask =
            |index: usize, session: &mut Session, now| question.ask(session, keys[index], now);
        let outcomes = carry_out(connection, Requests::new(keys.len(), ask)).await?;
        // A node that is about to stop says so to each, and so is asked again as a whole.
        match all(outcomes) {
            Err((_, error)) if error.is_loss() => Err(error),
            outcomes => Ok(outcomes),
        }
    });
    asked.await.map_err(|error| (0, error))?
}

pub(super) async fn put(
    peer: &Peer,
    key: &ObjectKey,
    mode: Mode,
    payload: Payload<'_>,
) -> Result<(), ClientError> {
    let is_small = payload.len() <= MAX_INLINE as usize;
    let purpose = if is_small {
        Purpose::Small
    } else {
        Purpose::Bulk
    };
    let (mut copied, mut was_lost) = (false, false);
    let new = match mode {
        Mode::New => std::slice::from_ref(key),
        Mode::Replace => &[],
    };
    let unfinished = Unfinished::new(peer, new);
    loop {
        let connection = peer.lane(purpose).connection().await?;
        let mut work = Put::new(key, mode, payload, copied);
        let exchange = Exchange::new(connection);
        let done = poll_fn(|context| exchange.poll(context, &mut work)).await;
        drop(exchange);
        let is_unfinished = work.is_unfinished();
        let done = done.and_then(|()| match work.into_outcome() {
            Some(Outcome::Done) => Ok(()),
            Some(Outcome::Failed(error)) => Err(error),
            _ => Err(ClientError::Nonsense),
        });
        match done {
            // Somebody writes to the object all the time: what is sent is what was summed if it is
            // sent from a copy.
            Err(ClientError::Refused { refusal, .. }) if refusal == Refusal::Changed && !copied => {
                copied = true;
            }
            // Nothing was stored, as not all of it was sent.
            Err(error) if error.is_loss() && is_unfinished && !was_lost => was_lost = true,
            done => {
                unfinished.end();
                return done;
            }
        }
    }
}

/// Stores all objects; if one cannot be stored, others may have been.
pub(super) async fn put_all(
    peer: &Peer,
    keys: &[ObjectKey],
    payloads: &[Payload<'_>],
) -> Result<(), (usize, ClientError)> {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for (index, payload) in payloads.iter().enumerate().take(keys.len()) {
        let is_small = payload.len() <= MAX_INLINE as usize;
        if is_small { &mut small } else { &mut large }.push(index);
    }
    if !small.is_empty() {
        let lost = |error| (small[0], error);
        let connection = peer.lane(Purpose::Small).connection().await.map_err(lost)?;
        let ask = |at: usize, session: &mut Session, now| {
            let index = small[at];
            session.put(&keys[index], Mode::New, payloads[index].segments(), now)
        };
        let outcomes = carry_out(connection, Requests::new(small.len(), ask)).await;
        all(outcomes.map_err(lost)?).map_err(|(at, error)| (small[at], error))?;
    }
    for index in large {
        let stored = put(peer, &keys[index], Mode::New, payloads[index]);
        stored.await.map_err(|error| (index, error))?;
    }
    Ok(())
}

impl Question {
    fn ask(self, session: &mut Session, key: &ObjectKey, now: Instant) -> Result<StreamId, NotNow> {
        match self {
            Self::Get { whole } => session.get(key, whole, now),
            Self::Exists => session.exists(key, now),
            Self::Evict => session.evict(key, now),
        }
    }
}
