//! A client: what turns its sessions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, ObjectKey, StreamId, Sum, Violation,
    client::{Event, NotNow, Session},
    frame::STAGED,
    handshake::{Authentication, ClientHandshake, HandshakeError},
    message::Mode,
};

use crate::{
    node::{MOST_QUEUED, write_some},
    outcome::{Plan, Running, Shared, received_whole, replied},
    pipe::Pipe,
    random::Random,
};

pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

enum Phase {
    Handshake(Box<ClientHandshake>),
    Session(Box<Session>),
}

/// One connection at the client.
pub(crate) struct ClientConnection {
    phase: Phase,
    said: Vec<u8>,
    staging: Vec<u8>,
    running: BTreeMap<StreamId, Running>,
    pub(crate) is_lost: bool,
    pub(crate) violation: Option<Violation>,
    pub(crate) refused: Option<HandshakeError>,
}

impl ClientConnection {
    pub(crate) fn new(own: Limits, authentication: &Authentication<'_>, nonce: [u8; 32]) -> Self {
        let mut said = Vec::new();
        let handshake =
            ClientHandshake::new(own, authentication, nonce, &mut said).expect("a secret");
        Self {
            phase: Phase::Handshake(Box::new(handshake)),
            said,
            staging: Vec::new(),
            running: BTreeMap::new(),
            is_lost: false,
            violation: None,
            refused: None,
        }
    }

    /// Whether operations can begin, or will be able to.
    pub(crate) fn is_usable(&self) -> bool {
        let draining = match &self.phase {
            Phase::Handshake(_) => false,
            Phase::Session(session) => session.is_draining(),
        };
        !self.is_lost && !draining
    }

    pub(crate) fn has_nothing_running(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_done(&self) -> bool {
        self.running.is_empty()
            && match &self.phase {
                Phase::Handshake(_) => true,
                Phase::Session(session) => session.under_way() == 0,
            }
    }

    /// Begins something, or gives it back.
    pub(crate) fn begin(&mut self, mut plan: Plan, shared: &mut Shared) -> Result<(), Plan> {
        let Phase::Session(session) = &mut self.phase else {
            return Err(plan);
        };
        let now = shared.now;
        let begun = match &mut plan {
            Plan::Put { object, races } => {
                let content = Arc::clone(&shared.objects[*object].content);
                let (first, second) = content.split_at(content.len() / 3);
                let segments = [first.into(), Segment::EMPTY, second.into()];
                // What is inside a request is copied before it is summed: nothing can go wrong.
                *races &= !session.is_inline(content.len());
                session.put(&shared.objects[*object].key, Mode::New, &segments, now)
            }
            &mut Plan::Set { cell, version } => {
                let cell = &mut shared.cells[cell];
                cell.begun[version] = true;
                let segments = [Segment::from(cell.versions[version].as_slice())];
                session.put(&cell.key, Mode::Replace, &segments, now)
            }
            &mut Plan::Read { cell, whole } => session.get(&shared.cells[cell].key, whole, now),
            &mut Plan::Get {
                object,
                forged,
                whole,
            } => {
                let mut key = shared.objects[object].key;
                key.capability[3] ^= u8::from(forged);
                session.get(&key, whole, now)
            }
            &mut Plan::Exists { object } => session.exists(&shared.objects[object].key, now),
            &mut Plan::Evict { object } => {
                shared.objects[object]
                    .evict_begun
                    .get_or_insert(shared.step);
                session.evict(&shared.objects[object].key, now)
            }
            Plan::Undo(key) => session.evict(key, now),
            Plan::Status => session.status(now),
        };
        match begun {
            Ok(stream) => {
                let running = Running {
                    plan,
                    begun: shared.step,
                    sum: Sum::new(),
                    body: None,
                };
                let old = self.running.insert(stream, running);
                assert!(old.is_none(), "a stream that is in use was given out");
                Ok(())
            }
            Err(NotNow::Busy | NotNow::Draining) => Err(plan),
        }
    }

    /// Gives one operation up.
    pub(crate) fn cancel(&mut self, shared: &mut Shared, random: &mut Random) {
        let Phase::Session(session) = &mut self.phase else {
            return;
        };
        if self.running.is_empty() {
            return;
        }
        let index = random.below(self.running.len());
        let (&stream, _) = self.running.iter().nth(index).expect("as many");
        let running = self.running.remove(&stream).expect("just seen");
        if matches!(running.plan, Plan::Undo(_)) {
            self.running.insert(stream, running);
            return;
        }
        if let Plan::Put { object, .. } = running.plan {
            shared.objects[object].failed = Some(shared.step);
        }
        session.cancel(stream);
        shared.tally.cancelled += 1;
    }

    /// The connection is over. Returns what has to be taken back.
    pub(crate) fn lose(&mut self, shared: &mut Shared) -> Vec<ObjectKey> {
        self.is_lost = true;
        let mut undo: Vec<_> = match &self.phase {
            Phase::Handshake(_) => Vec::new(),
            Phase::Session(session) => session.unsettled().collect(),
        };
        for running in std::mem::take(&mut self.running).into_values() {
            shared.tally.lost += 1;
            match running.plan {
                Plan::Put { object, .. } => shared.objects[object].failed = Some(shared.step),
                Plan::Undo(key) => undo.push(key),
                _ => {}
            }
        }
        undo
    }

    pub(crate) fn read(
        &mut self,
        pipe: &mut Pipe,
        shared: &mut Shared,
        again: &mut VecDeque<Plan>,
        random: &mut Random,
    ) -> bool {
        let room = STAGED - self.staging.len();
        let most = if random.once_in(4) {
            random.between(1, 64)
        } else {
            room
        };
        let read = pipe.read(&mut self.staging, room.min(most), random);
        let used = self.understand(shared, again, random);
        self.staging.drain(..used);
        let any = read > 0 || used > 0;
        if !any && pipe.is_at_end() {
            self.is_lost = true;
        }
        any
    }

    fn understand(
        &mut self,
        shared: &mut Shared,
        again: &mut VecDeque<Plan>,
        random: &mut Random,
    ) -> usize {
        let mut used = 0;
        if let Phase::Handshake(handshake) = &mut self.phase {
            match handshake.receive(&self.staging, &mut self.said) {
                Err(error) => {
                    self.refused = Some(error);
                    self.is_lost = true;
                    return self.staging.len();
                }
                Ok(progress) => {
                    used = progress.used;
                    let Some(agreed) = progress.agreed else {
                        return used;
                    };
                    let session = Session::new(&agreed, KEEP_ALIVE, shared.now);
                    self.phase = Phase::Session(Box::new(session));
                }
            }
        }
        let staging = std::mem::take(&mut self.staging);
        while let Phase::Session(session) = &mut self.phase {
            let received = match session.receive(&staging[used..], shared.now) {
                Ok(received) => received,
                Err(violation) => {
                    self.violation = Some(violation);
                    self.is_lost = true;
                    self.staging = staging;
                    return self.staging.len();
                }
            };
            used += received.used;
            match received.event {
                None => break,
                Some(Event::Waiting { .. }) => panic!("every object was accepted or given up"),
                Some(Event::Draining) => {}
                Some(Event::Body { stream, len }) => {
                    let len = len.min(staging.len() - used);
                    if len == 0 {
                        break;
                    }
                    let running = self.running.get_mut(&stream).expect("a get under way");
                    let (body, ..) = running.body.as_mut().expect("a body that was found");
                    let part = &staging[used..used + len];
                    body.extend_from_slice(part);
                    running.sum.update(part);
                    used += len;
                    session.body_received(len, shared.now);
                }
                Some(Event::Ended { stream }) => {
                    let running = self.running.remove(&stream).expect("a get under way");
                    received_whole(&running, shared);
                }
                Some(Event::Found { stream, len, sum }) => {
                    let running = self.running.get_mut(&stream).expect("a get under way");
                    // A client with little memory takes no more than it knows to be there.
                    if len > 1 << 20 || random.once_in(30) {
                        session.cancel(stream);
                        self.running.remove(&stream);
                        shared.tally.cancelled += 1;
                    } else {
                        let len = usize::try_from(len).expect("a short object");
                        running.body = Some((Vec::new(), len, sum));
                        session.accept(stream, shared.now);
                    }
                }
                Some(Event::Reply { stream, reply }) => {
                    let running = self
                        .running
                        .remove(&stream)
                        .expect("an operation under way");
                    replied(running, &reply, shared, again);
                }
            }
        }
        self.staging = staging;
        used
    }

    pub(crate) fn write(&mut self, pipe: &mut Pipe, shared: &Shared, random: &mut Random) -> bool {
        if !self.said.is_empty() {
            let sent = pipe.write(&self.said);
            self.said.drain(..sent);
            return sent > 0;
        }
        let Phase::Session(session) = &mut self.phase else {
            return false;
        };
        let outgoing = session.outgoing();
        assert!(outgoing.bytes.len() <= MOST_QUEUED, "an unbounded queue");
        let mut sent = write_some(pipe, outgoing.bytes, random);
        // Whoever is writing does not always have the object.
        if sent == outgoing.bytes.len()
            && let Some(chunk) = outgoing.chunk.filter(|_| !random.once_in(6))
        {
            let header = pipe.write(chunk.header());
            sent += header;
            if header == chunk.header().len() {
                let running = self
                    .running
                    .get_mut(&chunk.stream)
                    .expect("its owner is there");
                let (content, races) = match running.plan {
                    Plan::Put { object, races } => (&shared.objects[object].content, races),
                    Plan::Set { cell, version } => (&shared.cells[cell].versions[version], false),
                    _ => panic!("a chunk of something else"),
                };
                let start = usize::try_from(chunk.body.start).expect("within the object");
                let end = usize::try_from(chunk.body.end).expect("within the object");
                let part = &content[start..end];
                let written = write_some(pipe, part, random);
                running.sum.update(&part[..written]);
                if races && start == 0 && written > 0 {
                    // The sum is of what was there a moment later.
                    running.sum.update(&[1]);
                }
                sent += written;
            }
        }
        if let Some(stream) = session.sent(sent) {
            let sum = self.running[&stream].sum.finish();
            session.end(stream, sum);
        }
        sent > 0
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Handshake(_) => None,
            Phase::Session(session) => session.next_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Session(session) = &mut self.phase
            && let Err(violation) = session.handle_timeout(now)
        {
            self.violation = Some(violation);
            self.is_lost = true;
        }
    }
}
