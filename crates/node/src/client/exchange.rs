//! How an operation takes part in a connection.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use proxystore_runtime::Colour;

use super::{
    connection::{Connection, State},
    error::ClientError,
    upload::Upload,
    waiters::{Park, WaiterId, Wakers},
    writing::Flushed,
};

/// How often an operation sends and reads before it lets others have the thread.
const TURNS: usize = 64;

/// What an operation does on a connection.
pub(super) trait Work<'a> {
    /// Takes what has come and begins what can begin; nothing once the operation is done.
    fn advance(
        &mut self,
        state: &mut State,
        id: WaiterId,
        now: Instant,
    ) -> Result<Option<Park>, ClientError>;

    /// The object that it sends in chunks, if any are left.
    fn upload(&mut self) -> Option<&mut Upload<'a>> {
        None
    }
}

/// An operation that takes part in a connection. Dropped, it gives up what it has not got, and hands
/// over what it did for others.
pub(super) struct Exchange {
    connection: Arc<Connection>,
    id: WaiterId,
}

impl Exchange {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let id = connection.lock().waiters.enter();
        Self { connection, id }
    }

    /// Carries `work` on as far as it goes: sends, and reads for everybody or waits until somebody
    /// has read.
    pub(super) fn poll<'a>(
        &self,
        context: &mut Context<'_>,
        work: &mut impl Work<'a>,
    ) -> Poll<Result<(), ClientError>> {
        let Self { connection, id } = self;
        if !connection.is_ours() {
            return Poll::Ready(Err(ClientError::Forked));
        }
        let is_led_here = connection.colour() == Colour::Blocking;
        let mut flushed = Flushed::All;
        for _ in 0..TURNS {
            let mut wakers = Wakers::default();
            let mut state = connection.lock();
            let Some(mut park) = work.advance(&mut state, *id, Instant::now())? else {
                return Poll::Ready(Ok(()));
            };
            let own = work.upload().map(|upload| upload.stream());
            let turn = own.and_then(|_| state.session.turn());
            let is_my_turn = turn.is_some() && turn == own;
            let to_send = is_my_turn || (is_led_here && state.unsent);
            if to_send && flushed == Flushed::All {
                drop(state);
                drop(wakers);
                flushed = connection.flush(context, work.upload())?;
                continue;
            }
            if is_led_here {
                // Whoever sends also reads: it is awake anyway, and no waker reaches a thread that
                // waits for a socket as fast as one that sleeps.
                let other = turn.filter(|_| !is_my_turn);
                let sender = other.and_then(|turn| state.waiters.owner(turn));
                match sender {
                    Some(sender) if state.waiters.may_lead(*id) => {
                        state.waiters.hand_to(sender, &mut wakers);
                    }
                    _ if state.waiters.lead(*id) => {
                        drop(state);
                        drop(wakers);
                        if connection.poll_read(context)?.is_ready() {
                            flushed = Flushed::All;
                        } else if connection.lock().waiters.park(*id, park, context) {
                            return Poll::Pending;
                        }
                        continue;
                    }
                    _ => {}
                }
            } else if state.unsent {
                wakers.add(state.task.take());
            }
            park.writing = flushed == Flushed::Blocked;
            if state.waiters.park(*id, park, context) {
                return Poll::Pending;
            }
            if flushed == Flushed::Elsewhere {
                flushed = Flushed::All;
            }
        }
        // Others have a right to this thread, and its driver looks at the clock and for signals.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Self { connection, id } = self;
        if !connection.is_ours() {
            // The descriptor is closed already, and another may have its number by now.
            std::mem::forget(Arc::clone(connection));
            return;
        }
        let mut wakers = Wakers::default();
        let mut state = connection.lock();
        let given_up = state.waiters.give_up(*id);
        state.cancel(given_up, &mut wakers);
        state.waiters.leave(*id, &mut wakers);
        if !state.unsent {
            return;
        }
        if connection.colour() == Colour::Shared {
            wakers.add(state.task.take());
            return;
        }
        drop(state);
        drop(wakers);
        connection.send_for_nobody();
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Exchange")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
