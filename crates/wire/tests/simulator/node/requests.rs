//! What is asked of a node, from its beginning to its answer.

use std::{sync::Arc, time::Instant};

use proxystore_wire::{
    ObjectKey, Sum,
    message::{Mode, Refusal, Reply, ReportBuilder, Request},
    server::{Session, Ticket},
};

use super::{NodeConnection, Phase};
use crate::{
    random::Random,
    storage::{Storage, Stored},
};

/// A put that is arriving.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) key: ObjectKey,
    pub(super) mode: Mode,
    pub(super) len: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) sum: Sum,
    pub(super) is_accepted: bool,
}

/// What was asked for and is not answered yet, as storages take their time.
#[derive(Debug)]
pub(super) enum Pending {
    Put {
        key: ObjectKey,
        mode: Mode,
        bytes: Vec<u8>,
        sum: u64,
    },
    Get {
        key: ObjectKey,
        whole: bool,
    },
    Exists(ObjectKey),
    Evict(ObjectKey),
    Clear,
    Status,
}

impl NodeConnection {
    pub(super) fn drop_request(&mut self, ticket: Ticket, storage: &mut Storage) {
        self.over = Some(ticket);
        if let Some(arriving) = self.arriving.remove(&ticket) {
            storage.release(arriving.len);
        }
        if let Some(index) = self.pending.iter().position(|(known, _)| *known == ticket)
            && let (_, Pending::Put { bytes, .. }) = self.pending.remove(index)
        {
            storage.release(bytes.len());
        }
        self.sending.retain(|_, (known, _)| *known != ticket);
    }

    pub(super) fn begin(
        &mut self,
        ticket: Ticket,
        request: &Request<'_>,
        storage: &mut Storage,
        now: Instant,
        random: &mut Random,
    ) {
        let Phase::Session(session) = &mut self.phase else {
            return;
        };
        let pending = match *request {
            Request::Put {
                key,
                mode,
                sum,
                bytes,
            } => {
                if !storage.reserve(bytes.len() as u64) {
                    refuse(session, ticket, Refusal::Full);
                    return;
                }
                let bytes = bytes.to_vec();
                Pending::Put {
                    key,
                    mode,
                    bytes,
                    sum,
                }
            }
            Request::Begin { key, mode, len } => {
                if !storage.reserve(len) {
                    refuse(session, ticket, Refusal::Full);
                    return;
                }
                let is_accepted = !random.once_in(4);
                if is_accepted {
                    session.accept(ticket, now);
                }
                let arriving = Arriving {
                    key,
                    mode,
                    len: usize::try_from(len).expect("within the budget"),
                    bytes: Vec::new(),
                    sum: Sum::new(),
                    is_accepted,
                };
                self.arriving.insert(ticket, arriving);
                return;
            }
            Request::Get { key, whole } => Pending::Get { key, whole },
            Request::Exists { key } => Pending::Exists(key),
            Request::Evict { key } => Pending::Evict(key),
            Request::Status => Pending::Status,
            Request::Clear => Pending::Clear,
        };
        self.pending.push((ticket, pending));
    }

    pub(super) fn answer(&mut self, storage: &mut Storage, random: &mut Random) {
        let Phase::Session(session) = &mut self.phase else {
            return;
        };
        if self.pending.is_empty() {
            return;
        }
        let (ticket, pending) = self.pending.swap_remove(random.below(self.pending.len()));
        let was_open = match pending {
            Pending::Put {
                key,
                mode,
                bytes,
                sum,
            } => match storage.commit(&key, mode, bytes, sum) {
                Ok(()) => session.respond(ticket, &Reply::Done),
                Err(refusal) => refuse(session, ticket, refusal),
            },
            Pending::Get { key, whole } => match storage.get(&key) {
                None => session.respond(ticket, &Reply::Absent),
                Some(Stored { bytes, sum, .. }) => {
                    let (len, sum) = (bytes.len() as u64, *sum);
                    if session.is_inline(bytes.len()) {
                        session.respond(ticket, &Reply::Object { sum, bytes })
                    } else if whole {
                        self.sending
                            .insert(ticket.stream(), (ticket, Arc::clone(bytes)));
                        session.respond(ticket, &Reply::Found { len, sum })
                    } else {
                        session.respond(ticket, &Reply::Elsewhere { len })
                    }
                }
            },
            Pending::Exists(key) => match storage.get(&key) {
                None => session.respond(ticket, &Reply::Absent),
                Some(stored) => {
                    let len = stored.bytes.len() as u64;
                    session.respond(ticket, &Reply::Present { len })
                }
            },
            Pending::Evict(key) => {
                storage.evict(&key);
                session.respond(ticket, &Reply::Done)
            }
            Pending::Clear => {
                storage.clear();
                session.respond(ticket, &Reply::Done)
            }
            Pending::Status => {
                let mut report = ReportBuilder::new();
                report.add("objects", storage.len() as u64);
                session.respond(ticket, &Reply::Report(report.as_report()))
            }
        };
        assert!(
            was_open,
            "a request that was neither answered nor cancelled is open"
        );
    }
}

pub(super) fn refuse(session: &mut Session, ticket: Ticket, refusal: Refusal) -> bool {
    let text = "in the simulator";
    session.respond(ticket, &Reply::Refused { refusal, text })
}
