//! A node: what turns its sessions.

mod requests;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use proxystore_wire::{
    Limits, StreamId, Violation,
    frame::STAGED,
    handshake::{Authentication, HandshakeError, NodeHandshake},
    message::{Refusal, Reply},
    server::{Event, Session, Ticket},
};

use self::requests::{Arriving, Pending, refuse};
use crate::{pipe::Pipe, random::Random, storage::Storage};

pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// The most that a session may have waiting to be sent, in bytes: what it stops at, and what one
/// event may add.
pub(crate) const MOST_QUEUED: usize = (256 << 10) + (128 << 10);

enum Phase {
    Handshake(Box<NodeHandshake>),
    Session(Box<Session>),
}

/// One connection at the node.
pub(crate) struct NodeConnection {
    phase: Phase,
    own: Limits,
    /// What the handshake has to say.
    said: Vec<u8>,
    staging: Vec<u8>,
    arriving: BTreeMap<Ticket, Arriving>,
    pending: Vec<(Ticket, Pending)>,
    sending: BTreeMap<StreamId, (Ticket, Arc<Vec<u8>>)>,
    /// A request that is over, which somebody may still answer.
    over: Option<Ticket>,
    pub(crate) is_lost: bool,
    pub(crate) violation: Option<Violation>,
    pub(crate) refused: Option<HandshakeError>,
}

impl NodeConnection {
    pub(crate) fn new(own: Limits, authentication: &Authentication<'_>, nonce: [u8; 32]) -> Self {
        let handshake = NodeHandshake::new(own, authentication, nonce).expect("a secret");
        Self {
            phase: Phase::Handshake(Box::new(handshake)),
            own,
            said: Vec::new(),
            staging: Vec::new(),
            arriving: BTreeMap::new(),
            pending: Vec::new(),
            sending: BTreeMap::new(),
            over: None,
            is_lost: false,
            violation: None,
            refused: None,
        }
    }

    /// Drops everything that was held for the peer.
    pub(crate) fn lose(&mut self, storage: &mut Storage) {
        self.is_lost = true;
        for arriving in std::mem::take(&mut self.arriving).into_values() {
            storage.release(arriving.len);
        }
        for (_, pending) in self.pending.drain(..) {
            if let Pending::Put { bytes, .. } = pending {
                storage.release(bytes.len());
            }
        }
        self.sending.clear();
    }

    pub(crate) fn read(
        &mut self,
        pipe: &mut Pipe,
        storage: &mut Storage,
        now: Instant,
        random: &mut Random,
    ) -> bool {
        let room = STAGED - self.staging.len();
        let most = if random.once_in(4) {
            random.between(1, 64)
        } else {
            room
        };
        let read = pipe.read(&mut self.staging, room.min(most), random);
        let used = self.understand(storage, now, random);
        self.staging.drain(..used);
        let any = read > 0 || used > 0;
        if !any && pipe.is_at_end() {
            self.lose(storage);
        }
        any
    }

    fn understand(&mut self, storage: &mut Storage, now: Instant, random: &mut Random) -> usize {
        let mut used = 0;
        if let Phase::Handshake(handshake) = &mut self.phase {
            match handshake.receive(&self.staging, &mut self.said) {
                Err(error) => {
                    self.refused = Some(error);
                    self.lose(storage);
                    return self.staging.len();
                }
                Ok(progress) => {
                    used = progress.used;
                    let Some(agreed) = progress.agreed else {
                        return used;
                    };
                    self.phase = Phase::Session(Box::new(Session::new(&agreed, SILENCE, now)));
                }
            }
        }
        let staging = std::mem::take(&mut self.staging);
        while let Phase::Session(session) = &mut self.phase {
            let received = match session.receive(&staging[used..], now) {
                Ok(received) => received,
                Err(violation) => {
                    self.violation = Some(violation);
                    self.lose(storage);
                    self.staging = staging;
                    return self.staging.len();
                }
            };
            used += received.used;
            match received.event {
                None | Some(Event::Congested | Event::Waiting { .. }) => break,
                Some(Event::Body { ticket, len }) => {
                    let len = len.min(staging.len() - used);
                    if len == 0 {
                        break;
                    }
                    let arriving = self.arriving.get_mut(&ticket).expect("a put under way");
                    assert!(arriving.is_accepted, "bytes of an object without a place");
                    let part = &staging[used..used + len];
                    arriving.bytes.extend_from_slice(part);
                    arriving.sum.update(part);
                    session.body_received(len, now);
                    used += len;
                }
                Some(Event::Request { ticket, request }) => {
                    self.begin(ticket, &request, storage, now, random);
                }
                Some(Event::Ended { ticket, sum }) => {
                    let arriving = self.arriving.remove(&ticket).expect("a put under way");
                    assert_eq!(
                        arriving.bytes.len(),
                        arriving.len,
                        "an object of another length"
                    );
                    if arriving.sum.finish() == sum {
                        let Arriving {
                            key, mode, bytes, ..
                        } = arriving;
                        let put = Pending::Put {
                            key,
                            mode,
                            bytes,
                            sum,
                        };
                        self.pending.push((ticket, put));
                    } else {
                        storage.release(arriving.len);
                        refuse(session, ticket, Refusal::Changed);
                    }
                }
                Some(Event::Cancelled { ticket }) => self.drop_request(ticket, storage),
            }
            // Most are answered at once.
            while !self.pending.is_empty() && !random.once_in(5) {
                self.answer(storage, random);
            }
        }
        self.staging = staging;
        used
    }

    /// The storage gets on with something: places for objects, and answers.
    pub(crate) fn work(
        &mut self,
        storage: &mut Storage,
        now: Instant,
        random: &mut Random,
    ) -> bool {
        let Phase::Session(session) = &mut self.phase else {
            return false;
        };
        let waiting = self
            .arriving
            .iter_mut()
            .find(|(_, arriving)| !arriving.is_accepted);
        if let Some((&ticket, arriving)) = waiting {
            if random.once_in(8) {
                let len = arriving.len;
                refuse(session, ticket, Refusal::Failed);
                self.arriving.remove(&ticket);
                storage.release(len);
            } else {
                arriving.is_accepted = true;
                session.accept(ticket, now);
            }
            return true;
        }
        // What was spilled to a disk that fails.
        if random.once_in(40)
            && let Some((&stream, &(ticket, _))) = self.sending.iter().next()
        {
            refuse(session, ticket, Refusal::Damaged);
            self.sending.remove(&stream);
            return true;
        }
        if let Some(ticket) = self.over.filter(|_| random.once_in(4)) {
            let was_open = session.respond(ticket, &Reply::Absent);
            assert!(
                !was_open,
                "a late answer is taken for that of another request"
            );
        }
        let any = !self.pending.is_empty();
        self.answer(storage, random);
        any
    }

    pub(crate) fn write(&mut self, pipe: &mut Pipe, now: Instant, random: &mut Random) -> bool {
        if !self.said.is_empty() {
            let sent = pipe.write(&self.said);
            self.said.drain(..sent);
            return sent > 0;
        }
        let Phase::Session(session) = &mut self.phase else {
            return false;
        };
        let outgoing = session.outgoing(now);
        assert!(outgoing.bytes.len() <= MOST_QUEUED, "an unbounded queue");
        let mut sent = write_some(pipe, outgoing.bytes, random);
        if sent == outgoing.bytes.len()
            && let Some(chunk) = outgoing.chunk
        {
            let header = pipe.write(chunk.header());
            sent += header;
            if header == chunk.header().len() {
                let (_, bytes) = &self.sending[&chunk.stream];
                let start = usize::try_from(chunk.body.start).expect("within the object");
                let end = usize::try_from(chunk.body.end).expect("within the object");
                sent += write_some(pipe, &bytes[start..end], random);
            }
        }
        if let Some(ticket) = session.sent(sent, now) {
            let sending = self.sending.remove(&ticket.stream());
            assert!(sending.is_some_and(|(known, _)| known == ticket));
        }
        sent > 0
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshake(_) => None,
            Phase::Session(session) => session.next_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, storage: &mut Storage, now: Instant) {
        if let Phase::Session(session) = &mut self.phase
            && let Err(violation) = session.handle_timeout(now)
        {
            self.violation = Some(violation);
            self.lose(storage);
        }
    }

    pub(crate) fn drain(&mut self) {
        if let Phase::Session(session) = &mut self.phase {
            session.drain();
        }
    }

    /// Memory that grows with what the peer does.
    pub(crate) fn check_bounds(&self) {
        assert!(self.staging.len() <= STAGED, "more staged than fits");
        if let Phase::Session(session) = &self.phase {
            let streams = self.own.clamped().streams as usize;
            assert!(session.under_way() <= streams, "more requests than allowed");
        }
    }
}

/// Writes all or, sometimes, less.
pub(crate) fn write_some(pipe: &mut Pipe, bytes: &[u8], random: &mut Random) -> usize {
    if bytes.len() > 1 && random.once_in(3) {
        return pipe.write(&bytes[..random.between(1, bytes.len())]);
    }
    pipe.write(bytes)
}
