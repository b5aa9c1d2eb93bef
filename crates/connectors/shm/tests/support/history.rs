//! What processes do to objects that they share, and what each of them may see of it.
//!
//! A table in memory that all processes map says of every object whether it certainly is there, is
//! certainly gone, or is on its way. Workers put, get and evict at random and hold each answer
//! against the table as it was before and after.

use std::{
    collections::VecDeque,
    io,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use proxystore_core::{Error, Key, Memory};

use super::{
    Checked,
    client::{self, Client},
    contents::{Contents, Random},
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

/// A deferred key, and which of its sets every worker has begun and finished.
#[derive(Clone, Copy, Debug)]
struct Ticket(&'static [AtomicU64]);

impl Ticket {
    fn key(&self) -> Key {
        let [id, word] = [0, 1].map(|at: usize| self.0[at].load(Ordering::Relaxed));
        client::key([id, word])
    }

    fn is_made(&self) -> bool {
        self.0[1].load(Ordering::Relaxed) > 0
    }

    fn begun(&self, worker: usize) -> &'static AtomicU64 {
        &self.0[2 + 2 * worker]
    }

    fn done(&self, worker: usize) -> &'static AtomicU64 {
        &self.0[3 + 2 * worker]
    }

    /// What a worker's operation of this number sets the object to; none if it evicts it.
    fn value(worker: usize, number: u64) -> Option<Contents> {
        const LENS: [u32; 4] = [100, 40_000, 9000, 150_000];

        let seed = u32::try_from(number << 4).ok()? | u32::try_from(worker).ok()?;
        let len = LENS[usize::try_from(number % 4).ok()?];
        (!number.is_multiple_of(7)).then_some(Contents::new(seed, len))
    }

    fn change(&self, client: &Client, worker: usize) -> Checked {
        let number = self.begun(worker).load(Ordering::Relaxed) + 1;
        self.begun(worker).store(number, Ordering::SeqCst);
        match Self::value(worker, number) {
            Some(contents) => client.set(&self.key(), contents)?,
            None => client.evict(&self.key())?,
        }
        self.done(worker).store(number, Ordering::SeqCst);
        Ok(())
    }

    /// Gets the object, and wants it to be what a worker set last or has set since.
    fn check(&self, client: &Client) -> Checked {
        let done: Vec<_> = (0..WORKERS)
            .map(|worker| self.done(worker).load(Ordering::SeqCst))
            .collect();
        let found = client.get(&self.key())?;
        let mut candidates = (0..WORKERS).flat_map(|worker| {
            let begun = self.begun(worker).load(Ordering::SeqCst);
            (done[worker].max(1)..=begun).map(move |number| Self::value(worker, number))
        });
        let Some(found) = found else {
            let never = done.iter().all(|&number| number == 0);
            ensure!(
                never || candidates.any(|value| value.is_none()),
                "nothing is at the deferred key {}",
                self.key()
            );
            return Ok(());
        };
        let mut first = [0; 4];
        found.copy_to(&mut first);
        let seed = u32::from_be_bytes(first);
        let value = candidates.flatten().find(|value| value.seed == seed);
        let Some(value) = value else {
            return Err(
                format!("the deferred key {} has {seed:x}, of {done:?}", self.key()).into(),
            );
        };
        value.check(&found)
    }
}

/// What a worker does, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Lengths of its objects.
    pub(crate) lens: &'static [u32],
    /// How many views it holds at a time.
    pub(crate) held: usize,
    /// In how many of a hundred turns it puts or evicts an object.
    pub(crate) changes: usize,
    /// Whether it puts the next object as soon as it has evicted one.
    pub(crate) replaces: bool,
}

/// One process or thread that uses the objects of a table.
#[derive(Debug)]
pub(crate) struct Worker {
    table: Table,
    client: Client,
    index: u8,
    habits: Habits,
    random: Random,
    held: VecDeque<(Memory, Contents)>,
    gone: VecDeque<Key>,
}

impl Worker {
    pub(crate) fn new(table: Table, client: Client, index: u8, habits: Habits, seed: u64) -> Self {
        Self {
            table,
            client,
            index,
            habits,
            random: Random::new(seed * 64 + u64::from(index)),
            held: VecDeque::new(),
            gone: VecDeque::new(),
        }
    }

    /// Does one thing.
    pub(crate) fn turn(&mut self) -> Checked {
        let slot = self.random.below(self.table.len());
        let dice = self.random.below(100);
        if dice < self.habits.changes {
            self.change(slot)?;
        } else if self.table.tickets() > 0 && dice.is_multiple_of(4) {
            let ticket = self.random.below(self.table.tickets());
            if dice.is_multiple_of(8) {
                self.set(ticket)?;
            } else {
                self.get_set(ticket)?;
            }
        } else if dice == 99 {
            self.check_gone()?;
        } else {
            self.get(slot)?;
        }
        self.table.turns[usize::from(self.index)].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Wants all that is held to be what it was.
    pub(crate) fn check_held(&self) -> Checked {
        for (memory, contents) in &self.held {
            contents
                .check(memory)
                .map_err(|error| format!("a held view changed: {error}"))?;
        }
        Ok(())
    }

    /// Lets go of all that is held, having checked it.
    pub(crate) fn release(&mut self) -> Checked {
        self.check_held()?;
        self.held.clear();
        Ok(())
    }

    fn change(&mut self, slot: usize) -> Checked {
        let stage = self.table.stage(slot);
        match stage.phase {
            Phase::Unused | Phase::Gone | Phase::Lost => {
                let len = self.random.one_of(self.habits.lens);
                let sealed = self.random.below(4) == 0;
                self.put(slot, len, sealed)
            }
            Phase::There if self.habits.replaces => self.replace(slot),
            Phase::There | Phase::Going => self.evict(slot),
            Phase::Filling => Ok(()),
        }
    }

    /// Puts an object into a slot that has none.
    pub(crate) fn put(&mut self, slot: usize, len: u32, sealed: bool) -> Checked {
        let stage = self.table.stage(slot);
        let contents = self.table.next(slot, stage, len)?;
        self.fill(slot, stage, contents, || {
            if sealed {
                self.client.put_sealed(contents)
            } else {
                self.client.put(contents)
            }
        })
    }

    /// Evicts the object of a slot and at once puts the next.
    fn replace(&mut self, slot: usize) -> Checked {
        let len = self.random.one_of(self.habits.lens);
        let contents = self.table.next(slot, self.table.stage(slot), len)?;
        let bytes = contents.bytes();
        self.evict(slot)?;
        let stage = self.table.stage(slot);
        if self.table.next(slot, stage, len)? != contents {
            return Ok(());
        }
        self.fill(slot, stage, contents, || self.client.put_bytes(&bytes))
    }

    fn fill(
        &self,
        slot: usize,
        stage: Stage,
        contents: Contents,
        put: impl FnOnce() -> Result<Key, Error>,
    ) -> Checked {
        let filling = Stage {
            turn: stage.turn + 1,
            worker: self.index,
            phase: Phase::Filling,
        };
        let empty = matches!(stage.phase, Phase::Unused | Phase::Gone | Phase::Lost);
        if !empty || !self.table.change(slot, stage, filling) {
            return Ok(());
        }
        let [id, word] = client::words(&put()?)?;
        for (place, value) in self.table.slot(slot)[1..]
            .iter()
            .zip([id, word, contents.to_word()])
        {
            place.store(value, Ordering::Relaxed);
        }
        let known = self.table.change(slot, filling, filling.with(Phase::There));
        ensure!(known, "somebody else filled the slot of a worker");
        Ok(())
    }

    /// Evicts the object of a slot, if it has one.
    pub(crate) fn evict(&mut self, slot: usize) -> Checked {
        let Some(entry) = self.table.entry(slot) else {
            return Ok(());
        };
        let going = entry.stage.with(Phase::Going);
        match entry.stage.phase {
            Phase::There if self.table.change(slot, entry.stage, going) => {}
            Phase::Going => {}
            _ => return Ok(()),
        }
        self.client.evict(&entry.key)?;
        if self.table.change(slot, going, going.with(Phase::Gone)) {
            self.gone.push_back(entry.key);
            if self.gone.len() > 64 {
                self.gone.pop_front();
            }
        }
        Ok(())
    }

    /// Gets the object of a slot, if it has one, and holds it for a while.
    pub(crate) fn get(&mut self, slot: usize) -> Checked {
        match self.table.entry(slot) {
            Some(entry) => self.look(&entry),
            None => Ok(()),
        }
    }

    /// Sets or evicts the object of a deferred key, as its number has it.
    pub(crate) fn set(&mut self, ticket: usize) -> Checked {
        let ticket = self.table.ticket(ticket);
        ticket.change(&self.client, usize::from(self.index))
    }

    /// Gets the object of a deferred key.
    pub(crate) fn get_set(&self, ticket: usize) -> Checked {
        self.table.ticket(ticket).check(&self.client)
    }

    /// Sets a deferred key that nobody else knows, in vain, twice and for good.
    pub(crate) fn set_own_key(&mut self) -> Checked {
        let private = &self.table.private[usize::from(self.index)];
        let key = self.client.new_key()?;
        private.store(1, Ordering::Relaxed);
        for len in [100, 70_000, 200] {
            let contents = Contents::new(len, len);
            self.client.set(&key, contents)?;
            self.client.expect(&key, contents)?;
        }
        self.client.evict(&key)?;
        private.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Evicts everything that there is, and closes the connector.
    pub(crate) fn clear(&mut self) -> Checked {
        let mut going = Vec::new();
        for slot in 0..self.table.len() {
            let stage = self.table.stage(slot);
            if stage.phase == Phase::There {
                self.table.change(slot, stage, stage.with(Phase::Going));
                going.push((slot, stage.with(Phase::Going)));
            }
        }
        // Deferred keys end with what they name.
        for ticket in self.table.tickets.chunks(TICKET_WORDS) {
            ticket[1].store(0, Ordering::Relaxed);
        }
        self.client.close(true)?;
        for (slot, stage) in going {
            self.table.change(slot, stage, stage.with(Phase::Gone));
        }
        Ok(())
    }

    /// Closes the connector, and lets go of it.
    pub(crate) fn close(&mut self) -> Checked {
        Ok(self.client.close(false)?)
    }

    fn look(&mut self, entry: &Entry) -> Checked {
        if self.random.below(16) == 0 {
            let found = self.client.exists(&entry.key)?;
            return entry.judge(self.table, found);
        }
        let Some(memory) = entry.check(self.table, &self.client)? else {
            return Ok(());
        };
        // Two views of one object, of which one goes at once.
        if self.random.below(8) == 0 {
            drop(self.client.get(&entry.key)?);
        }
        if self.random.below(8) == 0
            && let Some(copy) = self.client.get_copy(&entry.key)?
        {
            entry.contents.check(&copy)?;
        }
        self.held.push_back((memory, entry.contents));
        while self.held.len() > self.habits.held {
            let (memory, contents) = self.held.pop_front().ok_or("nothing is held")?;
            contents
                .check(&memory)
                .map_err(|error| format!("a held view changed: {error}"))?;
        }
        Ok(())
    }

    /// A key whose object was evicted never has an object again.
    fn check_gone(&self) -> Checked {
        for key in &self.gone {
            self.client.expect_none(key)?;
        }
        Ok(())
    }
}
