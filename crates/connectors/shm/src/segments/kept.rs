//! The segments of this process, and which of them it uses again.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::{
    control::Control,
    mapped::Mapped,
    membership::Inode,
    word::{Phase, State},
};

/// How many of the segments with objects are looked at in one put, as other processes evict them.
const LOOKED_AT: usize = 16;

/// The largest part of an object that may be written beyond the end of the memory that is there.
const GROWTH: u64 = 8;

/// A segment that this process owns and nobody else in it has.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    /// Of the object in it, or of the last one.
    pub(crate) generation: u32,
    /// Bytes of memory behind it; none if it is spilled.
    pub(crate) capacity: u64,
    /// Whether its memory is a file outside of the namespace, which is not used again.
    pub(crate) spilled: bool,
    /// Its memory, once it has been used again.
    pub(crate) mapped: Option<Arc<Mapped>>,
    /// Which file that is; none for one that a dead process left, until it is used again.
    pub(crate) inode: Option<Inode>,
}

/// All of them but those that some thread is writing to or giving back.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Those with objects, as far as is known, by number.
    live: BTreeMap<u32, Segment>,
    /// Those without, and since when that is known, by size and number.
    free: BTreeMap<(u64, u32), (Segment, Instant)>,
    /// Bytes of memory behind the latter.
    free_bytes: u64,
    /// How many of the latter are spilled.
    free_spilled: usize,
    /// Numbers of records that this process has left without anything behind them.
    pub(crate) spare: Vec<u32>,
    /// The number before which segments with objects were looked at last.
    looked_at: u32,
    /// The number before which records were searched for one to use again.
    pub(crate) searched: u32,
    /// The most bytes to keep without objects; none for the default.
    pub(crate) pool: Option<u64>,
    /// How long to keep them.
    pub(crate) idle: Duration,
    /// Bytes that may be taken without asking how many there are, and until when.
    pub(crate) allowance: Option<(u64, Instant)>,
    /// Whether there is a thread that gives back what is not used.
    pub(crate) is_trimmed: bool,
    /// Whether this process has left the namespace.
    pub(crate) has_left: bool,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self {
            live: BTreeMap::new(),
            free: BTreeMap::new(),
            free_bytes: 0,
            free_spilled: 0,
            spare: Vec::new(),
            looked_at: 0,
            searched: 0,
            pool: None,
            idle: Duration::from_secs(10),
            allowance: None,
            is_trimmed: false,
            has_left: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.free.is_empty()
    }

    /// How many segments have their memory mapped.
    pub(crate) fn mappings(&self) -> usize {
        let free = self.free.values().map(|(segment, _)| segment);
        let all = self.live.values().chain(free);
        all.filter(|segment| segment.mapped.is_some()).count()
    }

    /// Keeps a segment with an object.
    pub(crate) fn insert_live(&mut self, segment: Segment) {
        self.live.insert(segment.number, segment);
    }

    /// Keeps a segment without an object.
    pub(crate) fn insert_free(&mut self, segment: Segment, since: Instant) {
        self.free_bytes += segment.capacity;
        self.free_spilled += usize::from(segment.spilled);
        self.free
            .insert((segment.capacity, segment.number), (segment, since));
    }

    /// Takes out a segment with an object.
    pub(crate) fn take_live(&mut self, number: u32) -> Option<Segment> {
        self.live.remove(&number)
    }

    /// Whether there is something to give back before it has been idle for long.
    pub(crate) const fn has_excess(&self, pool: u64) -> bool {
        self.free_bytes > pool || self.free_spilled > 0
    }

    /// The mapping of an object in a segment of this process.
    pub(crate) fn mapping(&self, number: u32, generation: u32) -> Option<Arc<Mapped>> {
        let segment = self.live.get(&number)?;
        let is_same = segment.generation == generation;
        segment.mapped.clone().filter(|_| is_same)
    }

    /// Notes that the object of this generation is gone.
    pub(crate) fn note_free(&mut self, number: u32, generation: u32) {
        if let Some(segment) = self.live.get(&number)
            && segment.generation == generation
            && let Some(segment) = self.live.remove(&number)
        {
            self.insert_free(segment, Instant::now());
        }
    }

    /// Looks which objects are gone: of some segments, in turn.
    pub(crate) fn look(&mut self, control: &Control) {
        self.look_at(control, LOOKED_AT);
    }

    /// Looks which objects are gone.
    pub(crate) fn look_at_all(&mut self, control: &Control) {
        self.look_at(control, usize::MAX);
    }

    fn look_at(&mut self, control: &Control, count: usize) {
        let from_here = self.live.range(self.looked_at..).map(|(number, _)| *number);
        let from_start = self.live.range(..self.looked_at).map(|(number, _)| *number);
        let numbers = from_here.chain(from_start).take(count);
        let mut gone = Vec::new();
        let mut last = None;
        for number in numbers {
            last = Some(number);
            let Some(record) = control.segment(number) else {
                continue;
            };
            let state = record.state.load(Ordering::Acquire);
            // One that is damaged stays as it is until somebody evicts it.
            if let Ok(State {
                generation,
                phase: Phase::Free,
            }) = State::from_word(state)
            {
                gone.push((number, generation));
            }
        }
        self.looked_at = last.map_or(0, |number| number + 1);
        for (number, generation) in gone {
            self.note_free(number, generation);
        }
    }

    /// A segment without an object whose memory suits one of `len` bytes: which has enough of it,
    /// or almost, and not more than twice as much.
    pub(crate) fn take_fitting(&mut self, len: u64) -> Option<(Segment, Instant)> {
        let usable = |&(_, (segment, _)): &(_, &(Segment, Instant))| {
            !segment.spilled && segment.generation < u32::MAX
        };
        let enough = (len, 0)..=(len.saturating_mul(2), u32::MAX);
        let almost = (len - len / GROWTH, 0)..(len, 0);
        let mut enough = self.free.range(enough).filter(usable);
        let mut almost = self.free.range(almost).rev().filter(usable);
        let key = *enough.next().or_else(|| almost.next())?.0;
        self.remove_free(key)
    }

    fn remove_free(&mut self, key: (u64, u32)) -> Option<(Segment, Instant)> {
        let removed = self.free.remove(&key)?;
        self.free_bytes -= key.0;
        self.free_spilled -= usize::from(removed.0.spilled);
        Some(removed)
    }

    /// Takes out what is to be given back by now.
    pub(crate) fn take_due(&mut self, now: Instant, pool: u64) -> Vec<Segment> {
        let mut by_age: Vec<_> = self
            .free
            .iter()
            .map(|(key, (segment, since))| (*since, *key, segment.spilled))
            .collect();
        by_age.sort_unstable();
        let mut due = Vec::new();
        for (since, key, spilled) in by_age {
            if spilled || since + self.idle <= now || self.free_bytes > pool {
                due.extend(self.remove_free(key).map(|(segment, _)| segment));
            }
        }
        due
    }

    /// Takes out all that have no object.
    pub(crate) fn take_free(&mut self) -> Vec<Segment> {
        let free = mem::take(&mut self.free);
        self.free_bytes = 0;
        self.free_spilled = 0;
        free.into_values().map(|(segment, _)| segment).collect()
    }
}
