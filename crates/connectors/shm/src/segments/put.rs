//! How an object gets into a segment, at best into memory that is there.

use std::{fs::File, sync::Arc};

use proxystore_core::Payload;
use rustix::{
    io::Errno,
    mm::{Advice, madvise},
    param::page_size,
};

use super::{
    Shared, files,
    fill::Target,
    kept::Segment,
    object::Object,
    protocol::{self, Recycled},
};
use crate::{
    config::Options,
    crash,
    error::ShmError,
    key::{Place, Reference},
    mapped::{Inheritance, Mapped},
    membership::Inode,
};

/// How many segments are tried before fresh memory is taken, as views keep some from being used.
const TRIED: usize = 16;
/// How many segments stay mapped. A process has some 65,000 mappings, of which views need most.
const MAPPED: usize = 1 << 12;

/// The bytes that a mapping of `capacity` has, so that its file can become a little longer.
pub(super) fn room(capacity: u64) -> u64 {
    capacity.saturating_add(capacity / 8).max(1)
}

/// A segment that this thread writes to: given back unless it is published.
pub(super) struct Draft<'a> {
    pub(super) shared: &'a Shared,
    /// None once it is published.
    pub(super) segment: Option<Segment>,
}

impl Draft<'_> {
    fn publish(mut self, len: u64, ticket: u64) -> Option<Reference> {
        let mut segment = self.segment.take()?;
        let (number, generation) = (segment.number, segment.generation);
        let record = self.shared.record(number)?;
        let object = Object {
            len,
            capacity: segment.capacity.max(len),
            spilled: segment.spilled,
            ticket,
            put: self.shared.membership.touch(),
        };
        if segment
            .mapped
            .as_ref()
            .is_some_and(|mapped| (mapped.len() as u64) < segment.capacity)
        {
            segment.mapped = None;
        }
        crash::point("segments.put.written");
        protocol::publish(&record, generation, &object.to_fields(generation));
        crash::point("segments.put.live");
        self.shared.kept.lock().insert_live(segment);
        let place = Place::Segment(number);
        Some(Reference { place, generation })
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(segment) = self.segment.take() {
            self.shared.give_back_or_warn(&segment);
        }
    }
}

impl Shared {
    pub(super) fn put(
        &self,
        payload: &Payload<'_>,
        ticket: u64,
        options: &Options,
    ) -> Result<Reference, ShmError> {
        let len = payload.len() as u64;
        {
            let mut kept = self.kept.lock();
            kept.pool = options.pool;
            kept.idle = options.idle;
            kept.look(self.membership.control());
        }
        let draft = match self.recycle(payload, options) {
            Some(draft) => draft,
            None => self.take_fresh(payload, options)?,
        };
        draft.publish(len, ticket).ok_or(ShmError::Corrupted {
            problem: "its place is gone",
        })
    }

    /// Writes an object into memory that this process has used before, if there is some.
    fn recycle(&self, payload: &Payload<'_>, options: &Options) -> Option<Draft<'_>> {
        let len = payload.len() as u64;
        let membership = &self.membership;
        let mut pinned = Vec::new();
        let mut written = None;
        for _ in 0..TRIED {
            let fitting = self.kept.lock().take_fitting(len);
            let Some((mut segment, since)) = fitting else {
                break;
            };
            let number = segment.number;
            let Some(record) = self.record(number) else {
                continue;
            };
            let is_pinned = || membership.is_pinned(number);
            match protocol::try_recycle(&record, membership.id(), segment.generation, is_pinned) {
                Recycled::Pinned => pinned.push((segment, since)),
                // Somebody takes this process for dead, or the record is damaged.
                Recycled::Lost => membership.add_bytes(-segment.capacity.cast_signed()),
                Recycled::Writing(generation) => {
                    crash::point("segments.recycle.writing");
                    segment.generation = generation;
                    let mut draft = Draft {
                        shared: self,
                        segment: Some(segment),
                    };
                    match self.refill(&mut draft, payload, options) {
                        Ok(()) => {
                            written = Some(draft);
                            break;
                        }
                        // Whatever is wrong with this memory, there is other.
                        Err(error) => tracing::warn!(%error, number, "a segment is given up"),
                    }
                }
            }
        }
        let mut kept = self.kept.lock();
        for (segment, since) in pinned {
            kept.insert_free(segment, since);
        }
        written
    }

    /// Writes an object into the memory of a draft, and beyond its end.
    fn refill(
        &self,
        draft: &mut Draft<'_>,
        payload: &Payload<'_>,
        options: &Options,
    ) -> Result<(), ShmError> {
        let Some(segment) = &mut draft.segment else {
            return Ok(());
        };
        let membership = &self.membership;
        let len = payload.len() as u64;
        let path = membership.path();
        let number = segment.number;
        let is_whole = |&(inode, len): &(Inode, u64)| {
            len >= segment.capacity && segment.inode.is_none_or(|known| known == inode)
        };
        let there = files::identify(membership, number);
        let Some((inode, _)) = there.filter(is_whole) else {
            return Err(ShmError::Corrupted {
                problem: "its file is not what this process left",
            });
        };
        segment.inode = Some(inode);
        let open = || -> Result<File, ShmError> {
            let file = files::open(membership, number, None, true)?;
            file.ok_or(ShmError::Corrupted {
                problem: "its file is gone",
            })
        };
        if segment.mapped.is_none() && self.kept.lock().mappings() < MAPPED {
            segment.mapped = map(&open()?, segment.capacity);
        }
        // What is beyond it has no pages in the mapping yet; writing to it is faster by write(2).
        let warm = usize::try_from(segment.capacity).unwrap_or(0);
        let mut file = None;
        let mut allotment = None;
        if len > segment.capacity {
            let growth = whole_pages(len) - segment.capacity;
            allotment = Some(self.allot(growth, options.budget)?);
            file = Some(open()?);
        }
        let target = match &segment.mapped {
            Some(mapped) => Target::of_mapped(Arc::clone(mapped), warm, file),
            None => Target::of_file(file.map_or_else(open, Ok)?),
        };
        let mut taken = |bytes| {
            if let Some(allotment) = &mut allotment {
                allotment.given(bytes);
            }
        };
        target
            .fill(payload, &mut taken)
            .map_err(ShmError::os("writing an object", path))?;
        if let Some(allotment) = allotment {
            crash::point("segments.recycle.grown");
            segment.capacity = target
                .end_at_page()
                .map_err(ShmError::os("sizing a segment", path))?
                .unwrap_or(segment.capacity);
            allotment.keep();
        }
        Ok(())
    }
}

/// Maps memory that is there, for this process to write to, and looks its pages up; none where the
/// system has no mapping left.
fn map(file: &File, capacity: u64) -> Option<Arc<Mapped>> {
    let len = usize::try_from(room(capacity)).ok()?;
    let mapped = Mapped::new(file, len, Inheritance::Private).ok()?;
    let there = usize::try_from(capacity).ok()?.min(len);
    // Looking pages up one by one, when they are written to, takes twice as long as all at once.
    // SAFETY: the range lies within the mapping; reading pages changes no byte.
    let outcome = unsafe { madvise(mapped.as_ptr().cast(), there, Advice::LinuxPopulateRead) };
    // Linux before 5.14 does not know how; else the file has no such pages.
    matches!(
        outcome,
        Ok(()) | Err(Errno::INVAL | Errno::INTR | Errno::AGAIN)
    )
    .then(|| Arc::new(mapped))
}

pub(super) fn whole_pages(len: u64) -> u64 {
    len.next_multiple_of(page_size() as u64)
}
