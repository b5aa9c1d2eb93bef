//! What both sides of a connection have in common.

use std::{collections::BTreeMap, time::Instant};

use crate::{
    StreamId,
    frame::{Header, Kind},
    handshake::Agreed,
    limits::Limits,
    receiver::{self, Frame},
    sender::Sender,
    violation::Violation,
    window::Window,
};

/// One direction in, one direction out, and what keeps them going.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) sender: Sender,
    own: Limits,
    window: Window,
    bodies: BTreeMap<u32, Body>,
    /// The chunk that is arriving: its stream, and what is left of it.
    chunk: Option<(u32, u32)>,
    pings: u64,
    /// When bytes were last taken.
    pub(crate) heard: Instant,
}

/// A body that is being received.
#[derive(Debug)]
struct Body {
    len: u64,
    /// What has not been announced by a chunk yet.
    left: u64,
    credit: u64,
    state: BodyState,
    heard: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyState {
    /// Nobody has made room yet.
    Waiting,
    /// Its bytes go to their place.
    Accepted,
    /// Its bytes are thrown away.
    Discarded,
}

/// What arrived.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// Not enough for anything.
    Nothing,
    /// Not looked at, as too much waits to be sent; only if held back.
    Congested,
    /// The body of this stream has no place yet.
    Waiting(StreamId),
    /// The next bytes belong to this stream.
    Body(StreamId, usize),
    /// A frame that is for the session.
    Frame(Header, &'a [u8]),
}

impl Link {
    pub(crate) fn new(agreed: &Agreed, now: Instant) -> Self {
        Self {
            sender: Sender::new(agreed.peer),
            own: agreed.own,
            window: Window::new(agreed.own.window),
            bodies: BTreeMap::new(),
            chunk: None,
            pings: 0,
            heard: now,
        }
    }

    pub(crate) const fn own(&self) -> &Limits {
        &self.own
    }

    /// Takes what arrived up to the first thing that somebody else has to act on, and returns how
    /// many bytes were taken.
    ///
    /// Only one side may be held back by what it has to send: if both were, each would wait for the
    /// other to read.
    pub(crate) fn receive<'a>(
        &mut self,
        bytes: &'a [u8],
        is_held_back: bool,
        now: Instant,
    ) -> Result<(usize, Incoming<'a>), Violation> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            if let Some((stream, left)) = self.chunk {
                match self.bodies.get(&stream).map(|body| body.state) {
                    Some(BodyState::Waiting) => {
                        return Ok((used, Incoming::Waiting(StreamId(stream))));
                    }
                    Some(BodyState::Accepted) => {
                        return Ok((used, Incoming::Body(StreamId(stream), left as usize)));
                    }
                    Some(BodyState::Discarded) | None => {}
                }
                let len = rest.len().min(left as usize);
                if len == 0 {
                    return Ok((used, Incoming::Nothing));
                }
                used += len;
                self.body_received(len, now);
                continue;
            }
            if is_held_back && self.sender.is_congested() {
                return Ok((used, Incoming::Congested));
            }
            let Some(Frame {
                header,
                body,
                used: len,
            }) = receiver::parse(rest, &self.own)?
            else {
                return Ok((used, Incoming::Nothing));
            };
            used += len;
            self.heard = now;
            let number = body.first_chunk().copied().map_or(0, u64::from_le_bytes);
            match header.kind {
                Kind::Data => self.begin_chunk(header, now)?,
                Kind::Credit => self.sender.credit(header.stream, number)?,
                Kind::Ping => self.sender.answer(number),
                Kind::Pong => {
                    if let Some(more) = self.window.answered(number, now) {
                        self.allow(0, more);
                    }
                }
                _ => return Ok((used, Incoming::Frame(header, body))),
            }
        }
    }

    fn begin_chunk(&mut self, header: Header, now: Instant) -> Result<(), Violation> {
        let Header {
            kind, stream, len, ..
        } = header;
        let body = self
            .bodies
            .get_mut(&stream)
            .ok_or(Violation::UnknownStream { kind, stream })?;
        let length = u64::from(len);
        body.left = body
            .left
            .checked_sub(length)
            .ok_or(Violation::WrongObjectLength { stream })?;
        body.credit = body
            .credit
            .checked_sub(length)
            .ok_or(Violation::CreditExceeded { stream })?;
        body.heard = now;
        self.window
            .arrives(len)
            .map_err(|_| Violation::CreditExceeded { stream: 0 })?;
        self.chunk = Some((stream, len));
        Ok(())
    }

    /// Bytes of the chunk that `receive` announced are where they belong.
    pub(crate) fn body_received(&mut self, len: usize, now: Instant) {
        let Some((stream, left)) = self.chunk.filter(|_| len > 0) else {
            return;
        };
        self.heard = now;
        // No chunk is longer than that.
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(left);
        if let Some(more) = self.window.consume(u64::from(len)) {
            self.allow(0, more);
        }
        if self.window.begin_sample(self.pings, now) {
            self.ping();
        }
        if let Some(body) = self.bodies.get_mut(&stream) {
            body.heard = now;
        }
        self.chunk = (len < left).then_some((stream, left - len));
    }

    /// A body is about to arrive.
    pub(crate) fn expect(&mut self, stream: u32, len: u64, state: BodyState, now: Instant) {
        let body = Body {
            len,
            left: len,
            credit: u64::from(self.own.credit),
            state,
            heard: now,
        };
        self.bodies.insert(stream, body);
    }

    /// There is room for a body: all of it may be sent.
    pub(crate) fn accept(&mut self, stream: u32, now: Instant) {
        if let Some(body) = self.bodies.get_mut(&stream)
            && body.state == BodyState::Waiting
        {
            body.state = BodyState::Accepted;
            body.heard = now;
            let more = body.len.saturating_sub(u64::from(self.own.credit));
            body.credit += more;
            if more > 0 {
                self.allow(stream, more);
            }
        }
    }

    /// What still arrives of a body is thrown away.
    pub(crate) fn discard(&mut self, stream: u32) {
        if let Some(body) = self.bodies.get_mut(&stream) {
            body.state = BodyState::Discarded;
        }
    }

    /// Nothing more arrives of a body. Returns whether it was complete.
    pub(crate) fn forget(&mut self, stream: u32) -> bool {
        self.bodies
            .remove(&stream)
            .is_some_and(|body| body.left == 0)
    }

    pub(crate) fn ping(&mut self) {
        let number = self.pings.to_le_bytes();
        self.pings += 1;
        self.sender.push(Kind::Ping, 0, 0, &number);
    }

    fn allow(&mut self, stream: u32, amount: u64) {
        let amount = amount.to_le_bytes();
        self.sender.push(Kind::Credit, 0, stream, &amount);
    }

    /// When the body that has been silent for longest was last heard of. None while bodies cannot
    /// arrive as one of them has no place yet.
    pub(crate) fn oldest_body(&self) -> Option<Instant> {
        let mut bodies = self.bodies.values();
        if bodies.clone().any(|body| body.state == BodyState::Waiting) {
            return None;
        }
        bodies.by_ref().map(|body| body.heard).min()
    }
}
