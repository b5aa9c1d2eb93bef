//! What a client asks for, and what it is answered.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use proxystore_core::Deadline;
use proxystore_memory::{Memory, Segment};
use proxystore_runtime::{allowance, sleep_until, unblock};
use proxystore_wire::{
    ObjectKey, Sum,
    message::{Mode, Refusal, Reply, Request},
    server::Ticket,
};

use super::{Arriving, Connection};
use crate::{
    server::report,
    storage::{self, Kind, Object, Reservation, Storage},
};

/// How long an object waits for room that transfers under way hold or are about to give back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks for that room.
const LOOK: Duration = Duration::from_millis(10);

/// What a chore was for, and how it ended.
pub(super) enum Outcome {
    /// Room for an object that is announced.
    Room(Ticket, Result<Reservation, storage::Refusal>),
    /// Room for an object that is here. It is stored only once it is certain that its request was
    /// not given up meanwhile.
    RoomFor {
        ticket: Ticket,
        memory: Memory,
        sum: u64,
        room: Result<Reservation, storage::Refusal>,
    },
    /// An object that was on a disk.
    Loaded {
        ticket: Ticket,
        object: Arc<Object>,
        whole: bool,
        outcome: io::Result<()>,
    },
}

impl Connection {
    pub(super) fn begin(&mut self, ticket: Ticket, request: Request<'_>) {
        let storage = Arc::clone(&self.shared.storage);
        match request {
            Request::Put {
                key,
                mode,
                sum,
                bytes,
            } => self.put(ticket, key, kind(mode), sum, bytes),
            Request::Begin { key, mode, len } => {
                let kind = kind(mode);
                match storage.reserve(kind, &key, len) {
                    Err(storage::Refusal::Full { .. }) if storage.may_spill() => {
                        self.await_chore(ticket);
                        self.chores.add(async move {
                            let room = room(storage, kind, key, len).await;
                            Outcome::Room(ticket, room)
                        });
                    }
                    reservation => self.expect(ticket, reservation),
                }
            }
            Request::Get { key, whole } => match storage.get(&key) {
                None => self.answer(ticket, &Reply::Absent),
                Some(object) if object.is_spilled() => {
                    self.await_chore(ticket);
                    self.chores.add(async move {
                        let held = Arc::clone(&object);
                        let loaded = unblock(move || held.load()).await;
                        Outcome::Loaded {
                            ticket,
                            object,
                            whole,
                            outcome: loaded.unwrap_or_else(|error| Err(io::Error::other(error))),
                        }
                    });
                }
                Some(object) => self.send(ticket, object, whole),
            },
            Request::Exists { key } => match storage.len(&key) {
                None => self.answer(ticket, &Reply::Absent),
                Some(len) => self.answer(ticket, &Reply::Present { len }),
            },
            Request::Evict { key } => {
                let evicted = storage.evict(&key, Instant::now());
                self.answer_done(ticket, evicted);
            }
            Request::Clear => {
                storage.clear();
                self.answer(ticket, &Reply::Done);
            }
            Request::Status => {
                let report = report::of(&self.shared);
                self.answer(ticket, &Reply::Report(report.as_report()));
            }
        }
    }

    /// Stores an object that came with its request.
    fn put(&mut self, ticket: Ticket, key: ObjectKey, kind: Kind, sum: u64, bytes: &[u8]) {
        let storage = Arc::clone(&self.shared.storage);
        let len = bytes.len() as u64;
        let reservation = match storage.reserve(kind, &key, len) {
            Ok(reservation) => Some(reservation),
            Err(storage::Refusal::Full { .. }) if storage.may_spill() => None,
            Err(refusal) => return self.refuse(ticket, &refusal),
        };
        let Ok(memory) = Memory::copied_from(&[Segment::from(bytes)]) else {
            return self.refuse(ticket, &storage::Refusal::OutOfMemory { len });
        };
        if let Some(reservation) = reservation {
            return self.answer_done(ticket, reservation.commit(memory, sum));
        }
        self.await_chore(ticket);
        self.chores.add(async move {
            let room = room(storage, kind, key, len).await;
            Outcome::RoomFor {
                ticket,
                memory,
                sum,
                room,
            }
        });
    }

    /// Lets the bytes of an object come, if there is room for it.
    fn expect(&mut self, ticket: Ticket, reservation: Result<Reservation, storage::Refusal>) {
        let room = reservation.and_then(|reservation| {
            let filling = reservation.memory()?;
            Ok((reservation, filling))
        });
        match room {
            Ok((reservation, filling)) => {
                // Twice what the slowest client allows itself.
                let silence = self.shared.table.limits().silence;
                let len = filling.len() as u64;
                let deadline = allowance(Deadline::never(), silence * 2, len.saturating_mul(2));
                let arriving = Arriving {
                    filling,
                    reservation,
                    sum: Sum::new(),
                    deadline,
                };
                self.arriving.insert(ticket.stream().number(), arriving);
                self.session.accept(ticket, Instant::now());
            }
            Err(refusal) => self.refuse(ticket, &refusal),
        }
    }

    /// All bytes of an object are there.
    pub(super) fn complete(&mut self, ticket: Ticket, sum: u64) {
        let Some(arriving) = self.arriving.remove(&ticket.stream().number()) else {
            return;
        };
        let Arriving {
            filling,
            reservation,
            sum: found,
            ..
        } = arriving;
        let memory = match filling.finish() {
            Ok(memory) if found.finish() == sum => memory,
            Ok(_) | Err(_) => return self.refuse_for(ticket, Refusal::Changed, ""),
        };
        self.answer_done(ticket, reservation.commit(memory, sum));
    }

    /// Sends an object that is in memory.
    fn send(&mut self, ticket: Ticket, object: Arc<Object>, whole: bool) {
        let (len, sum) = (object.len(), object.sum());
        if self.session.is_inline(len) {
            self.shared.storage.count_sent(len);
            let copied;
            let bytes = if let Some(bytes) = object.as_slice() {
                bytes
            } else {
                copied = object.segment().to_vec();
                &copied
            };
            return self.answer(ticket, &Reply::Object { sum, bytes });
        }
        let len = len as u64;
        if !whole {
            return self.answer(ticket, &Reply::Elsewhere { len });
        }
        self.shared.storage.count_sent(object.len());
        self.leaving.insert(ticket.stream().number(), object);
        self.answer(ticket, &Reply::Found { len, sum });
    }

    fn await_chore(&mut self, ticket: Ticket) {
        self.awaiting.insert(ticket.stream().number(), ticket);
    }

    /// A chore is done.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        let (Outcome::Room(ticket, _)
        | Outcome::RoomFor { ticket, .. }
        | Outcome::Loaded { ticket, .. }) = outcome;
        let stream = ticket.stream().number();
        if self.awaiting.get(&stream) != Some(&ticket) {
            // The request was given up; what was done for it is undone here.
            return;
        }
        self.awaiting.remove(&stream);
        match outcome {
            Outcome::Room(ticket, reservation) => self.expect(ticket, reservation),
            Outcome::RoomFor {
                ticket,
                memory,
                sum,
                room,
            } => {
                let stored = room.and_then(|room| room.commit(memory, sum));
                self.answer_done(ticket, stored);
            }
            Outcome::Loaded {
                ticket,
                object,
                whole,
                outcome,
            } => match outcome {
                Ok(()) => self.send(ticket, object, whole),
                Err(error) => {
                    let text = format!("the node's disk cannot read the object: {error}");
                    self.refuse_for(ticket, Refusal::Damaged, &text);
                }
            },
        }
    }

    fn answer_done(&mut self, ticket: Ticket, outcome: Result<(), storage::Refusal>) {
        match outcome {
            Ok(()) => self.answer(ticket, &Reply::Done),
            Err(refusal) => self.refuse(ticket, &refusal),
        }
    }

    fn refuse(&mut self, ticket: Ticket, refusal: &storage::Refusal) {
        let text = refusal.to_string();
        let refusal = match refusal {
            storage::Refusal::Forbidden | storage::Refusal::Taken => Refusal::Forbidden,
            storage::Refusal::Revoked => Refusal::Cancelled,
            storage::Refusal::TooLarge { .. } => Refusal::TooLarge,
            storage::Refusal::Full { .. }
            | storage::Refusal::Disk { .. }
            | storage::Refusal::OutOfMemory { .. } => Refusal::Full,
        };
        self.refuse_for(ticket, refusal, &text);
    }

    fn refuse_for(&mut self, ticket: Ticket, refusal: Refusal, text: &str) {
        self.shared.storage.count_refused();
        self.answer(ticket, &Reply::Refused { refusal, text });
    }

    fn answer(&mut self, ticket: Ticket, reply: &Reply<'_>) {
        if !self.session.respond(ticket, reply) {
            self.leaving.remove(&ticket.stream().number());
        }
    }
}

/// Room that is made by writing other objects to the disk. Those on their way here cannot be written
/// there yet, and those that are being read take memory until then: they are waited for.
async fn room(
    storage: Arc<Storage>,
    kind: Kind,
    key: ObjectKey,
    len: u64,
) -> Result<Reservation, storage::Refusal> {
    let until = Instant::now() + PATIENCE;
    loop {
        let shared = Arc::clone(&storage);
        let made = unblock(move || shared.make_room(kind, &key, len)).await;
        let made = made.unwrap_or(Err(storage::Refusal::OutOfMemory { len }));
        let is_full = matches!(made, Err(storage::Refusal::Full { .. }));
        if !is_full || !storage.will_have_room(len) || Instant::now() >= until {
            return made;
        }
        sleep_until(Instant::now() + LOOK).await;
    }
}

const fn kind(mode: Mode) -> Kind {
    match mode {
        Mode::New => Kind::Put,
        Mode::Replace => Kind::Set,
    }
}
