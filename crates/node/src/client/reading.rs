//! Reads what the node sends, and hands it to whoever waits for it.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use proxystore_memory::{Filling, Memory, Segment};
use proxystore_runtime::{sleep_until, timer::Sleep};
use proxystore_wire::{StreamId, Sum, client::Event, message::Reply};

use super::{
    connection::{Connection, State},
    error::{ClientError, Lost},
    waiters::{Body, Outcome, Wakers},
};

/// Bytes that are read at once. The longest frame fits.
const STAGING: usize = 128 << 10;

/// Bytes that are read beyond a chunk: enough for the next header, and too few to be worth a copy.
const BEYOND: usize = 512;

/// What has arrived and is not handed out yet.
#[derive(Debug)]
pub(crate) struct Reader {
    staging: Box<[u8]>,
    start: usize,
    end: usize,
    /// The object that is arriving, and how many bytes of its chunk are left.
    body: Option<(StreamId, Box<Body>, usize)>,
    timer: Option<(Instant, Sleep)>,
}

impl Reader {
    /// A reader that has read `rest` already.
    pub(crate) fn new(rest: &[u8]) -> Self {
        let mut staging = vec![0; STAGING];
        let end = rest.len().min(STAGING);
        staging[..end].copy_from_slice(&rest[..end]);
        Self {
            staging: staging.into(),
            start: 0,
            end,
            body: None,
            timer: None,
        }
    }

    /// Makes room behind what is left of a frame.
    fn compact(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.staging.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}

impl Connection {
    /// Reads once, and hands out what came. Only the leader may call it. Pending if nothing comes.
    pub(super) fn poll_read(&self, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.poll_receive(context, &mut reader);
        drop(reader);
        read.map_err(|error| self.lose(error))
    }

    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        reader: &mut Reader,
    ) -> Poll<Result<(), ClientError>> {
        let read = match &mut reader.body {
            None => {
                reader.compact();
                let room = &mut reader.staging[reader.end..];
                let read = self.stream.poll_read(context, room);
                read.map_ok(|read| (0, read))
            }
            Some((_, body, left)) => {
                (reader.start, reader.end) = (0, 0);
                let before = body.filling.filled().len();
                let beyond = &mut reader.staging[..BEYOND];
                let read = self
                    .stream
                    .poll_fill(context, &mut body.filling, *left, beyond);
                body.sum.update(&body.filling.filled()[before..]);
                read
            }
        };
        let Poll::Ready(read) = read else {
            return self.poll_keep_alive(context, reader);
        };
        let (filled, staged) = read?;
        if filled + staged == 0 {
            return Poll::Ready(Err(ClientError::Lost(Lost::Closed)));
        }
        reader.end += staged;
        self.hand_out(reader, filled)?;
        Poll::Ready(Ok(()))
    }

    /// Hands out what is staged, after `filled` bytes that went straight into an object.
    fn hand_out(&self, reader: &mut Reader, filled: usize) -> Result<(), ClientError> {
        let mut wakers = Wakers::default();
        let mut state = self.lock();
        state.check()?;
        let now = Instant::now();
        let busy = state.session.under_way();
        self.statistics.most_under_way.raise_to(busy as u64);
        if let Some((stream, body, _)) = reader.body.take() {
            if let Some(place) = state.waiters.body(stream) {
                *place = Some(body);
            }
            state.session.body_received(filled, now);
        }
        self.take_events(&mut state, reader, now, &mut wakers)?;
        if state.session.under_way() < busy {
            state.waiters.wake_blocked(&mut wakers);
        }
        state.used = now;
        // Credit is given back, and perhaps was received: whoever reads also sends.
        state.unsent |= state.session.wants_to_send();
        drop(state);
        Ok(())
    }

    fn take_events(
        &self,
        state: &mut State,
        reader: &mut Reader,
        now: Instant,
        wakers: &mut Wakers,
    ) -> Result<(), ClientError> {
        loop {
            let staged = &reader.staging[reader.start..reader.end];
            let received = state.session.receive(staged, now)?;
            reader.start += received.used;
            match received.event {
                None => return Ok(()),
                Some(Event::Draining) => {}
                Some(Event::Reply { stream, reply }) => {
                    state.waiters.finish(stream, self.outcome(reply), wakers);
                }
                Some(Event::Found { stream, len, sum }) => {
                    self.make_room(state, stream, (len, sum), now, wakers);
                }
                Some(Event::Body { stream, len }) => {
                    let staged = &reader.staging[reader.start..reader.end];
                    let place = state.waiters.body(stream).ok_or(ClientError::Nonsense)?;
                    if staged.is_empty() {
                        let body = place.take().ok_or(ClientError::Nonsense)?;
                        reader.body = Some((stream, body, len));
                        return Ok(());
                    }
                    let body = place.as_mut().ok_or(ClientError::Nonsense)?;
                    let here = &staged[..staged.len().min(len)];
                    let pushed = body.filling.push(here);
                    body.sum.update(here);
                    reader.start += pushed;
                    state.session.body_received(pushed, now);
                }
                Some(Event::Ended { stream }) => state.waiters.arrived(stream, wakers),
                Some(Event::Waiting { .. }) => return Err(ClientError::Nonsense),
            }
        }
    }

    fn make_room(
        &self,
        state: &mut State,
        stream: StreamId,
        (len, sum): (u64, u64),
        now: Instant,
        wakers: &mut Wakers,
    ) {
        let Some(place) = state.waiters.body(stream) else {
            state.session.cancel(stream);
            return;
        };
        let filling = usize::try_from(len)
            .map_err(|_| std::io::ErrorKind::OutOfMemory.into())
            .and_then(Filling::new);
        match filling {
            Ok(filling) => {
                *place = Some(Box::new(Body {
                    filling,
                    sum: Sum::new(),
                    expected: sum,
                }));
                state.session.accept(stream, now);
                self.statistics.received_bytes.add(len);
            }
            Err(source) => {
                let source = Arc::new(source);
                let outcome = Outcome::Failed(ClientError::NoMemory { len, source });
                state.session.cancel(stream);
                state.waiters.finish(stream, outcome, wakers);
            }
        }
    }

    fn outcome(&self, reply: Reply<'_>) -> Outcome {
        match reply {
            Reply::Done => Outcome::Done,
            Reply::Present { .. } => Outcome::Present,
            Reply::Absent => Outcome::Absent,
            Reply::Elsewhere { len } => Outcome::Elsewhere { len },
            Reply::Object { sum, bytes } => {
                if Sum::of(bytes) != sum {
                    return Outcome::Failed(ClientError::Corrupted);
                }
                let len = bytes.len() as u64;
                self.statistics.received_bytes.add(len);
                match Memory::copied_from(&[Segment::from(bytes)]) {
                    Ok(memory) => Outcome::Object(memory),
                    Err(source) => Outcome::Failed(ClientError::NoMemory {
                        len,
                        source: Arc::new(source),
                    }),
                }
            }
            Reply::Report(report) => {
                let entries = report.entries();
                Outcome::Report(
                    entries
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }
            Reply::Refused { refusal, text } => Outcome::Failed(ClientError::Refused {
                refusal,
                text: text.into(),
            }),
            Reply::Found { .. } => Outcome::Failed(ClientError::Nonsense),
        }
    }

    /// Asks a node that owes an answer whether it is still there. Pending until there is something to
    /// be done about it.
    fn poll_keep_alive(
        &self,
        context: &mut Context<'_>,
        reader: &mut Reader,
    ) -> Poll<Result<(), ClientError>> {
        let Some(due) = self.lock().session.next_timeout() else {
            return Poll::Pending;
        };
        // A timer that is set for earlier costs one look; setting it anew costs more.
        if reader.timer.as_ref().is_none_or(|(at, _)| *at > due) {
            reader.timer = Some((due, sleep_until(due)));
        }
        if let Some((_, timer)) = &mut reader.timer {
            ready!(Pin::new(timer).poll(context));
        }
        reader.timer = None;
        let mut state = self.lock();
        state.session.handle_timeout(Instant::now())?;
        state.unsent = true;
        drop(state);
        Poll::Ready(Ok(()))
    }
}
