//! The places that processes take in a namespace, who is alive in them, and what the dead leave.
//!
//! A place is taken by linking a pin file, made and locked before, to the place's name; so every
//! pin file that can be seen is locked by its process for as long as that lives. The place's
//! incarnation is odd while it is taken, and counts on with every taking and leaving.

use std::{
    collections::HashSet,
    fs::File,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, FlockOperation, flock, fstat, linkat},
    io::Errno,
};

use super::{
    MemberId,
    directory::{Directory, JOINING, Missing},
    identity,
    pins::{Mirror, PinFile},
};
use crate::{
    control::{Control, HeaderWord, PROCESSES},
    crash,
    error::ShmError,
};

/// How long to wait for those who ask whether a process is alive, which takes them microseconds.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) fn pins_name(slot: u32) -> String {
    format!("pins-{slot}")
}

/// A place that this process has taken.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) id: MemberId,
    pub(super) pins: PinFile,
}

impl Seat {
    /// Takes a place, with a pin file that says what `mirror` does. The caller has locked the
    /// namespace shared.
    pub(super) fn take(
        directory: &Directory,
        control: &Control,
        mirror: &Mirror,
        pid: u32,
    ) -> Result<Self, ShmError> {
        let joining = directory.inner(JOINING, Missing::Made)?;
        let joining = joining.ok_or_else(|| ShmError::removed(directory.path()))?;
        let draft = loop {
            if let Some(draft) = Draft::make(&joining)? {
                break draft;
            }
        };
        let seat = draft.publish(directory, control, mirror, pid);
        let removed = joining.remove(&draft.name);
        crash::point("seat.taken");
        seat.and_then(|seat| removed.map(|()| seat))
    }

    /// Gives the place back. Nothing may be owned in its name any more.
    pub(super) fn give_back(
        self,
        directory: &Directory,
        control: &Control,
    ) -> Result<(), ShmError> {
        retire(directory, control, self.id.slot())
    }
}

/// A pin file that no place has yet.
#[derive(Debug)]
struct Draft<'a> {
    joining: &'a Directory,
    name: String,
    /// Locked, and never mapped: whoever inherits a mapping keeps what was opened for it, and would
    /// keep its lock.
    file: File,
}

impl<'a> Draft<'a> {
    /// Makes and locks a pin file; none if it was taken for one that a dead process left.
    fn make(joining: &'a Directory) -> Result<Option<Self>, ShmError> {
        let name = format!("{:016x}", identity::random(joining)?);
        let file = joining.create(&name)?;
        crash::point("seat.created");
        let locked = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => fstat(&file).is_ok_and(|stat| stat.st_nlink > 0),
            Err(Errno::WOULDBLOCK | Errno::INTR) => false,
            Err(error) => {
                let path = joining.path().join(&name);
                return Err(ShmError::os("locking the pin file", &path)(error));
            }
        };
        if locked {
            return Ok(Some(Self {
                joining,
                name,
                file,
            }));
        }
        joining.remove(&name)?;
        Ok(None)
    }

    /// Takes a place with the file.
    fn publish(
        &self,
        directory: &Directory,
        control: &Control,
        mirror: &Mirror,
        pid: u32,
    ) -> Result<Seat, ShmError> {
        let path = self.joining.path().join(&self.name);
        let mapped = self.joining.open(&self.name, true)?;
        let mapped = mapped.ok_or_else(|| ShmError::removed(directory.path()))?;
        let file = self
            .file
            .try_clone()
            .map_err(ShmError::os("opening the pin file", &path))?;
        let pins = PinFile::initialise(file, &mapped, &path, mirror)?;
        crash::point("seat.made");
        let mut slot = self.link(directory, control)?;
        if slot.is_none() {
            retire_idle(directory, control);
            slot = self.link(directory, control)?;
        }
        let slot = slot.ok_or_else(|| ShmError::Full {
            reason: format!(
                "{PROCESSES} processes use the namespace {} already",
                directory.path().display()
            ),
        })?;
        crash::point("seat.linked");
        let record = control.process(slot);
        let incarnation = record.incarnation.load(Ordering::Acquire) + 1;
        pins.incarnation().store(incarnation, Ordering::Release);
        record.pid.store(pid.into(), Ordering::Relaxed);
        record.bytes.store(0, Ordering::Relaxed);
        record.reserved.store(0, Ordering::Relaxed);
        // Before the first pin, whose fence orders it against those who look for pins.
        record.incarnation.store(incarnation, Ordering::Release);
        crash::point("seat.counted");
        Ok(Seat {
            id: MemberId::new(slot, incarnation),
            pins,
        })
    }

    /// Links the file to the name of a free place; none if all are taken.
    fn link(&self, directory: &Directory, control: &Control) -> Result<Option<u32>, ShmError> {
        for slot in 0..PROCESSES {
            if is_taken(control, slot) {
                continue;
            }
            // Beforehand, so that whoever looks for pin files of the dead sees this one.
            let end = control.header(HeaderWord::ProcessesEnd);
            end.fetch_max(u64::from(slot) + 1, Ordering::AcqRel);
            let name = pins_name(slot);
            match linkat(self.joining, &self.name, directory, name, AtFlags::empty()) {
                Ok(()) => return Ok(Some(slot)),
                Err(Errno::EXIST) => {}
                Err(error) => {
                    return Err(ShmError::os("naming the pin file", directory.path())(error));
                }
            }
        }
        Ok(None)
    }
}

/// Removes the pin files that processes died over making, and says how many bytes they took.
pub(super) fn clear_drafts(directory: &Directory) -> Result<u64, ShmError> {
    let Some(joining) = directory.inner(JOINING, Missing::Left)? else {
        return Ok(0);
    };
    let mut freed = 0;
    for name in joining.names()? {
        // The living have theirs locked, or look whether it is still there once they have.
        if let Some(file) = joining.open(&name, false)?
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            freed += joining.size(&name);
            joining.remove(&name)?;
        }
    }
    Ok(freed)
}

fn is_taken(control: &Control, slot: u32) -> bool {
    control.process(slot).incarnation.load(Ordering::Acquire) % 2 == 1
}

/// One more than the largest place that was ever taken.
pub(super) fn end(control: &Control) -> u32 {
    let end = control.header(HeaderWord::ProcessesEnd);
    u32::try_from(end.load(Ordering::Acquire)).map_or(PROCESSES, |end| end.min(PROCESSES))
}

/// The members that have a place, dead or alive.
pub(super) fn members(control: &Control) -> impl Iterator<Item = MemberId> + '_ {
    (0..end(control)).filter_map(|slot| {
        let incarnation = control.process(slot).incarnation.load(Ordering::Acquire);
        (incarnation % 2 == 1).then(|| MemberId::new(slot, incarnation))
    })
}

/// Whether a member has its place still.
pub(super) fn is_current(control: &Control, member: MemberId) -> bool {
    let slot = member.slot();
    slot < PROCESSES && {
        let incarnation = control.process(slot).incarnation.load(Ordering::Acquire);
        incarnation % 2 == 1 && MemberId::new(slot, incarnation) == member
    }
}

/// Whether a member has its place still and its process is there. Whenever that cannot be found
/// out, it is: nothing is taken from the living.
pub(super) fn is_alive(directory: &Directory, control: &Control, member: MemberId) -> bool {
    if !is_current(control, member) {
        return false;
    }
    let Ok(Some(file)) = directory.open(&pins_name(member.slot()), false) else {
        return is_current(control, member);
    };
    // Shared, so that those who ask do not take each other for the living.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) if fstat(&file).is_ok_and(|stat| stat.st_nlink > 0) => false,
        _ => is_current(control, member),
    }
}

/// A place whose process is dead, which nobody else sees to.
#[derive(Debug)]
pub(crate) struct Grave {
    slot: u32,
    /// Who is dead; none if it died before it was a member.
    pub(crate) member: Option<MemberId>,
    /// The pin file, locked.
    _pins: File,
}

impl Grave {
    /// Sees to a place, if its process is dead.
    pub(super) fn open(
        directory: &Directory,
        control: &Control,
        slot: u32,
    ) -> Result<Option<Self>, ShmError> {
        let Some(pins) = directory.open(&pins_name(slot), false)? else {
            return Ok(None);
        };
        if !lock_dead(&pins) || fstat(&pins).is_ok_and(|stat| stat.st_nlink == 0) {
            return Ok(None);
        }
        let incarnation = control.process(slot).incarnation.load(Ordering::Acquire);
        let member = (incarnation % 2 == 1).then(|| MemberId::new(slot, incarnation));
        Ok(Some(Self {
            slot,
            member,
            _pins: pins,
        }))
    }

    /// Makes the place free. Nothing may be owned in its name any more.
    pub(super) fn close(self, directory: &Directory, control: &Control) -> Result<(), ShmError> {
        retire(directory, control, self.slot)
    }
}

/// Locks a dead process's pin file exclusively. Those who ask whether the process is alive, and
/// lock the file shared meanwhile, are waited for, unless it takes them so long that they must have
/// been stopped: then the place is left to the next.
fn lock_dead(pins: &File) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match flock(pins, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return true,
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                // Somebody else has it exclusively: the living process, or whoever sees to it.
                if flock(pins, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) {
                    return false;
                }
                // Two who wait for each other's shared locks would wait for long.
                let _ = flock(pins, FlockOperation::Unlock);
                thread::yield_now();
            }
            Err(_) => return false,
        }
    }
    false
}

/// Makes a place free, whose pin file the caller has locked.
fn retire(directory: &Directory, control: &Control, slot: u32) -> Result<(), ShmError> {
    let record = control.process(slot);
    record.bytes.store(0, Ordering::Relaxed);
    record.reserved.store(0, Ordering::Relaxed);
    record.pid.store(0, Ordering::Relaxed);
    let incarnation = record.incarnation.load(Ordering::Acquire);
    if incarnation % 2 == 1 {
        record.incarnation.store(incarnation + 1, Ordering::Release);
    }
    crash::point("retire.counted");
    // Last: while the file is there, the place is nobody else's.
    directory.remove(&pins_name(slot))?;
    crash::point("retire.removed");
    Ok(())
}

/// Makes the places of the dead free that owned nothing.
pub(super) fn retire_idle(directory: &Directory, control: &Control) {
    let dead: HashSet<MemberId> = members(control)
        .filter(|&member| !is_alive(directory, control, member))
        .collect();
    // After their deaths, so that none of them comes to own anything more.
    let owners: HashSet<MemberId> = control.owners().map(MemberId).collect();
    for &member in dead.difference(&owners) {
        // What cannot be put away now is tried again by the next.
        if let Ok(Some(grave)) = Grave::open(directory, control, member.slot())
            && grave.member == Some(member)
        {
            let _ = grave.close(directory, control);
        }
    }
}
