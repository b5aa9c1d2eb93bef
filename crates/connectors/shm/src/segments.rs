//! Large objects: one file each, mapped by whoever gets them.
//!
//! * `protocol`: how processes agree on what a segment is used for.
//! * `object`: what its record says of the object in it.
//! * `files`: the files behind segments.
//! * `put`: how an object gets into one, at best into memory that is there; `fresh`: into fresh
//!   memory, or to a disk; `allot`: how much of it there is.
//! * `fill`: copying it in; `summing`: and summing what was stored.
//! * `view`: how it is got.
//! * `kept`: the segments of this process, and which of them it uses again.
//! * `trim`: giving back those that it does not; `usage`: what all of them take.
//! * `sources`: mappings of segments that were copied from lately.

mod allot;
mod files;
mod fill;
mod fresh;
mod kept;
#[cfg(test)]
mod model;
mod object;
mod protocol;
mod put;
mod sources;
mod summing;
#[cfg(test)]
mod tests;
mod trim;
mod usage;
mod view;

use std::sync::{Arc, Mutex, atomic::Ordering};

use proxystore_core::{Memory, Payload};
use proxystore_limits::{self as limits, Machine};
use rustix::io::Errno;

use self::{
    kept::{Kept, Segment},
    object::Object,
    protocol::Adopted,
    sources::Sources,
};
use crate::{
    config::Options,
    control::SegmentRecord,
    crash,
    error::ShmError,
    key::{Place, Reference},
    membership::{MemberId, Membership},
    per_process::PerProcess,
    word::{DamagedWord, Phase, State},
};

/// The part of the file system that a process's segments without objects take at most.
const POOL: u64 = 4;

/// The segments of a namespace, and those of this process that it uses again.
#[derive(Debug)]
pub(crate) struct Segments {
    shared: Arc<Shared>,
}

/// What the trimming thread uses as well.
#[derive(Debug)]
struct Shared {
    membership: Arc<Membership>,
    kept: PerProcess<Mutex<Kept>>,
    sources: PerProcess<Mutex<Sources>>,
    /// Held while the trimming thread looks and gives back.
    trimming: PerProcess<Mutex<()>>,
    machine: Machine,
    /// The most bytes without objects that are kept if nobody says how many.
    pool: u64,
}

/// What there is at a reference.
#[derive(Debug)]
pub(crate) struct Found<T> {
    /// The object, or what was asked about it.
    pub(crate) object: T,
    /// The word of the deferred key that it was put for, or zero.
    pub(crate) ticket: u64,
}

impl Segments {
    pub(crate) fn new(membership: Arc<Membership>) -> Self {
        Self::on(membership, Machine::default())
    }

    fn on(membership: Arc<Membership>, machine: Machine) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool: limits::size(membership.path()) / POOL,
                membership,
                kept: PerProcess::new(|| Mutex::new(Kept::new())),
                sources: PerProcess::new(Mutex::default),
                trimming: PerProcess::new(Mutex::default),
                machine,
            }),
        }
    }

    /// Keeps no more for the next puts than these options allow, until others are put with.
    pub(crate) fn follow(&self, options: &Options) {
        let mut kept = self.shared.kept.lock();
        kept.pool = options.pool;
        kept.idle = options.idle;
    }

    /// Puts an object for the ticket of this word, or for none if it is zero.
    pub(crate) fn put(
        &self,
        payload: &Payload<'_>,
        ticket: u64,
        options: &Options,
    ) -> Result<Reference, ShmError> {
        let reference = self.shared.put(payload, ticket, options)?;
        Shared::see_to_trimming(&self.shared);
        Ok(reference)
    }

    /// A private, writable view of an object; a copy where the kernel has no mapping for it.
    pub(crate) fn get(
        &self,
        number: u32,
        generation: u32,
    ) -> Result<Option<Found<Memory>>, ShmError> {
        let Some((pin, opened)) = self.shared.open(number, generation)? else {
            return Ok(None);
        };
        let ticket = opened.object.ticket;
        let object = match opened.map() {
            Ok((mapping, counted)) => Memory::guarded(mapping, Box::new((pin, counted))),
            Err(error) if error.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) => {
                tracing::debug!(len = opened.len, "no mapping for a view, so it is a copy");
                opened.read()?
            }
            Err(error) => {
                let path = self.shared.membership.path();
                return Err(ShmError::os("mapping an object", path)(error));
            }
        };
        Ok(Some(Found { object, ticket }))
    }

    /// A copy of an object in private memory, which is faster to write to all over.
    pub(crate) fn get_copy(
        &self,
        number: u32,
        generation: u32,
    ) -> Result<Option<Found<Memory>>, ShmError> {
        let shared = &self.shared;
        let Some((_pin, opened)) = shared.open(number, generation)? else {
            return Ok(None);
        };
        let object = shared.copy(number, generation, &opened)?;
        Shared::see_to_trimming(shared);
        let ticket = opened.object.ticket;
        Ok(Some(Found { object, ticket }))
    }

    pub(crate) fn exists(
        &self,
        number: u32,
        generation: u32,
    ) -> Result<Option<Found<()>>, ShmError> {
        let Some(record) = self.shared.record(number) else {
            return Ok(None);
        };
        let Some(fields) = protocol::fields(&record, generation)? else {
            return Ok(None);
        };
        let ticket = Object::from_fields(&fields, generation)?.ticket;
        Ok(Some(Found { object: (), ticket }))
    }

    /// Makes an object be gone. Its memory is used again by its owner, or given back.
    pub(crate) fn evict(&self, number: u32, generation: u32) -> Result<(), ShmError> {
        let shared = &self.shared;
        let Some(record) = shared.record(number) else {
            return Ok(());
        };
        let is_evicted = match protocol::evict(record.state, generation) {
            Ok(is_evicted) => is_evicted,
            Err(damaged) => evict_damaged(&record, generation, damaged)?,
        };
        if !is_evicted {
            return Ok(());
        }
        crash::point("segments.evict.free");
        let membership = &shared.membership;
        let owner = MemberId(record.owner.load(Ordering::Acquire));
        if owner == membership.id() {
            let due = {
                let mut kept = shared.kept.lock();
                kept.note_free(number, generation);
                shared.take_excess(&mut kept)
            };
            shared.give_back_all(due);
        } else if !membership.is_alive(owner) {
            membership.notice_dead();
            self.adopt_one(number, owner)?;
        }
        Ok(())
    }

    /// Takes over the segments of a dead process: keeps its objects and frees the rest.
    pub(crate) fn adopt(&self, dead: MemberId) -> Result<(), ShmError> {
        if dead == MemberId::NOBODY || dead == self.shared.membership.id() {
            return Ok(());
        }
        for number in 0..self.shared.membership.control().segments_end() {
            self.adopt_one(number, dead)?;
        }
        Shared::see_to_trimming(&self.shared);
        Ok(())
    }

    fn adopt_one(&self, number: u32, dead: MemberId) -> Result<(), ShmError> {
        let shared = &self.shared;
        let membership = &shared.membership;
        let Some(record) = shared.record(number) else {
            return Ok(());
        };
        let remove = || {
            crash::point("segments.adopt.claimed");
            files::remove(membership, number)?;
            crash::point("segments.adopt.removed");
            Ok::<_, ShmError>(())
        };
        match protocol::adopt(&record, dead, membership.id(), remove)? {
            Adopted::NotTheirs => {}
            Adopted::Freed => shared.kept.lock().spare.push(number),
            Adopted::Live(generation) => {
                crash::point("segments.adopt.live");
                shared.keep_adopted(number, generation);
            }
        }
        Ok(())
    }

    /// Evicts every object of the namespace.
    pub(crate) fn clear(&self) -> Result<(), ShmError> {
        let control = self.shared.membership.control();
        for number in 0..control.segments_end() {
            let Some(record) = self.shared.record(number) else {
                break;
            };
            match State::from_word(record.state.load(Ordering::Acquire)) {
                Ok(State {
                    generation,
                    phase: Phase::Live,
                }) => self.evict(number, generation)?,
                Ok(_) => {}
                Err(DamagedWord(_)) => self.shared.retire_damaged(number, &record),
            }
        }
        Ok(())
    }

    /// Gives back what this process keeps for its next puts. Objects stay.
    pub(crate) fn leave(&self) -> Result<(), ShmError> {
        let shared = &self.shared;
        // From here on the trimming thread touches nothing: what this process leaves is adopted.
        let _trimming = shared.trimming.lock();
        shared.kept.lock().has_left = true;
        let free = shared.take_free();
        let outcomes = free.iter().map(|segment| shared.give_back(segment));
        outcomes.fold(Ok(()), Result::and)
    }

    /// The objects of a process that were put for deferred keys, and the words of their tickets.
    ///
    /// If the process is dead, an object that its ticket does not name is an orphan: nobody is going
    /// to let the ticket name it.
    pub(crate) fn tickets(&self, owner: MemberId) -> Vec<(Reference, u64)> {
        self.deferred(|theirs, _| theirs == owner)
    }

    /// The same of all processes, for objects that were put before a time: milliseconds, as
    /// [`Membership::touch`] has them.
    pub(crate) fn tickets_before(&self, time: u64) -> Vec<(Reference, u64)> {
        self.deferred(|_, put| put < time)
    }

    /// The objects that were put for deferred keys, of which `select` selects by their owner and
    /// the time at which they were put.
    fn deferred(&self, select: impl Fn(MemberId, u64) -> bool) -> Vec<(Reference, u64)> {
        let control = self.shared.membership.control();
        let ticketed = |number| {
            let record = self.shared.record(number)?;
            let owner = MemberId(record.owner.load(Ordering::Acquire));
            let state = State::from_word(record.state.load(Ordering::Acquire)).ok()?;
            let generation = state.generation;
            let fields = protocol::fields(&record, generation).ok()??;
            let object = Object::from_fields(&fields, generation).ok()?;
            let place = Place::Segment(number);
            let is_selected = object.ticket != 0 && select(owner, object.put);
            is_selected.then_some((Reference { place, generation }, object.ticket))
        };
        (0..control.segments_end()).filter_map(ticketed).collect()
    }
}

/// Evicts the object of a damaged state word, if the rest of the record says that it is that one.
fn evict_damaged(
    record: &SegmentRecord<'_>,
    generation: u32,
    damaged: DamagedWord,
) -> Result<bool, ShmError> {
    Object::from_fields(&protocol::load_fields(record), generation)?;
    let free = State::new(generation, Phase::Free).to_word();
    let outcome =
        record
            .state
            .compare_exchange(damaged.0, free, Ordering::AcqRel, Ordering::Acquire);
    Ok(outcome.is_ok())
}

impl Shared {
    fn record(&self, number: u32) -> Option<SegmentRecord<'_>> {
        self.membership.control().segment(number)
    }

    /// Keeps the segment of an object that a dead process put.
    fn keep_adopted(&self, number: u32, generation: u32) {
        // The file says how much memory there is, whatever has become of the record.
        let found = files::identify(&self.membership, number);
        let capacity = found.map_or(0, |(_, len)| len);
        // What is no file of the namespace is a link to one.
        self.membership.add_bytes(capacity.cast_signed());
        self.kept.lock().insert_live(Segment {
            number,
            generation,
            capacity,
            spilled: found.is_none(),
            mapped: None,
            inode: None,
        });
    }

    /// Frees a segment of this process whose state nobody can read any more.
    fn retire_damaged(&self, number: u32, record: &SegmentRecord<'_>) {
        if record.owner.load(Ordering::Acquire) != self.membership.id().0 {
            return;
        }
        let segment = self.kept.lock().take_live(number);
        if let Some(mut segment) = segment {
            // Which generations there have been is lost with the word, so there can be no more.
            segment.generation = u32::MAX;
            self.give_back_or_warn(&segment);
        }
    }
}
