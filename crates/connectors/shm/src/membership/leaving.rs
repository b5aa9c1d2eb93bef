//! Leaving a namespace, and ending it.

use std::{fs::File, sync::atomic::Ordering};

use super::{
    MemberId, Membership, Own, Standing, clock,
    directory::{self, Name},
    entry, process,
    slots::Seat,
};
use crate::{
    crash,
    mutants::{Mutant, is_active},
};

/// What becomes of a process that leaves a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It goes on, and no thread of it uses the namespace.
    Stays,
    /// It exits, maybe with threads that go on for a moment.
    Exits,
}

impl Membership {
    /// Leaves the namespace, unless there are views. If there are, this process becomes another
    /// member, who holds on to the same but owns nothing: what it owned is then a dead member's, and
    /// goes to whoever adopts it. For when the last connector has gone.
    pub(crate) fn give_up(&self) {
        {
            let mut standing = self.standing.lock();
            if let Standing::Member(own) = &mut *standing
                && !self.mirror.is_empty()
            {
                return self.replace_seat(own);
            }
        }
        self.leave(Leaving::Stays);
    }

    fn replace_seat(&self, own: &mut Own) {
        // Should it fail, what is owned stays owned for as long as there are views.
        if let Ok(mut seat) = Seat::take(&self.directory, &self.control, &self.mirror, process()) {
            seat.pins.keep_locked();
            self.be(seat.id);
            let old = std::mem::replace(&mut own.seat, seat);
            self.descriptors.set(own);
            self.vacate(old);
        }
    }

    /// Leaves the namespace, and ends it if nothing shall outlive its last process. What this
    /// process still owns is then a dead member's.
    pub(crate) fn leave(&self, leaving: Leaving) {
        let mut standing = self.standing.lock();
        match &*standing {
            Standing::Member(_) => {}
            Standing::Inherited => return self.descriptors.close(),
            Standing::Left => return,
        }
        if !self.is_observer {
            self.note(clock::now());
        }
        crash::point("leave.noted");
        if leaving == Leaving::Exits && (!self.mirror.is_empty() || self.owns_anything()) {
            // Other threads may be at it still. The locks go when the process does.
            if let Standing::Member(own) = &*standing {
                self.end_if_alone(&own.lock);
            }
            return;
        }
        if let Standing::Member(Own { seat, lock }) =
            std::mem::replace(&mut *standing, Standing::Left)
        {
            self.descriptors.clear();
            self.be(MemberId::NONE);
            self.vacate(seat);
            crash::point("leave.vacated");
            self.end_if_alone(&lock);
        }
    }

    /// Gives a place back, or leaves it to whoever adopts what is owned in its name.
    fn vacate(&self, seat: Seat) {
        if self.owned_by(seat.id) {
            return;
        }
        if let Err(error) = seat.give_back(&self.directory, &self.control) {
            tracing::debug!(%error, "the place in the namespace is left to others");
        }
    }

    fn owns_anything(&self) -> bool {
        self.owned_by(MemberId(self.id.load(Ordering::Relaxed)))
    }

    fn owned_by(&self, member: MemberId) -> bool {
        self.control.owners().any(|owner| owner == member.0)
    }

    /// Sweeps the namespace, if it ends with its last process and this is that.
    fn end_if_alone(&self, lock: &File) {
        if is_active(Mutant::UnlinkLock) {
            let names = self.directory.names().unwrap_or_default();
            if !names
                .iter()
                .any(|name| matches!(Name::parse(name), Name::Pins(_)))
            {
                let _ = self.directory.remove(directory::LOCK);
            }
        }
        if !entry::has_expired(&self.control) {
            return;
        }
        if let Ok(true) = entry::lock_exclusively(&self.directory, lock)
            && entry::is_at_its_place(&self.directory, lock)
        {
            crash::point("leave.exclusive");
            if let Err(error) = entry::sweep(&self.directory) {
                tracing::debug!(%error, "the namespace is left to be swept by others");
            }
            let _ = entry::unlock(lock);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave(Leaving::Stays);
    }
}
