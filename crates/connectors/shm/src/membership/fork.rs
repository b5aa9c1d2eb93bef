//! How a forked child becomes a member of its own, with or without being told of the fork.
//!
//! A child that is told finds a pin file and locks that its parent made for it, so that there is no
//! instant at which what both hold on to is not pinned for both. One that is not (`clone(2)` without
//! the handlers of the C library) makes its own at its first call; until then the parent's pins are
//! all that protects it.

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicI32, Ordering},
    },
};

use rustix::fs::FlockOperation;

use super::{
    Membership, Own, Standing,
    directory::Missing,
    entry, pins, process,
    slots::{Grave, Seat, retire_idle},
};
use crate::{
    crash,
    error::ShmError,
    mutants::{Mutant, is_active},
};

/// After so many forks, the places of dead children are seen to.
const FORKS: u32 = 32;

/// A membership in the middle of a fork: nobody pins or unpins until one of the two is told.
#[derive(Debug)]
pub(crate) struct ForkedMembership {
    /// What makes the child a member; none if it cannot be made one beforehand.
    heir: Option<Own>,
    /// Borrows from `membership`, so it is dropped before.
    standing: MutexGuard<'static, Standing>,
    membership: Arc<Membership>,
}

impl ForkedMembership {
    /// Before the fork: makes the child a member that holds on to what this process does.
    pub(crate) fn prepare(membership: Arc<Membership>) -> Self {
        let standing = membership.standing.lock();
        // SAFETY: the lock lives in the membership, which the new value owns a share of and, by the
        // order of its fields, gives up after the guard.
        let standing: MutexGuard<'static, Standing> = unsafe { std::mem::transmute(standing) };
        let mut heir = None;
        if let Standing::Member(own) = &*standing
            && !is_active(Mutant::NoHeir)
        {
            heir = membership.new_own(0).ok();
            if heir.is_none() {
                membership.hold_for_good(own);
            }
        }
        crash::point("fork.prepared");
        Self {
            heir,
            standing,
            membership,
        }
    }

    /// After the fork, in the parent: gives up what is the child's. The membership is returned, to
    /// be dropped where that does no harm.
    pub(crate) fn in_parent(self) -> Arc<Membership> {
        let Self {
            heir,
            standing,
            membership,
        } = self;
        drop(standing);
        if let Some(Own { seat, lock }) = heir {
            let slot = seat.id.slot();
            drop((seat, lock));
            let (directory, control) = (&membership.directory, &membership.control);
            let is_unborn = || control.process(slot).pid.load(Ordering::Acquire) == 0;
            // No process was made, or it did not live to be told.
            if is_unborn()
                && let Ok(Some(grave)) = Grave::open(directory, control, slot)
                && is_unborn()
            {
                let _ = grave.close(directory, control);
            }
            // Children that run another program leave their places without a word.
            if membership.forks.fetch_add(1, Ordering::Relaxed) % FORKS == FORKS - 1 {
                retire_idle(directory, control);
                membership.notice_dead();
            }
        }
        membership
    }

    /// After the fork, in the child: takes over what was made for it.
    pub(crate) fn in_child(self) -> Arc<Membership> {
        let Self {
            heir,
            mut standing,
            membership,
        } = self;
        // Closes the descriptors of the parent's locks, which stay locked by the parent.
        if let Standing::Member(own) = &mut *standing {
            own.seat.pins.forget_lock();
            let inherited = std::mem::replace(&mut *standing, Standing::Inherited);
            if is_active(Mutant::KeptLocks) {
                std::mem::forget(inherited);
            }
            membership.descriptors.clear();
        }
        drop(standing);
        crash::point("fork.child");
        if let Some(own) = heir {
            let record = membership.control.process(own.seat.id.slot());
            record.pid.store(process().into(), Ordering::Release);
            let mut standing = membership.standing.lock();
            membership.install(&mut standing, own);
        }
        membership
    }
}

impl Membership {
    /// What makes this process, or the child that it is about to have, a member that holds on to
    /// what this process does.
    fn new_own(&self, pid: u32) -> Result<Own, ShmError> {
        let busy = || ShmError::removed(self.path());
        let lock = entry::open_lock(&self.directory, Missing::Left)?.ok_or_else(busy)?;
        let operation = FlockOperation::NonBlockingLockShared;
        // Cannot fail while another member of this family of processes lives.
        if !entry::try_lock(&self.directory, &lock, operation)?
            || !entry::is_at_its_place(&self.directory, &lock)
        {
            return Err(busy());
        }
        let seat = Seat::take(&self.directory, &self.control, &self.mirror, pid)?;
        Ok(Own { seat, lock })
    }

    /// Makes this process a member, which was forked from one without being told.
    pub(super) fn succeed(&self, standing: &mut Standing) -> Result<(), ShmError> {
        let own = self.new_own(process())?;
        self.descriptors.close();
        self.install(standing, own);
        Ok(())
    }

    pub(super) fn install(&self, standing: &mut Standing, mut own: Own) {
        own.seat.pins.keep_locked();
        self.descriptors.set(&own);
        self.be(own.seat.id);
        *standing = Standing::Member(own);
    }

    /// Never gives up what is held on to now, since a child that could not be made a member may look
    /// at it for as long as it lives; and while it does, it keeps this process's locks.
    fn hold_for_good(&self, own: &Own) {
        for segment in 0..self.mirror.end() {
            if self.mirror.count(segment) > 0
                && let Some(word) = own.seat.pins.count(segment)
            {
                pins::hold(word, self.mirror.add(segment).into());
            }
        }
    }
}

/// The numbers of the descriptors of this process's locks, for a child that finds itself forked and
/// must not go by what threads of its parent were doing to the locks' owner.
#[derive(Debug)]
pub(super) struct Descriptors([AtomicI32; 2]);

const NONE: i32 = -1;

impl Descriptors {
    pub(super) const fn new() -> Self {
        Self([AtomicI32::new(NONE), AtomicI32::new(NONE)])
    }

    pub(super) fn set(&self, own: &Own) {
        self.0[0].store(own.lock.as_raw_fd(), Ordering::Relaxed);
        self.0[1].store(own.seat.pins.as_raw_fd(), Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        for number in &self.0 {
            number.store(NONE, Ordering::Relaxed);
        }
    }

    /// Closes what was inherited. The locks stay with the parent.
    pub(super) fn close(&self) {
        for number in &self.0 {
            let number = number.swap(NONE, Ordering::Relaxed);
            if number >= 0 {
                // SAFETY: the number is of a descriptor that the parent opened and this process
                // inherited; its owner here is the inherited standing, which is never used or
                // dropped.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
}
