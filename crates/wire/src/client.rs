//! The client's side of a connection.

mod event;
mod slots;

use std::time::{Duration, Instant};

use proxystore_memory::Segment;

pub use self::event::{Event, NotNow, Received};
use self::slots::{Asked, Slot, Slots, State};
use crate::{
    ObjectKey, Outgoing, StreamId, Violation,
    frame::{Header, Kind},
    handshake::Agreed,
    link::{BodyState, Incoming, Link},
    message::{Mode, Reply},
};

/// The client's side of a connection, from the handshake on.
///
/// Each request is a stream, which ends with exactly one [`Event::Reply`] or, once an object was
/// [found](Event::Found), with [`Event::Ended`]; then its number may be used again. A stream that was
/// cancelled ends without a word.
#[derive(Debug)]
pub struct Session {
    link: Link,
    slots: Slots,
    keep_alive: Duration,
    /// When there was last nothing to wait for.
    idle: Instant,
    /// When a ping was sent that only keeps the connection alive.
    pinged: Option<Instant>,
    draining: bool,
}

impl Session {
    /// A session as agreed on in the handshake. While requests wait, a node of which nothing is
    /// heard for `keep_alive` is taken to be dead.
    #[must_use]
    pub fn new(agreed: &Agreed, keep_alive: Duration, now: Instant) -> Self {
        Self {
            link: Link::new(agreed, now),
            slots: Slots::new(agreed.peer.streams),
            keep_alive,
            idle: now,
            pinged: None,
            draining: false,
        }
    }

    /// Whether an object of `len` bytes travels within the request: [`put`](Self::put) then takes it
    /// along, and nothing else is to be done.
    #[must_use]
    pub fn is_inline(&self, len: usize) -> bool {
        u32::try_from(len).is_ok_and(|len| len <= self.link.sender.peer().inline)
    }

    /// Asks the node to store the object made of `segments`.
    ///
    /// If it [is short](Self::is_inline), it is copied. If not, chunks of it are to be sent when
    /// [`outgoing`](Self::outgoing) says so, and [`end`](Self::end) is to be called after the last.
    /// The answer is [`Reply::Done`] or [`Reply::Refused`]; the latter may come before the end, and
    /// no more chunks are asked for then.
    ///
    /// # Errors
    ///
    /// [`NotNow`]; nothing has happened then.
    pub fn put(
        &mut self,
        key: &ObjectKey,
        mode: Mode,
        segments: &[Segment<'_>],
        now: Instant,
    ) -> Result<StreamId, NotNow> {
        let len = segments.iter().map(Segment::len);
        let len = len.fold(0, usize::saturating_add);
        let is_inline = self.is_inline(len);
        let state = if is_inline {
            State::Asked
        } else {
            State::Sending
        };
        let stream = self.begin(Asked::Put { key: *key, mode }, state, now)?;
        let flags = u8::from(mode == Mode::Replace);
        let mut head = [0; 40];
        head[..16].copy_from_slice(&key.id);
        head[16..32].copy_from_slice(&key.capability);
        if is_inline {
            let sender = &mut self.link.sender;
            sender.push_put(flags, stream.0, head, segments, len);
        } else {
            head[32..].copy_from_slice(&(len as u64).to_le_bytes());
            self.link.sender.push(Kind::Begin, flags, stream.0, &head);
            self.link.sender.open(stream.0, len as u64);
        }
        Ok(stream)
    }

    /// All chunks of the object were sent; `sum` is the checksum of the bytes as they were sent.
    pub fn end(&mut self, stream: StreamId, sum: u64) {
        if let Some(slot) = self.slots.of(stream.0)
            && slot.state == State::Sending
            && !slot.cancelled
        {
            slot.state = State::Asked;
            let sum = sum.to_le_bytes();
            self.link.sender.push(Kind::End, 0, stream.0, &sum);
        }
    }

    /// Asks for an object. `whole` says that an object of any length may come on this connection;
    /// without it the answer for a longer one is [`Reply::Elsewhere`].
    ///
    /// # Errors
    ///
    /// [`NotNow`]; nothing has happened then.
    pub fn get(&mut self, key: &ObjectKey, whole: bool, now: Instant) -> Result<StreamId, NotNow> {
        self.ask(Kind::Get, u8::from(whole), Asked::Get { whole }, key, now)
    }

    /// Asks whether an object is there: [`Reply::Present`] or [`Reply::Absent`].
    ///
    /// # Errors
    ///
    /// [`NotNow`]; nothing has happened then.
    pub fn exists(&mut self, key: &ObjectKey, now: Instant) -> Result<StreamId, NotNow> {
        self.ask(Kind::Exists, 0, Asked::Exists, key, now)
    }

    /// Asks the node to remove an object: [`Reply::Done`], whether it was there or not.
    ///
    /// # Errors
    ///
    /// [`NotNow`]; nothing has happened then.
    pub fn evict(&mut self, key: &ObjectKey, now: Instant) -> Result<StreamId, NotNow> {
        self.ask(Kind::Evict, 0, Asked::Evict { undoes: None }, key, now)
    }

    /// Asks for the node's report.
    ///
    /// # Errors
    ///
    /// [`NotNow`]; nothing has happened then.
    pub fn status(&mut self, now: Instant) -> Result<StreamId, NotNow> {
        let stream = self.begin(Asked::Status, State::Asked, now)?;
        self.link.sender.push(Kind::Status, 0, stream.0, &[]);
        Ok(stream)
    }

    /// Asks the node to remove every object that it has: [`Reply::Done`].
    ///
    /// # Errors
    ///
    /// [`NotNow`]; nothing has happened then.
    pub fn clear(&mut self, now: Instant) -> Result<StreamId, NotNow> {
        let stream = self.begin(Asked::Clear, State::Asked, now)?;
        self.link.sender.push(Kind::Clear, 0, stream.0, &[]);
        Ok(stream)
    }

    /// There is room for the body that [`Event::Found`] announced.
    pub fn accept(&mut self, stream: StreamId, now: Instant) {
        self.link.accept(stream.0, now);
    }

    /// Gives a request up: nothing more is heard of it. What was put with [`Mode::New`] will not
    /// stay at the node, even if it had been stored already.
    ///
    /// The rest of a chunk that is being sent is filled with zeros by [`outgoing`](Self::outgoing).
    pub fn cancel(&mut self, stream: StreamId) {
        let Some(slot) = self.slots.of(stream.0).filter(|slot| !slot.cancelled) else {
            return;
        };
        slot.cancelled = true;
        match slot.state {
            State::Sending => self.link.sender.abandon(stream.0),
            State::Receiving => self.link.discard(stream.0),
            State::Asked => {}
        }
        self.link.sender.push(Kind::Cancel, 0, stream.0, &[]);
    }

    /// What to send next. Between this and [`sent`](Self::sent) it must not be asked again.
    ///
    /// Whoever does not have the object of the chunk's stream sends `bytes` alone and leaves the
    /// chunk to its owner.
    pub fn outgoing(&mut self) -> Outgoing<'_> {
        self.link.sender.outgoing()
    }

    /// The first `len` bytes of what [`outgoing`](Self::outgoing) returned were sent. Returns the
    /// stream whose last chunk is complete with them: call [`end`](Self::end) for it.
    pub fn sent(&mut self, len: usize) -> Option<StreamId> {
        let finished = self.link.sender.sent(len)?;
        let slot = self.slots.of(finished.0)?;
        (!slot.cancelled).then_some(finished)
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.link.sender.is_waiting()
    }

    /// The stream whose object is needed for the next chunk, or for the rest of the present one.
    #[must_use]
    pub fn turn(&self) -> Option<StreamId> {
        self.link.sender.turn()
    }

    /// Looks at bytes that arrived, up to the first event. Call it again with the rest, until there
    /// is no event. Whoever waits until it can send must do this meanwhile: the node looks at no
    /// requests while its replies are not read.
    ///
    /// # Errors
    ///
    /// [`Violation`]: the connection is over.
    pub fn receive<'a>(
        &mut self,
        bytes: &'a [u8],
        now: Instant,
    ) -> Result<Received<'a>, Violation> {
        let mut used = 0;
        loop {
            let (taken, incoming) = self.link.receive(&bytes[used..], false, now)?;
            used += taken;
            if taken > 0 {
                self.pinged = None;
            }
            let event = match incoming {
                Incoming::Nothing | Incoming::Congested => None,
                Incoming::Waiting(stream) => Some(Event::Waiting { stream }),
                Incoming::Body(stream, len) => Some(Event::Body { stream, len }),
                Incoming::Frame(header, body) => match self.handle(header, body, now)? {
                    None => continue,
                    event => event,
                },
            };
            return Ok(Received { used, event });
        }
    }

    /// `len` bytes of the body that [`Event::Body`] announced are where they belong.
    pub fn body_received(&mut self, len: usize, now: Instant) {
        self.pinged = None;
        self.link.body_received(len, now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, unless something arrives
    /// before. None if nothing is waited for.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.slots.is_empty() {
            return None;
        }
        let since = self.pinged.unwrap_or(self.idle.max(self.link.heard));
        since.checked_add(self.keep_alive / 2)
    }

    /// Sends a ping if nothing was heard for half of the keep-alive time. Everything that has
    /// arrived must have been shown to [`receive`](Self::receive) before.
    ///
    /// # Errors
    ///
    /// [`Violation::Silent`] if the ping was not answered in the other half: the connection is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Violation> {
        if self.next_timeout().is_none_or(|at| now < at) {
            return Ok(());
        }
        if self.pinged.is_some() {
            return Err(Violation::Silent(self.keep_alive));
        }
        self.pinged = Some(now);
        self.link.ping();
        Ok(())
    }

    /// The number of requests under way, those included that were cancelled and whose end the node
    /// has not confirmed yet.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.slots.len()
    }

    /// Whether the node is about to stop.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// What may or may not be stored if the connection is lost now, and has to be
    /// [evicted](Self::evict) on another: the new objects of puts that were not answered, and those of
    /// cancelled puts that were not undone yet.
    pub fn unsettled(&self) -> impl Iterator<Item = ObjectKey> {
        self.slots.iter().filter_map(|slot| match slot.asked {
            Asked::Put {
                key,
                mode: Mode::New,
            } => Some(key),
            Asked::Evict { undoes } => undoes,
            _ => None,
        })
    }

    fn begin(&mut self, asked: Asked, state: State, now: Instant) -> Result<StreamId, NotNow> {
        if self.draining {
            return Err(NotNow::Draining);
        }
        if self.link.sender.is_congested() {
            return Err(NotNow::Busy);
        }
        if self.slots.is_empty() {
            self.idle = now;
            self.pinged = None;
        }
        let slot = Slot {
            asked,
            state,
            cancelled: false,
        };
        self.slots.take(slot).map(StreamId).ok_or(NotNow::Busy)
    }

    fn ask(
        &mut self,
        kind: Kind,
        flags: u8,
        asked: Asked,
        key: &ObjectKey,
        now: Instant,
    ) -> Result<StreamId, NotNow> {
        let stream = self.begin(asked, State::Asked, now)?;
        self.link.sender.push(kind, flags, stream.0, &key.bytes());
        Ok(stream)
    }

    fn handle<'a>(
        &mut self,
        header: Header,
        body: &'a [u8],
        now: Instant,
    ) -> Result<Option<Event<'a>>, Violation> {
        let Header { kind, stream, .. } = header;
        if kind == Kind::Drain {
            self.draining = true;
            return Ok(Some(Event::Draining));
        }
        let slot = self
            .slots
            .of(stream)
            .ok_or(Violation::UnknownStream { kind, stream })?;
        if kind == Kind::End && slot.state == State::Receiving {
            let cancelled = slot.cancelled;
            if !self.link.forget(stream) {
                return Err(Violation::WrongObjectLength { stream });
            }
            self.slots.free(stream);
            let stream = StreamId(stream);
            return Ok((!cancelled).then_some(Event::Ended { stream }));
        }
        let reply = Reply::decode(header, body)?.ok_or(Violation::Unexpected { kind })?;
        if !slot.awaits(&reply) {
            return Err(Violation::Unexpected { kind });
        }
        Ok(self.replied(stream, reply, now))
    }

    /// Takes a reply to the request on `stream`, which waits for it.
    fn replied<'a>(&mut self, stream: u32, reply: Reply<'a>, now: Instant) -> Option<Event<'a>> {
        let slot = self.slots.of(stream)?;
        let (state, cancelled) = (slot.state, slot.cancelled);
        if let Reply::Found { len, sum } = reply {
            slot.state = State::Receiving;
            let state = if cancelled {
                BodyState::Discarded
            } else {
                BodyState::Waiting
            };
            self.link.expect(stream, len, state, now);
            let stream = StreamId(stream);
            return (!cancelled).then_some(Event::Found { stream, len, sum });
        }
        if cancelled
            && let (
                Reply::Done,
                Asked::Put {
                    key,
                    mode: Mode::New,
                },
            ) = (reply, slot.asked)
        {
            slot.asked = Asked::Evict { undoes: Some(key) };
            slot.state = State::Asked;
            self.link.sender.push(Kind::Evict, 0, stream, &key.bytes());
            return None;
        }
        match state {
            // Only a refusal comes before the end. The node waits to hear that no more will come.
            State::Sending if !cancelled => {
                self.link.sender.abandon(stream);
                self.link.sender.push(Kind::Cancel, 0, stream, &[]);
            }
            State::Receiving => {
                self.link.forget(stream);
            }
            State::Sending | State::Asked => {}
        }
        self.slots.free(stream);
        let stream = StreamId(stream);
        (!cancelled).then_some(Event::Reply { stream, reply })
    }
}
