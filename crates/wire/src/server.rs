//! The node's side of a connection.

mod event;
mod slots;

use std::time::{Duration, Instant};

pub use self::event::{Event, Received, Ticket};
use self::slots::{Slots, State};
use crate::{
    Outgoing, Sum, Violation,
    frame::{Header, Kind},
    handshake::Agreed,
    link::{BodyState, Incoming, Link},
    message::{Refusal, Reply, Request},
};

/// The node's side of a connection, from the handshake on.
///
/// Every [`Event::Request`] is answered by [`respond`](Self::respond) once, unless
/// [`Event::Cancelled`] comes first.
#[derive(Debug)]
pub struct Session {
    link: Link,
    slots: Slots,
    silence: Duration,
    /// Since when the client has taken nothing of what is to be sent.
    untaken: Option<Instant>,
    draining: bool,
}

impl Session {
    /// A session as agreed on in the handshake. A client that owes something (the rest of an
    /// object, or taking what is sent) and of which nothing comes for `silence` is taken to be dead.
    #[must_use]
    pub fn new(agreed: &Agreed, silence: Duration, now: Instant) -> Self {
        Self {
            link: Link::new(agreed, now),
            slots: Slots::default(),
            silence,
            untaken: None,
            draining: false,
        }
    }

    /// Whether the client takes an object of `len` bytes within a reply. A longer one is answered
    /// with [`Reply::Found`] or, unless the whole was asked for, [`Reply::Elsewhere`].
    #[must_use]
    pub fn is_inline(&self, len: usize) -> bool {
        u32::try_from(len).is_ok_and(|len| len <= self.link.sender.peer().inline)
    }

    /// Looks at bytes that arrived, up to the first event. Call it again with the rest, until there
    /// is no event.
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
            let (taken, incoming) = self.link.receive(&bytes[used..], true, now)?;
            used += taken;
            let event = match incoming {
                Incoming::Nothing => None,
                Incoming::Congested => Some(Event::Congested),
                Incoming::Waiting(stream) => Some(Event::Waiting {
                    ticket: self.slots.ticket(stream.0),
                }),
                Incoming::Body(stream, len) => Some(Event::Body {
                    ticket: self.slots.ticket(stream.0),
                    len,
                }),
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
        self.link.body_received(len, now);
    }

    /// There is room for the object that [`Request::Begin`] announced.
    pub fn accept(&mut self, ticket: Ticket, now: Instant) {
        if self.slots.state(ticket) == State::Receiving {
            self.link.accept(ticket.stream, now);
        }
    }

    /// Answers a request. Returns whether it was still open: it is not after
    /// [`Event::Cancelled`].
    ///
    /// After [`Reply::Found`], [`outgoing`](Self::outgoing) asks for the body; a
    /// [`Reply::Refused`] may still follow until [`sent`](Self::sent) says that it is complete. An
    /// object that has not arrived as a whole can only be refused.
    pub fn respond(&mut self, ticket: Ticket, reply: &Reply<'_>) -> bool {
        let stream = ticket.stream;
        match (self.slots.state(ticket), reply) {
            (State::Open, Reply::Found { len, sum }) => {
                let mut head = [0; 16];
                head[..8].copy_from_slice(&len.to_le_bytes());
                head[8..].copy_from_slice(&sum.to_le_bytes());
                self.link.sender.push(Kind::Found, 0, stream, &head);
                self.link.sender.open(stream, *len);
                self.slots.set(stream, State::Sending { sum: *sum });
                return true;
            }
            (State::Open, _) => self.slots.free(stream),
            (State::Receiving, Reply::Refused { .. }) => {
                self.link.discard(stream);
                self.slots.set(stream, State::Refused);
            }
            (State::Sending { .. }, Reply::Refused { .. }) => {
                self.link.sender.abandon(stream);
                self.slots.free(stream);
            }
            _ => return false,
        }
        if let Reply::Object { bytes, .. } = reply
            && !self.is_inline(bytes.len())
        {
            let refusal = Refusal::Failed;
            let text = "the object does not fit into a reply";
            self.push(stream, &Reply::Refused { refusal, text });
        } else {
            self.push(stream, reply);
        }
        true
    }

    /// What to send next: its own bytes, and after them a chunk of the object of a stream. Between
    /// this and [`sent`](Self::sent) it must not be asked again.
    pub fn outgoing(&mut self, now: Instant) -> Outgoing<'_> {
        if self.owes_taking() {
            self.untaken.get_or_insert(now);
        }
        self.link.sender.outgoing()
    }

    /// The first `len` bytes of what [`outgoing`](Self::outgoing) returned were sent. Returns the
    /// request whose object is complete with them: it is over.
    pub fn sent(&mut self, len: usize, now: Instant) -> Option<Ticket> {
        let finished = self.link.sender.sent(len);
        if len > 0 {
            self.untaken = self.owes_taking().then_some(now);
        }
        let finished = finished?;
        let ticket = self.slots.ticket(finished.0);
        if let State::Sending { sum } = self.slots.state(ticket) {
            let sum = sum.to_le_bytes();
            self.link.sender.push(Kind::End, 0, finished.0, &sum);
        }
        self.slots.free(finished.0);
        Some(ticket)
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        self.link.sender.is_waiting()
    }

    /// Tells the client that the node is about to stop. Requests that come after this are refused,
    /// but for evictions; those under way are to be finished.
    pub fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.link.sender.push(Kind::Drain, 0, 0, &[]);
        }
    }

    /// The number of requests that are not over.
    #[must_use]
    pub const fn under_way(&self) -> usize {
        self.slots.len()
    }

    /// Whether nothing is under way and nothing is to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.len() == 0 && !self.wants_to_send()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called. None while the client owes
    /// nothing.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let owed = self.untaken.into_iter().chain(self.link.oldest_body());
        let owed = owed.min()?;
        owed.checked_add(self.silence)
    }

    /// Looks whether the client does what it owes. Everything that has arrived must have been shown
    /// to [`receive`](Self::receive) before.
    ///
    /// # Errors
    ///
    /// [`Violation::Silent`] if it has not for too long: the connection is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Violation> {
        if self.next_timeout().is_some_and(|at| at <= now) {
            return Err(Violation::Silent(self.silence));
        }
        Ok(())
    }

    fn handle<'a>(
        &mut self,
        header: Header,
        body: &'a [u8],
        now: Instant,
    ) -> Result<Option<Event<'a>>, Violation> {
        let Header { kind, stream, .. } = header;
        if let Some(request) = Request::decode(header, body)? {
            return self.begin(header, request, now);
        }
        let ticket = self.slots.ticket(stream);
        let state = self.slots.state(ticket);
        match kind {
            Kind::Cancel => {
                if state == State::Free {
                    return Ok(None);
                }
                self.link.forget(stream);
                self.link.sender.abandon(stream);
                self.slots.free(stream);
                if state == State::Refused {
                    return Ok(None);
                }
                let refusal = Refusal::Cancelled;
                self.push(stream, &Reply::Refused { refusal, text: "" });
                Ok(Some(Event::Cancelled { ticket }))
            }
            Kind::End if matches!(state, State::Receiving | State::Refused) => {
                if !self.link.forget(stream) {
                    return Err(Violation::WrongObjectLength { stream });
                }
                if state == State::Refused {
                    self.slots.free(stream);
                    return Ok(None);
                }
                self.slots.set(stream, State::Open);
                let sum = body.first_chunk().copied().map_or(0, u64::from_le_bytes);
                Ok(Some(Event::Ended { ticket, sum }))
            }
            Kind::End => Err(Violation::UnknownStream { kind, stream }),
            kind => Err(Violation::Unexpected { kind }),
        }
    }

    fn begin<'a>(
        &mut self,
        header: Header,
        request: Request<'a>,
        now: Instant,
    ) -> Result<Option<Event<'a>>, Violation> {
        let Header { kind, stream, .. } = header;
        let wrong = Violation::UnknownStream { kind, stream };
        if stream > self.link.own().streams {
            return Err(wrong);
        }
        if self.slots.state(self.slots.ticket(stream)) != State::Free {
            return Err(wrong);
        }
        let refusal = match request {
            Request::Put { sum, bytes, .. } if Sum::of(bytes) != sum => Some(Refusal::Changed),
            // What was put in vain is to be taken back all the same.
            Request::Evict { .. } => None,
            _ if self.draining => Some(Refusal::Draining),
            _ => None,
        };
        let state = if let Request::Begin { len, .. } = request {
            self.link.expect(stream, len, BodyState::Waiting, now);
            State::Receiving
        } else {
            State::Open
        };
        let ticket = self.slots.open(stream, state);
        if let Some(refusal) = refusal {
            self.respond(ticket, &Reply::Refused { refusal, text: "" });
            return Ok(None);
        }
        Ok(Some(Event::Request { ticket, request }))
    }

    fn push(&mut self, stream: u32, reply: &Reply<'_>) {
        let sender = &mut self.link.sender;
        match *reply {
            Reply::Done => sender.push(Kind::Done, 0, stream, &[]),
            Reply::Present { len } => sender.push(Kind::Present, 0, stream, &len.to_le_bytes()),
            Reply::Absent => sender.push(Kind::Absent, 0, stream, &[]),
            Reply::Object { sum, bytes } => {
                sender.push_with(Kind::Object, 0, stream, &sum.to_le_bytes(), bytes);
            }
            // Its body was lined up by `respond`.
            Reply::Found { .. } => {}
            Reply::Elsewhere { len } => sender.push(Kind::Elsewhere, 0, stream, &len.to_le_bytes()),
            Reply::Report(report) => {
                sender.push_with(Kind::Report, 0, stream, &[], report.bytes());
            }
            Reply::Refused { refusal, text } => {
                let text = &text[..text.floor_char_boundary(crate::frame::MAX_TEXT as usize)];
                let head = [refusal.number()];
                sender.push_with(Kind::Refused, 0, stream, &head, text.as_bytes());
            }
        }
    }

    /// Whether the client has yet to take something.
    fn owes_taking(&self) -> bool {
        self.wants_to_send() || self.link.sender.has_bodies()
    }
}
