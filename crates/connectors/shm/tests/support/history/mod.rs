//! What processes do to objects that they share, and what each of them may see of it.
//!
//! A table in memory that all processes map says of every object whether it certainly is there, is
//! certainly gone, or is on its way. Workers put, get and evict at random and hold each answer
//! against the table as it was before and after.

mod ticket;
mod worker;

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use proxystore_core::{Key, Memory};

use self::ticket::Ticket;
pub(crate) use self::worker::{Habits, Worker};
use super::{
    Checked,
    client::{self, Client},
    contents::Contents,
    ensure,
    processes::shared_words,
};

/// How many workers a table has room for.
pub(crate) const WORKERS: usize = 16;

const SLOT_WORDS: usize = 4;
const TICKET_WORDS: usize = 2 + 2 * WORKERS;

/// What all workers know of the objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    slots: &'static [AtomicU64],
    tickets: &'static [AtomicU64],
    turns: &'static [AtomicU64],
    /// How many objects a worker has that nobody else knows of.
    private: &'static [AtomicU64],
}

/// What is known of the object of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Unused = 0,
    /// A worker puts it. Nobody knows the key.
    Filling = 1,
    /// Its put has returned, and no evict has begun.
    There = 2,
    /// An evict has begun.
    Going = 3,
    /// An evict has returned.
    Gone = 4,
    /// Whoever put it has died.
    Lost = 5,
}

/// A slot's first word: how often it was filled, by whom last, and what is known of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage {
    turn: u32,
    worker: u8,
    phase: Phase,
}

impl Stage {
    fn to_word(self) -> u64 {
        (u64::from(self.turn) << 16) | (u64::from(self.worker) << 8) | self.phase as u64
    }

    fn from_word(word: u64) -> Self {
        const PHASES: [Phase; 6] = [
            Phase::Unused,
            Phase::Filling,
            Phase::There,
            Phase::Going,
            Phase::Gone,
            Phase::Lost,
        ];

        let [_, _, a, b, c, d, worker, phase] = word.to_be_bytes();
        Self {
            turn: u32::from_be_bytes([a, b, c, d]),
            worker,
            phase: PHASES[usize::from(phase)],
        }
    }

    const fn with(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }
}

/// An object that the table names.
#[derive(Clone, Debug)]
struct Entry {
    slot: usize,
    stage: Stage,
    key: Key,
    contents: Contents,
}

impl Table {
    pub(crate) fn new(slots: usize, tickets: usize) -> io::Result<Self> {
        Ok(Self {
            slots: shared_words(slots * SLOT_WORDS)?,
            // A mapping has a page at least.
            tickets: &shared_words(tickets.max(1) * TICKET_WORDS)?[..tickets * TICKET_WORDS],
            turns: shared_words(WORKERS)?,
            private: shared_words(WORKERS)?,
        })
    }

    fn slot(&self, index: usize) -> &'static [AtomicU64] {
        &self.slots[index * SLOT_WORDS..][..SLOT_WORDS]
    }

    fn len(&self) -> usize {
        self.slots.len() / SLOT_WORDS
    }

    fn stage(&self, index: usize) -> Stage {
        Stage::from_word(self.slot(index)[0].load(Ordering::Acquire))
    }

    /// What the next object of a slot consists of.
    fn next(&self, slot: usize, stage: Stage, len: u32) -> Checked<Contents> {
        let (slots, slot) = (u32::try_from(self.len())?, u32::try_from(slot)?);
        Ok(Contents::new((stage.turn + 1) * slots + slot, len))
    }

    fn change(&self, index: usize, from: Stage, to: Stage) -> bool {
        let word = &self.slot(index)[0];
        let (from, to) = (from.to_word(), to.to_word());
        word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The object of a slot, unless it is being put or there has been none.
    fn entry(&self, slot: usize) -> Option<Entry> {
        let words = self.slot(slot);
        let before = words[0].load(Ordering::Acquire);
        let stage = Stage::from_word(before);
        if matches!(stage.phase, Phase::Unused | Phase::Filling | Phase::Lost) {
            return None;
        }
        let [id, word, contents] = [1, 2, 3].map(|at: usize| words[at].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if words[0].load(Ordering::Relaxed) != before {
            return None;
        }
        Some(Entry {
            slot,
            stage,
            key: client::key([id, word]),
            contents: Contents::from_word(contents),
        })
    }

    /// Forgets everything.
    pub(crate) fn reset(&self) {
        for word in [self.slots, self.tickets, self.turns, self.private]
            .into_iter()
            .flatten()
        {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// How many operations a worker has finished.
    pub(crate) fn turns(&self, worker: usize) -> u64 {
        self.turns[worker].load(Ordering::Relaxed)
    }

    /// Notes that a worker is dead: nobody will ever know the keys of what it was putting. Returns
    /// how many such objects there may be.
    pub(crate) fn bury(&self, worker: u8) -> usize {
        let lost = (0..self.len()).filter(|&slot| {
            let stage = self.stage(slot);
            stage.phase == Phase::Filling
                && stage.worker == worker
                && self.change(slot, stage, stage.with(Phase::Lost))
        });
        let private = self.private[usize::from(worker)].swap(0, Ordering::Relaxed);
        lost.count() + usize::from(private > 0)
    }

    /// Gives every ticket a key.
    pub(crate) fn make_tickets(&self, client: &Client) -> Checked {
        for ticket in self.tickets.chunks(TICKET_WORDS) {
            for word in &ticket[2..] {
                word.store(0, Ordering::Relaxed);
            }
            let [id, word] = client::words(&client.new_key()?)?;
            ticket[0].store(id, Ordering::Relaxed);
            ticket[1].store(word, Ordering::Relaxed);
        }
        Ok(())
    }

    fn ticket(&self, index: usize) -> Ticket {
        Ticket(&self.tickets[index * TICKET_WORDS..][..TICKET_WORDS])
    }

    fn tickets(&self) -> usize {
        self.tickets.len() / TICKET_WORDS
    }

    /// Checks every object that there is, and removes it. Only while nobody else works.
    pub(crate) fn check_and_clear(&self, client: &Client) -> Checked {
        for slot in 0..self.len() {
            if let Some(entry) = self.entry(slot) {
                entry.check(*self, client)?;
                client.evict(&entry.key)?;
                client.expect_none(&entry.key)?;
                self.change(slot, entry.stage, entry.stage.with(Phase::Gone));
            }
        }
        for index in 0..self.tickets() {
            let ticket = self.ticket(index);
            if !ticket.is_made() {
                continue;
            }
            let key = ticket.key();
            ticket.check(client)?;
            client.evict(&key)?;
            client.expect_none(&key)?;
            // Whoever died over it, it can be set again.
            let contents = Contents::new(0, 50_000);
            client.set(&key, contents)?;
            client.expect(&key, contents)?;
            client.evict(&key)?;
        }
        Ok(())
    }
}

impl Entry {
    /// Gets the object and holds it against the table; returns it if it is there.
    fn check(&self, table: Table, client: &Client) -> Checked<Option<Memory>> {
        let found = client
            .get(&self.key)
            .map_err(|error| format!("{self:?}: {error:?}"))?;
        self.judge(table, found.is_some())?;
        if let Some(found) = &found {
            self.contents
                .check(found)
                .map_err(|error| format!("{self:?}: {error}"))?;
        }
        Ok(found)
    }

    /// Wants the object to have been there, or not, as the table says. To be called with what was
    /// found out after the entry was read.
    fn judge(&self, table: Table, found: bool) -> Checked {
        let after = table.stage(self.slot);
        match self.stage.phase {
            Phase::There if after == self.stage => {
                ensure!(found, "{self:?} is not there");
            }
            Phase::Gone => ensure!(!found, "{self:?} is there"),
            _ => {}
        }
        Ok(())
    }
}
