//! What members say of themselves, and when the namespace was used.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{MemberId, Membership, clock, holding::Look, slots};
use crate::{
    config::Options,
    control::{HeaderWord, ProcessRecord},
};

/// Uses of the namespace are noted at most so often, in milliseconds.
const GRAIN: u64 = 64;

impl Membership {
    /// Lets objects outlive the last process for at least as long as the options say.
    pub(crate) fn raise_hold(&self, options: &Options) {
        let hold = u64::try_from(options.hold.as_millis()).unwrap_or(u64::MAX);
        let word = self.control.header(HeaderWord::Hold);
        word.fetch_max(hold, Ordering::AcqRel);
    }

    /// Counts so many bytes more, or fewer, for this process's segments and slabs, which both
    /// count here.
    pub(crate) fn add_bytes(&self, change: i64) {
        if let Ok(id) = self.check() {
            add(self.control.process(id.slot()).bytes, change);
        }
    }

    /// Counts so many bytes more, or fewer, that this process is about to take from the system and
    /// has not got yet.
    pub(crate) fn add_reserved(&self, change: i64) {
        if let Ok(id) = self.check() {
            add(self.control.process(id.slot()).reserved, change);
        }
    }

    /// Bytes that the processes are about to take from the system, this one included.
    pub(crate) fn reserved(&self) -> u64 {
        self.sum(|record| record.reserved)
    }

    /// Bytes that the segments and slabs of all processes take.
    pub(crate) fn bytes(&self) -> u64 {
        self.sum(|record| record.bytes)
    }

    fn sum(&self, word: impl Fn(ProcessRecord<'_>) -> &AtomicU64) -> u64 {
        let records = (0..slots::end(&self.control)).map(|slot| self.control.process(slot));
        records
            .map(|record| word(record).load(Ordering::SeqCst))
            .fold(0, u64::saturating_add)
    }

    /// Notes that the namespace is in use now, and returns the time: milliseconds since the host
    /// was started.
    pub(crate) fn touch(&self) -> u64 {
        let now = clock::now();
        if !self.is_observer && now.saturating_sub(self.noted.load(Ordering::Relaxed)) >= GRAIN {
            self.note(now);
        }
        now
    }

    pub(super) fn note(&self, now: u64) {
        self.noted.store(now, Ordering::Relaxed);
        let used = self.control.header(HeaderWord::Used);
        used.fetch_max(now, Ordering::AcqRel);
        if let Ok(id) = self.check() {
            let used = self.control.process(id.slot()).used;
            used.store(now, Ordering::Relaxed);
        }
        if self.directory.is_removed() {
            self.removed.store(true, Ordering::Relaxed);
        }
    }

    /// All members, dead or alive.
    pub(crate) fn members(&self) -> Vec<Member> {
        let members = slots::members(&self.control).map(|id| {
            let record = self.control.process(id.slot());
            Member {
                id,
                pid: record.pid.load(Ordering::Relaxed),
                bytes: record.bytes.load(Ordering::Relaxed),
                is_alive: self.is_alive(id),
                pins: match self.look_at(id) {
                    Look::Counts(counts) => counts.held(),
                    Look::Gone | Look::Unknown => 0,
                },
            }
        });
        members.collect()
    }

    /// How old the namespace is, and for how long it is kept.
    pub(crate) fn times(&self) -> Times {
        let header = |word| self.control.header(word).load(Ordering::Acquire);
        let now = clock::now();
        Times {
            age: now.saturating_sub(header(HeaderWord::Made)),
            idle: now.saturating_sub(header(HeaderWord::Used)),
            hold: header(HeaderWord::Hold),
        }
    }
}

/// What there is to tell of a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// The number of its process.
    pub(crate) pid: u64,
    /// Bytes that its segments and slabs take.
    pub(crate) bytes: u64,
    pub(crate) is_alive: bool,
    /// How many segments it holds on to.
    pub(crate) pins: usize,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Since the namespace was made.
    pub(crate) age: u64,
    /// Since it was used.
    pub(crate) idle: u64,
    /// For which its objects outlive the last process.
    pub(crate) hold: u64,
}

fn add(word: &AtomicU64, change: i64) {
    let changed = |value: u64| Some(value.saturating_add_signed(change));
    let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, changed);
}
