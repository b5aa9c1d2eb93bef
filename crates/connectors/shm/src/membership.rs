//! This process as a member of a namespace: what it holds on to, and who else is alive.
//!
//! * `directory`: the directory of the namespace, and whom it lets in.
//! * `entry`: getting in, and putting away a namespace that has ended; `leaving`: getting out.
//! * `identity`: the namespace's identifier, and why one is refused.
//! * `slots`: the places that members take, and who is alive in them.
//! * `pins`: what a member holds on to; `holding`: doing so, and seeing who does.
//! * `fork`: how a forked child becomes a member of its own.
//! * `accounts`: what members say of themselves; `clock`: the time.

mod accounts;
mod clock;
mod directory;
mod entry;
mod fork;
mod holding;
mod identity;
mod leaving;
mod pins;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

pub(crate) use self::{
    accounts::Member,
    directory::{Directory, Inode, Missing},
    fork::ForkedMembership,
    holding::Pin,
    leaving::Leaving,
    slots::Grave,
};
#[cfg(test)]
pub(crate) use self::{
    directory::Name,
    pins::{before_look, hold, is_held, let_go},
};
use self::{fork::Descriptors, holding::Other, pins::Mirror, slots::Seat};
use crate::{config::Options, control::Control, error::ShmError, per_process::PerProcess};

/// A process in a namespace, as records of segments and slabs name their owner: slot and
/// incarnation, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

impl MemberId {
    /// Owned by nobody.
    pub(crate) const NOBODY: Self = Self(0);
    /// Whom no record names: a process that is no member, or has left.
    const NONE: Self = Self(u64::MAX);

    const fn new(slot: u32, incarnation: u64) -> Self {
        Self(incarnation << 32 | (slot as u64 + 1))
    }

    pub(crate) const fn slot(self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lower half is the slot"
        )]
        let number = self.0 as u32;
        number.wrapping_sub(1)
    }
}

/// This process's membership in one namespace. Its connectors share it, views hold it, and a forked
/// child finds its own in the same place.
#[derive(Debug)]
pub(crate) struct Membership {
    directory: Directory,
    control: Control,
    /// Changed only under the lock of `standing`.
    mirror: Mirror,
    standing: PerProcess<Mutex<Standing>>,
    descriptors: Descriptors,
    /// Who this process is, and in which generation of forks it was that.
    id: AtomicU64,
    generation: AtomicU64,
    /// Milliseconds between uses that are noted.
    noted: AtomicU64,
    is_observer: bool,
    removed: AtomicBool,
    saw_dead: AtomicBool,
    forks: AtomicU32,
    others: PerProcess<Mutex<Vec<Option<Other>>>>,
}

/// How this process stands to the namespace.
#[derive(Debug)]
enum Standing {
    /// Forked from a member.
    Inherited,
    Member(Own),
    /// It has left, and exits.
    Left,
}

/// What makes this process a member.
#[derive(Debug)]
struct Own {
    seat: Seat,
    /// Locked shared.
    lock: File,
}

impl Membership {
    /// Joins the namespace that the options name, making it if it is not there.
    pub(crate) fn join(options: &Options) -> Result<Arc<Self>, ShmError> {
        let base = options.directory();
        let joined = Self::enter(&base, &options.namespace, Missing::Made, false)?;
        let joined = joined.ok_or_else(|| ShmError::removed(&base))?;
        joined.raise_hold(options);
        joined.touch();
        Ok(joined)
    }

    /// Joins a namespace to look after it, which does not count as a use; none if there is none.
    pub(crate) fn join_to_tend(base: &Path, name: &str) -> Result<Option<Arc<Self>>, ShmError> {
        Self::enter(base, name, Missing::Left, true)
    }

    /// Looks at a namespace without joining it, which nobody notices; none if there is none.
    pub(crate) fn observe(base: &Path, name: &str) -> Result<Option<Arc<Self>>, ShmError> {
        let Some(directory) = Directory::namespace(base, name, Missing::Left)? else {
            return Ok(None);
        };
        let Some(control) = entry::open_control(&directory)? else {
            return Ok(None);
        };
        let observer = Self::new(directory, control, true)?;
        *observer.standing.lock() = Standing::Left;
        observer.be(MemberId::NONE);
        Ok(Some(Arc::new(observer)))
    }

    fn enter(
        base: &Path,
        name: &str,
        missing: Missing,
        is_observer: bool,
    ) -> Result<Option<Arc<Self>>, ShmError> {
        let open = || Directory::namespace(base, name, missing);
        let Some(entered) = entry::enter(open, missing)? else {
            return Ok(None);
        };
        let membership = Self::new(entered.directory, entered.control, is_observer)?;
        let seat = Seat::take(
            &membership.directory,
            &membership.control,
            &membership.mirror,
            process(),
        )?;
        let lock = entered.lock;
        membership.install(&mut membership.standing.lock(), Own { seat, lock });
        Ok(Some(Arc::new(membership)))
    }

    fn new(directory: Directory, control: Control, is_observer: bool) -> Result<Self, ShmError> {
        let mirror =
            Mirror::new().map_err(ShmError::os("getting memory for pins", directory.path()))?;
        Ok(Self {
            directory,
            control,
            mirror,
            standing: PerProcess::new(|| Mutex::new(Standing::Inherited)),
            descriptors: Descriptors::new(),
            id: AtomicU64::new(MemberId::NONE.0),
            generation: AtomicU64::new(0),
            noted: AtomicU64::new(0),
            is_observer,
            removed: AtomicBool::new(false),
            saw_dead: AtomicBool::new(false),
            forks: AtomicU32::new(0),
            others: PerProcess::new(Mutex::default),
        })
    }

    /// The directory of the namespace.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) const fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(crate) const fn control(&self) -> &Control {
        &self.control
    }

    /// This process. Changes in a forked child, which owns nothing of what its parent owns.
    pub(crate) fn id(&self) -> MemberId {
        self.check().unwrap_or(MemberId::NONE)
    }

    /// This process, made a member if it was forked from one without becoming one of its own.
    ///
    /// # Errors
    ///
    /// The namespace was removed, or this process has left it, or cannot become a member.
    pub(crate) fn check(&self) -> Result<MemberId, ShmError> {
        if self.removed.load(Ordering::Relaxed) {
            return Err(ShmError::removed(self.path()));
        }
        if self.generation.load(Ordering::Acquire) == proxystore_fork::generation() {
            let id = MemberId(self.id.load(Ordering::Relaxed));
            return if id == MemberId::NONE {
                Err(ShmError::Closed)
            } else {
                Ok(id)
            };
        }
        self.as_member(|own| Ok(own.seat.id))
    }

    /// Whether this process has been forked since it was last made sure that it is a member.
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation.load(Ordering::Acquire) != proxystore_fork::generation()
    }

    fn as_member<T>(
        &self,
        act: impl FnOnce(&mut Own) -> Result<T, ShmError>,
    ) -> Result<T, ShmError> {
        let mut standing = self.standing.lock();
        if matches!(*standing, Standing::Inherited) {
            self.succeed(&mut standing)?;
        }
        match &mut *standing {
            Standing::Member(own) => act(own),
            Standing::Inherited | Standing::Left => Err(ShmError::Closed),
        }
    }

    fn be(&self, id: MemberId) {
        self.id.store(id.0, Ordering::Relaxed);
        let generation = proxystore_fork::generation();
        self.generation.store(generation, Ordering::Release);
    }

    /// Whether a member is this process or another living one.
    pub(crate) fn is_alive(&self, member: MemberId) -> bool {
        member == self.id() || slots::is_alive(&self.directory, &self.control, member)
    }

    /// Notes that a member was met that is dead; [`take_notice`](Self::take_notice) tells.
    pub(crate) fn notice_dead(&self) {
        self.saw_dead.store(true, Ordering::Relaxed);
    }

    /// Whether a dead member was met since this was last asked.
    pub(crate) fn take_notice(&self) -> bool {
        self.saw_dead.load(Ordering::Relaxed) && self.saw_dead.swap(false, Ordering::Relaxed)
    }

    /// The places of the dead, each of which nobody else sees to while it is held.
    pub(crate) fn graves(&self) -> impl Iterator<Item = Result<Grave, ShmError>> + '_ {
        let this = self.id();
        let slots = (0..slots::end(&self.control)).filter(move |&slot| slot != this.slot());
        slots.filter_map(|slot| Grave::open(&self.directory, &self.control, slot).transpose())
    }

    /// Removes what processes left that died before they had a place.
    pub(crate) fn clear_drafts(&self) -> Result<u64, ShmError> {
        slots::clear_drafts(&self.directory)
    }

    /// Makes a dead member's place free, in whose name nothing is owned any more.
    pub(crate) fn close_grave(&self, grave: Grave) -> Result<(), ShmError> {
        grave.close(&self.directory, &self.control)
    }

    /// Makes a new file in the directory of the namespace, for this user only.
    pub(crate) fn create(&self, name: &str) -> Result<File, ShmError> {
        self.directory.create(name)
    }

    /// Opens a file in the directory of the namespace, or where it leads to; none if there is no
    /// such file.
    pub(crate) fn open(&self, name: &str, writable: bool) -> Result<Option<File>, ShmError> {
        self.directory.open(name, writable)
    }

    /// Removes a file from the directory of the namespace, if it is there, and what it leads to.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ShmError> {
        self.directory.remove(name)
    }
}

fn process() -> u32 {
    rustix::process::getpid().as_raw_pid().unsigned_abs()
}
