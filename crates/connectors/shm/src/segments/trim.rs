//! Giving back memory that this process does not use again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use proxystore_memory::background;

use super::{
    Shared, files,
    kept::{Kept, Segment},
    protocol,
};
use crate::{crash, error::ShmError};

/// The shortest and the longest time between two looks at what other processes have evicted.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// How long until the next look while mappings to copy from are kept.
const PAUSE_WITH_SOURCES: Duration = Duration::from_millis(500);

impl Shared {
    /// Starts the thread that gives back what is idle, unless there is one or nothing to give back.
    pub(super) fn see_to_trimming(this: &Arc<Self>) {
        {
            let mut kept = this.kept.lock();
            if kept.is_trimmed || kept.has_left {
                return;
            }
            if kept.is_empty() && this.sources.lock().is_empty() {
                return;
            }
            kept.is_trimmed = true;
        }
        // The thread keeps nothing open: it ends when nobody uses the namespace any more.
        let shared = Arc::downgrade(this);
        if let Err(error) = background("proxystore-shm", move || shared.upgrade()?.trim()) {
            tracing::warn!(%error, "no thread to give back memory");
            this.kept.lock().is_trimmed = false;
        }
    }

    /// Gives back what is idle; when to look again, unless there is nothing left.
    fn trim(&self) -> Option<Duration> {
        let _trimming = self.trimming.lock();
        let now = Instant::now();
        let due = {
            let mut kept = self.kept.lock();
            if kept.has_left {
                return None;
            }
            kept.look_at_all(self.membership.control());
            let pool = kept.pool.unwrap_or(self.pool);
            kept.take_due(now, pool)
        };
        self.give_back_all(due);
        let mut kept = self.kept.lock();
        let has_sources = self.sources.lock().expire(now);
        if kept.is_empty() && !has_sources {
            kept.is_trimmed = false;
            return None;
        }
        let pause = (kept.idle / 2).clamp(PAUSE.0, PAUSE.1);
        Some(if has_sources {
            pause.min(PAUSE_WITH_SOURCES)
        } else {
            pause
        })
    }

    /// Takes out what is too much to keep.
    pub(super) fn take_excess(&self, kept: &mut Kept) -> Vec<Segment> {
        let pool = kept.pool.unwrap_or(self.pool);
        if kept.has_excess(pool) {
            kept.take_due(Instant::now(), pool)
        } else {
            Vec::new()
        }
    }

    /// Gives back all memory without objects, and returns whether there was some.
    pub(super) fn give_back_free(&self) -> bool {
        let free = self.take_free();
        let is_some = !free.is_empty();
        self.give_back_all(free);
        is_some
    }

    /// Takes out all memory without objects, and gives up what is kept of others.
    pub(super) fn take_free(&self) -> Vec<Segment> {
        self.sources.lock().clear();
        let mut kept = self.kept.lock();
        kept.look_at_all(self.membership.control());
        kept.take_free()
    }

    pub(super) fn give_back_all(&self, segments: Vec<Segment>) {
        for segment in segments {
            self.give_back_or_warn(&segment);
        }
    }

    /// Gives back the memory of a segment, or leaves it to whoever adopts what is this process's.
    pub(super) fn give_back_or_warn(&self, segment: &Segment) {
        if let Err(error) = self.give_back(segment) {
            tracing::warn!(%error, number = segment.number, "a segment is not given back");
        }
    }

    /// Gives back the memory of a segment, of which this thread is the only one to know. Views of it
    /// stay what they are.
    pub(super) fn give_back(&self, segment: &Segment) -> Result<(), ShmError> {
        let membership = &self.membership;
        membership.add_bytes(-segment.capacity.cast_signed());
        let Some(record) = self.record(segment.number) else {
            return Ok(());
        };
        // Others take this process for dead once it has closed the files that say that it lives.
        if record.owner.load(Ordering::Acquire) != membership.id().0 {
            return Ok(());
        }
        crash::point("segments.give_back.begun");
        files::remove(membership, segment.number)?;
        crash::point("segments.give_back.removed");
        protocol::free(&record, segment.generation);
        if segment.generation < u32::MAX {
            self.kept.lock().spare.push(segment.number);
        }
        Ok(())
    }
}
