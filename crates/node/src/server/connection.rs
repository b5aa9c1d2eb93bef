//! One connection, once it is known who is there: `requests` are what it is for.

mod requests;

use std::{
    cell::RefCell,
    collections::HashMap,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use proxystore_core::Deadline;
use proxystore_memory::{Filling, Segment};
use proxystore_runtime::{sleep_until, timer::Sleep};
use proxystore_stream::Stream;
use proxystore_wire::{
    Sum, Violation,
    server::{Event, Session, Ticket},
};

use self::requests::Outcome;
use super::{Shared, chores::Chores, table::Seat};
use crate::storage::{Object, Reservation};

/// How much is read at once, in bytes. Turns on one thread are short, for the sake of those who wait
/// for theirs.
const READ: usize = 256 << 10;
/// How much is read beyond the chunk of an object, in bytes: what follows it is copied once more.
const BEYOND: usize = 256;

/// The memory that a connection keeps for what cannot be understood yet, in bytes.
const KEPT: usize = 4 << 10;

thread_local! {
    /// What arrived. It is looked at before anything else is read, and what cannot be understood yet
    /// goes back to its connection; so the connections of a thread share it.
    static STAGING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// The client closed it.
    #[error("the client closed it")]
    Closed,
    /// The node stops, and nothing is under way.
    #[error("the node is about to stop")]
    Drained,
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client does not keep to the protocol.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// An object takes too long to come.
    #[error("the client sends too slowly")]
    Slow,
}

/// One connection. Fields are dropped in the order of their declaration.
pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: Stream,
    session: Session,
    /// Bytes that arrived and cannot be looked at yet.
    rest: Vec<u8>,
    /// The request that the next bytes are the object of, and how many of them.
    body: Option<(Ticket, usize)>,
    /// Objects on their way here, by the numbers of their streams.
    arriving: HashMap<u32, Arriving>,
    /// Objects on their way out.
    leaving: HashMap<u32, Arc<Object>>,
    chores: Chores<Outcome>,
    /// Requests that chores are done for.
    awaiting: HashMap<u32, Ticket>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Whether everything that was written has left.
    is_flushed: bool,
    has_drained: bool,
    /// The last to go: once the connection is counted no more, nothing of it is left.
    seat: Seat,
}

/// An object on its way here.
struct Arriving {
    filling: Filling,
    /// Given back when the memory is, so after it.
    reservation: Reservation,
    sum: Sum,
    /// When all of it must be here: what is reserved for it is nobody else's.
    deadline: Deadline,
}

/// What a turn of a connection came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something was done, and there may be more.
    Progress,
    /// Everything waits for somebody else.
    Idle,
}

impl Connection {
    /// A connection of which these bytes have arrived already.
    pub(super) fn new(
        shared: Arc<Shared>,
        seat: Seat,
        stream: Stream,
        session: Session,
        rest: Vec<u8>,
    ) -> Self {
        Self {
            shared,
            stream,
            session,
            rest,
            body: None,
            arriving: HashMap::new(),
            leaving: HashMap::new(),
            chores: Chores::new(),
            awaiting: HashMap::new(),
            timer: None,
            is_flushed: true,
            has_drained: false,
            seat,
        }
    }

    /// Serves it until it ends.
    pub(super) async fn serve(mut self) -> Ended {
        let ended = poll_fn(|context| match self.turn(context) {
            Ok(Turn::Idle) => Poll::Pending,
            Ok(Turn::Progress) => {
                // The others on this thread come first.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Err(ended) => Poll::Ready(ended),
        })
        .await;
        // Copies of the descriptor, in children of this process, would keep the client waiting.
        self.stream.shutdown();
        ended
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Result<Turn, Ended> {
        self.seat.wake_by(context.waker());
        if self.seat.is_draining() && !self.has_drained {
            self.has_drained = true;
            self.session.drain();
        }
        while let Some(outcome) = self.chores.poll_next(context) {
            self.finish(outcome);
        }
        let received = self.poll_receive(context)?;
        let sent = self.poll_send(context)?;
        self.seat.tell_under_way(self.session.under_way());
        if received == Turn::Progress || sent == Turn::Progress {
            return Ok(Turn::Progress);
        }
        let is_done = self.session.is_idle() && self.is_flushed && self.chores.are_none();
        if self.has_drained && is_done {
            return Err(Ended::Drained);
        }
        self.poll_timer(context)?;
        Ok(Turn::Idle)
    }

    /// Reads once, and looks at everything that is there.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Result<Turn, Ended> {
        if self.chores.are_many() {
            return Ok(Turn::Idle);
        }
        STAGING.with_borrow_mut(|staging| {
            let kept = self.rest.len();
            if staging.len() < kept + READ {
                staging.resize(kept + READ, 0);
            }
            staging[..kept].copy_from_slice(&self.rest);
            self.rest.clear();
            let read = if kept < READ {
                self.poll_read(context, &mut staging[kept..])?
            } else {
                // There is enough to do, or nothing can be done until something is sent.
                Poll::Pending
            };
            let (len, is_new) = match read {
                Poll::Ready((_, len)) => (kept + len, true),
                Poll::Pending => (kept, false),
            };
            let used = self.look(&staging[..len])?;
            self.rest.shrink_to(KEPT);
            self.rest.extend_from_slice(&staging[used..len]);
            Ok(if is_new || used > 0 {
                Turn::Progress
            } else {
                Turn::Idle
            })
        })
    }

    /// Reads once: the bytes of an object to their place, others into `staging`. Returns how many
    /// went where.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        staging: &mut [u8],
    ) -> Result<Poll<(usize, usize)>, Ended> {
        let place = self.body.and_then(|(ticket, len)| {
            let arriving = self.arriving.get_mut(&ticket.stream().number())?;
            Some((arriving, len))
        });
        let Some((arriving, len)) = place else {
            return match self.stream.poll_read(context, staging) {
                Poll::Ready(Ok(0)) => Err(Ended::Closed),
                Poll::Ready(Ok(len)) => Ok(Poll::Ready((0, len))),
                Poll::Ready(Err(error)) => Err(error.into()),
                Poll::Pending => Ok(Poll::Pending),
            };
        };
        let before = arriving.filling.filled().len();
        let beyond = &mut staging[..BEYOND];
        let filled = self
            .stream
            .poll_fill(context, &mut arriving.filling, len, beyond);
        match filled {
            Poll::Ready(Ok((0, 0))) => Err(Ended::Closed),
            Poll::Ready(Ok(_)) if arriving.deadline.is_past(Instant::now()) => Err(Ended::Slow),
            Poll::Ready(Ok((here, beyond))) => {
                arriving.sum.update(&arriving.filling.filled()[before..]);
                self.body = None;
                self.session.body_received(here, Instant::now());
                Ok(Poll::Ready((here, beyond)))
            }
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Looks at what arrived, as far as it can be understood by now, and returns how far that is.
    fn look(&mut self, bytes: &[u8]) -> Result<usize, Ended> {
        let now = Instant::now();
        let mut used = 0;
        loop {
            let received = self.session.receive(&bytes[used..], now)?;
            used += received.used;
            self.body = None;
            match received.event {
                None | Some(Event::Waiting { .. } | Event::Congested) => return Ok(used),
                Some(Event::Body { ticket, len }) => {
                    let there = len.min(bytes.len() - used);
                    if there == 0 {
                        self.body = Some((ticket, len));
                        return Ok(used);
                    }
                    let part = &bytes[used..used + there];
                    if let Some(arriving) = self.arriving.get_mut(&ticket.stream().number()) {
                        if arriving.deadline.is_past(now) {
                            return Err(Ended::Slow);
                        }
                        arriving.filling.push(part);
                        arriving.sum.update(part);
                    }
                    used += there;
                    self.session.body_received(there, now);
                }
                Some(Event::Request { ticket, request }) => {
                    self.begin(ticket, request);
                    if self.chores.are_many() {
                        return Ok(used);
                    }
                }
                Some(Event::Ended { ticket, sum }) => self.complete(ticket, sum),
                Some(Event::Cancelled { ticket }) => {
                    let stream = ticket.stream().number();
                    self.arriving.remove(&stream);
                    self.leaving.remove(&stream);
                    self.awaiting.remove(&stream);
                }
            }
        }
    }

    /// Writes once what is to be sent.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Result<Turn, Ended> {
        if !self.session.wants_to_send() {
            let flushed = self.stream.poll_flush(context)?;
            self.is_flushed = flushed.is_ready();
            return Ok(Turn::Idle);
        }
        let outgoing = self.session.outgoing(Instant::now());
        let written = match &outgoing.chunk {
            None => {
                let parts = [Segment::from(outgoing.bytes)];
                self.stream.poll_write(context, &parts)
            }
            Some(chunk) => {
                let object = self.leaving.get(&chunk.stream.number());
                let part = object.map_or(Segment::EMPTY, |object| {
                    // Within the object, whose length is known as a `usize`.
                    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                    let part = place(chunk.body.start)..place(chunk.body.end);
                    object.segment().slice(part)
                });
                let parts = [
                    Segment::from(outgoing.bytes),
                    Segment::from(chunk.header()),
                    part,
                ];
                self.stream.poll_write(context, &parts)
            }
        };
        match written {
            Poll::Ready(Ok(0)) => Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Poll::Ready(Ok(len)) => {
                if let Some(ticket) = self.session.sent(len, Instant::now()) {
                    self.leaving.remove(&ticket.stream().number());
                }
                Ok(Turn::Progress)
            }
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => Ok(Turn::Idle),
        }
    }

    /// Waits for the time by which the client must have done something.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let Some(at) = self.session.next_timeout() else {
            self.timer = None;
            return Ok(());
        };
        // A timer that is too early only looks once more.
        let (_, timer) = match &mut self.timer {
            Some(timer) if timer.0 <= at => timer,
            none => none.insert((at, Box::pin(sleep_until(at)))),
        };
        if timer.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        self.timer = None;
        self.session.handle_timeout(Instant::now())?;
        context.waker().wake_by_ref();
        Ok(())
    }
}
