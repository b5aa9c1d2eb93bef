//! Who works, and holds what it sees against the table.

use std::{collections::VecDeque, sync::atomic::Ordering, thread};

use proxystore_core::{Error, Key, Memory};

use super::{Entry, Phase, Stage, TICKET_WORDS, Table};
use crate::support::{
    Checked,
    client::{self, Client},
    contents::{Contents, Random},
    ensure,
};

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
        if let Some(entry) = self.table.entry(slot) {
            return self.look(&entry);
        }
        thread::yield_now();
        Ok(())
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
