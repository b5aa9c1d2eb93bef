//! Giving back slabs that this process does not use again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use proxystore_limits::Machine;
use proxystore_memory::background;
use rustix::time::{ClockId, clock_gettime};

use super::{Local, Slabs, owned::Owned, record::Made, shape::Class, slab};
use crate::{crash, error::ShmError};

/// The shortest and the longest time between two looks for what is idle.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

impl Slabs {
    /// Gives back the slabs of this process that have held nothing for so long, but for one of each
    /// class, and the mappings of slabs that are gone.
    pub(crate) fn trim(&self, idle: Duration) -> Result<(), ShmError> {
        let (local, now) = (self.local(), now());
        for class in Class::all() {
            let mut is_one_kept = false;
            self.give_back_empty(local, class, |empty_since| {
                let goes = is_one_kept && now.saturating_sub(empty_since) >= idle;
                is_one_kept = true;
                goes
            })?;
        }
        local.table.retain(|slab| slab.is_current(&self.membership));
        Ok(())
    }

    /// Starts the thread that gives back what is idle, unless there is one.
    pub(super) fn see_to_trimming(&self, local: &Local) {
        if local.is_trimmed.swap(true, Ordering::AcqRel) {
            return;
        }
        // The thread keeps nothing open: it ends when nobody uses the namespace any more.
        let (membership, shared) = (
            Arc::downgrade(&self.membership),
            Arc::downgrade(&self.local),
        );
        let trim = move || {
            let slabs = Self {
                membership: membership.upgrade()?,
                local: shared.upgrade()?,
                machine: Machine::default(),
            };
            slabs.trim_idle()
        };
        if let Err(error) = background("proxystore-shm", trim) {
            tracing::warn!(%error, "no thread to give back memory");
            local.is_trimmed.store(false, Ordering::Release);
        }
    }

    /// Gives back what is idle; when to look again, unless there is nothing to give back.
    fn trim_idle(&self) -> Option<Duration> {
        let local = self.local();
        let idle = Duration::from_millis(local.idle.load(Ordering::Relaxed));
        if let Err(error) = self.trim(idle) {
            tracing::warn!(%error, "a slab is not given back");
        }
        let has_more = || Class::all().any(|class| local.lock(class).slabs.len() > 1);
        if !has_more() {
            local.is_trimmed.store(false, Ordering::Release);
            // Whoever made one meanwhile has seen this thread, or is seen by it.
            if !has_more() || local.is_trimmed.swap(true, Ordering::AcqRel) {
                return None;
            }
        }
        Some((idle / 2).clamp(PAUSE.0, PAUSE.1))
    }

    /// Gives back the slabs of this process that hold nothing. The others stay its own, for whoever
    /// adopts them.
    pub(crate) fn leave(&self) -> Result<(), ShmError> {
        let local = self.local();
        for class in Class::all() {
            self.give_back_empty(local, class, |_| true)?;
            *local.lock(class) = Owned::default();
        }
        Ok(())
    }

    /// Gives back the slabs of a class without objects that `goes` says so of, given since when they
    /// are known to have none.
    fn give_back_empty(
        &self,
        local: &Local,
        class: Class,
        mut goes: impl FnMut(Duration) -> bool,
    ) -> Result<(), ShmError> {
        let (now, mut index) = (now(), 0);
        loop {
            // Locked for each slab anew, as putting threads wait meanwhile.
            let mut owned = local.lock(class);
            let Some(own) = owned.slabs.get_mut(index) else {
                return Ok(());
            };
            let used = local
                .table
                .with(own.number, |slab| slab.tally(|_| ()).used > 0);
            own.empty_since = match used {
                Some(false) => Some(own.empty_since.unwrap_or(now)),
                _ => None,
            };
            if own.empty_since.is_some_and(&mut goes) {
                let number = own.number;
                owned.remove(index);
                self.give_back(local, number)?;
            } else {
                index += 1;
            }
        }
    }

    /// Gives back a slab of this process without objects. Its class is locked, so nobody takes a
    /// cell.
    fn give_back(&self, local: &Local, number: u32) -> Result<(), ShmError> {
        let record = self.record(number)?;
        let last = local.table.with(number, |slab| {
            let shape = slab.shape();
            let base = slab.tally(|_| ()).latest;
            (slab.generation(), slab.len(), Made { shape, base })
        });
        // Others take this process for dead once it has closed the files that say that it lives.
        let Some((generation, len, made)) = last.filter(|_| record.owner() == self.membership.id())
        else {
            return Ok(());
        };
        record.withdraw(generation, Some(made));
        local.table.remove(number, generation);
        self.membership.remove(&slab::name(number))?;
        crash::point("slab.removed");
        record.disown();
        self.membership.add_bytes(-(len as u64).cast_signed());
        Ok(())
    }
}

/// Time that passes evenly.
fn now() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or_default()
}
