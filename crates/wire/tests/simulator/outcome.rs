//! What clients want, and what they make of the answers.

use std::{collections::VecDeque, time::Instant};

use proxystore_wire::{
    ObjectKey, Sum,
    message::{Refusal, Reply},
};

use crate::{
    objects::{Cell, Object},
    tally::Tally,
};

/// Something to be done.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Put {
        object: usize,
        /// The source is written to while it is sent.
        races: bool,
    },
    Get {
        object: usize,
        forged: bool,
        whole: bool,
    },
    Set {
        cell: usize,
        version: usize,
    },
    Read {
        cell: usize,
        whole: bool,
    },
    Exists {
        object: usize,
    },
    Evict {
        object: usize,
    },
    /// Take back what may have been stored by a put that failed.
    Undo(ObjectKey),
    Status,
}

/// An operation under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) plan: Plan,
    pub(crate) begun: u64,
    pub(crate) sum: Sum,
    /// What is being received, its length and its checksum.
    pub(crate) body: Option<(Vec<u8>, usize, u64)>,
}

/// What all clients have in common.
pub(crate) struct Shared {
    pub(crate) objects: Vec<Object>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) step: u64,
    pub(crate) now: Instant,
    pub(crate) tally: Tally,
    /// Whether the node is one that keeps what it is given.
    pub(crate) is_trusting: bool,
}

/// All bytes of an object are there.
pub(crate) fn received_whole(running: &Running, shared: &mut Shared) {
    if !shared.is_trusting {
        return;
    }
    let (bytes, len, sum) = running.body.as_ref().expect("a body that was found");
    assert_eq!(
        bytes.len(),
        *len,
        "an object of another length than was announced"
    );
    if running.sum.finish() == *sum {
        got(running, bytes, shared);
    } else {
        shared.tally.corrupted += 1;
    }
}

fn got(running: &Running, bytes: &[u8], shared: &mut Shared) {
    let (object, forged) = match running.plan {
        Plan::Get { object, forged, .. } => (&shared.objects[object], forged),
        Plan::Read { cell, .. } => {
            assert!(shared.cells[cell].may_be(bytes), "bytes that nobody put");
            shared.tally.read += 1;
            return;
        }
        _ => panic!("an object for somebody who asked for none"),
    };
    assert!(!forged, "an object for a forged key");
    assert!(
        bytes == object.content.as_slice(),
        "other bytes than were put"
    );
    assert!(
        !object.must_be_gone(running.begun),
        "an object that was evicted"
    );
    shared.tally.got += 1;
}

pub(crate) fn replied(
    running: Running,
    reply: &Reply<'_>,
    shared: &mut Shared,
    again: &mut VecDeque<Plan>,
) {
    let step = shared.step;
    if !shared.is_trusting {
        return;
    }
    match (&running.plan, reply) {
        (Plan::Put { object, .. }, Reply::Refused { refusal, .. }) => {
            shared.objects[*object].failed = Some(step);
            let is_late = shared.objects[*object].evict_begun.is_some();
            assert!(*refusal != Refusal::Forbidden || is_late, "the key was new");
            shared.tally.refused += 1;
        }
        (Plan::Undo(_), Reply::Refused { .. }) => again.push_back(running.plan),
        (_, Reply::Refused { refusal, .. }) => {
            assert_ne!(*refusal, Refusal::Cancelled, "nobody gave it up");
            shared.tally.refused += 1;
        }
        (&Plan::Put { object, races }, Reply::Done) => {
            assert!(!races, "stored, although it changed while it was sent");
            shared.objects[object].stored = Some(step);
            shared.tally.put += 1;
        }
        (&(Plan::Get { .. } | Plan::Read { .. }), Reply::Object { sum, bytes }) => {
            if Sum::of(bytes) == *sum {
                got(&running, bytes, shared);
            } else {
                shared.tally.corrupted += 1;
            }
        }
        (&Plan::Get { object, forged, .. }, Reply::Elsewhere { len }) => {
            assert_eq!(*len, shared.objects[object].content.len() as u64);
            again.push_back(Plan::Get {
                object,
                forged,
                whole: true,
            });
        }
        (
            &(Plan::Get {
                object,
                forged: false,
                ..
            }
            | Plan::Exists { object }),
            Reply::Absent,
        ) => {
            let object = &shared.objects[object];
            assert!(!object.must_be_there(running.begun), "an object is missing");
            shared.tally.absent += 1;
        }
        (&Plan::Set { cell, .. }, Reply::Done) => {
            shared.cells[cell].stored.get_or_insert(step);
        }
        (&Plan::Read { cell, .. }, Reply::Elsewhere { .. }) => {
            again.push_back(Plan::Read { cell, whole: true });
        }
        (&Plan::Read { cell, .. }, Reply::Absent) => {
            let stored = shared.cells[cell].stored;
            assert!(
                stored.is_none_or(|stored| stored >= running.begun),
                "an object is missing"
            );
        }
        (&Plan::Get { forged: true, .. }, Reply::Absent) => shared.tally.absent += 1,
        (&Plan::Exists { object }, Reply::Present { len }) => {
            let object = &shared.objects[object];
            assert_eq!(*len, object.content.len() as u64);
            assert!(
                !object.must_be_gone(running.begun),
                "an object that was evicted"
            );
            shared.tally.got += 1;
        }
        (&Plan::Evict { object }, Reply::Done) => {
            let object = &mut shared.objects[object];
            // One that came before the put, or while it was under way, says nothing.
            if object.stored.is_some_and(|stored| stored < running.begun) {
                object.evicted.get_or_insert(step);
            }
        }
        (Plan::Undo(_), Reply::Done) => shared.tally.undone += 1,
        (Plan::Status, Reply::Report(report)) => assert_eq!(report.entries().count(), 1),
        (plan, reply) => panic!("{reply:?} answers {plan:?}"),
    }
}
