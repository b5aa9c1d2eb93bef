//! How a process gets into a namespace, and how one that has ended is put away.
//!
//! Members hold the lock file shared for as long as they are members. Whoever gets it exclusively
//! is alone, and alone may remove files that nobody owns or make a new control file. The lock file
//! is never removed by us; as others may remove anything, a lock counts only if its file is still
//! at its place once it is held.

use std::{
    fs::File,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock, fstat, renameat},
    io::Errno,
};

use super::{
    clock,
    directory::{CONTROL, Directory, Inode, LOCK, Missing, NEW_CONTROL, Name},
    identity, slots,
};
use crate::{
    control::{Control, HeaderWord},
    crash,
    error::ShmError,
    word::{Phase, State},
};

/// How long a process waits for others that make or sweep a namespace, which takes them
/// milliseconds, or seconds if there is very much in it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace that this process has got into.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) directory: Directory,
    /// The lock file, locked shared.
    pub(super) lock: File,
    pub(super) control: Control,
}

/// Whether an attempt was undone by another process.
enum Attempt<T> {
    Done(T),
    Again(&'static str),
}

/// Gets into a namespace; none if there is none and none shall be made. One that has ended is made
/// anew.
pub(super) fn enter(
    open: impl Fn() -> Result<Option<Directory>, ShmError>,
    missing: Missing,
) -> Result<Option<Entered>, ShmError> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        let Some(directory) = open()? else {
            return Ok(None);
        };
        let reason = match attempt(&directory, missing)? {
            Attempt::Done(entered) => {
                return Ok(entered.map(|(lock, control)| Entered {
                    directory,
                    lock,
                    control,
                }));
            }
            Attempt::Again(reason) => reason,
        };
        if start.elapsed() > PATIENCE {
            return Err(ShmError::Busy {
                path: directory.path().to_owned(),
                reason,
            });
        }
        thread::sleep(pause);
        // Processes that keep each other from the exclusive lock fall out of step.
        let jitter = rustix::process::getpid().as_raw_pid().unsigned_abs() % 64;
        pause = (pause * 2).min(Duration::from_millis(1)) + Duration::from_micros(jitter.into());
    }
}

fn attempt(
    directory: &Directory,
    missing: Missing,
) -> Result<Attempt<Option<(File, Control)>>, ShmError> {
    let Some(lock) = open_lock(directory, missing)? else {
        return Ok(Attempt::Done(None));
    };
    crash::point("enter.opened");
    if lock_exclusively(directory, &lock)? {
        crash::point("enter.exclusive");
        if !is_at_its_place(directory, &lock) {
            return Ok(Attempt::Again("its lock file is being removed"));
        }
        if !settle(directory, missing)? {
            return Ok(Attempt::Done(None));
        }
        crash::point("enter.settled");
    }
    // Turning an exclusive lock into a shared one releases it first, so that somebody else may have
    // been alone in between; and whoever may have been has left a whole namespace or none.
    if !try_lock(directory, &lock, FlockOperation::NonBlockingLockShared)? {
        return Ok(Attempt::Again("another process is making or sweeping it"));
    }
    crash::point("enter.shared");
    if !is_at_its_place(directory, &lock) || !directory.is_there() {
        return Ok(Attempt::Again("its lock file is being removed"));
    }
    Ok(match open_control(directory)? {
        Some(control) => Attempt::Done(Some((lock, control))),
        None => {
            Attempt::Again("its control file is missing, though other processes use it: end these")
        }
    })
}

/// Opens the lock file; none if it is missing and shall stay so.
pub(super) fn open_lock(directory: &Directory, missing: Missing) -> Result<Option<File>, ShmError> {
    match missing {
        Missing::Made => directory.open_or_create(LOCK).map(Some),
        Missing::Left => directory.open(LOCK, true),
    }
}

/// Locks the lock file exclusively, if nobody else has locked it.
pub(super) fn lock_exclusively(directory: &Directory, lock: &File) -> Result<bool, ShmError> {
    try_lock(directory, lock, FlockOperation::NonBlockingLockExclusive)
}

/// Locks the lock file, in place of how this descriptor had locked it before.
pub(super) fn try_lock(
    directory: &Directory,
    lock: &File,
    operation: FlockOperation,
) -> Result<bool, ShmError> {
    match flock(lock, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(ShmError::os("locking the namespace", directory.path())(
            error,
        )),
    }
}

/// Gives the lock up before its descriptor is closed.
pub(super) fn unlock(lock: &File) -> Result<(), Errno> {
    flock(lock, FlockOperation::Unlock)
}

/// Whether the lock file that was locked is the one that others lock.
pub(super) fn is_at_its_place(directory: &Directory, lock: &File) -> bool {
    let linked = fstat(lock).is_ok_and(|stat| stat.st_nlink > 0);
    linked && directory.stat(LOCK).map(|stat| Inode::from(&stat)) == Inode::of(lock).ok()
}

/// Opens the control file; none if there is none.
pub(super) fn open_control(directory: &Directory) -> Result<Option<Control>, ShmError> {
    let path = directory.path().join(CONTROL);
    let file = directory.open(CONTROL, true)?;
    file.map(|file| Control::open(file, &path)).transpose()
}

/// Leaves one whole namespace behind that has not ended, or says that there is none. The caller has
/// locked it exclusively.
fn settle(directory: &Directory, missing: Missing) -> Result<bool, ShmError> {
    directory.remove(NEW_CONTROL)?;
    if let Some(control) = open_control(directory)?
        && !has_expired(&control)
    {
        tidy(directory, &control)?;
        return Ok(true);
    }
    sweep(directory)?;
    if missing == Missing::Made {
        make_control(directory)?;
    }
    Ok(missing == Missing::Made)
}

/// Whether a namespace that nobody lives in has ended.
pub(super) fn has_expired(control: &Control) -> bool {
    let header = |word| control.header(word).load(Ordering::Acquire);
    let idle = clock::now().saturating_sub(header(HeaderWord::Used));
    idle >= header(HeaderWord::Hold)
}

fn make_control(directory: &Directory) -> Result<(), ShmError> {
    let path = directory.path().join(NEW_CONTROL);
    let file = directory.create(NEW_CONTROL)?;
    crash::point("control.created");
    let id = identity::new(directory)?;
    if let Err(error) = Control::initialise(file, &path, id, clock::now()) {
        directory.remove(NEW_CONTROL)?;
        return Err(error);
    }
    crash::point("control.made");
    renameat(directory, NEW_CONTROL, directory, CONTROL)
        .map_err(ShmError::os("naming the control file", &path))?;
    crash::point("control.named");
    Ok(())
}

/// Removes all files of a namespace but its lock file, and says how many bytes they took. The
/// caller has locked it exclusively.
pub(super) fn sweep(directory: &Directory) -> Result<u64, ShmError> {
    let mut freed = directory.size(CONTROL);
    // First, so that what is left of an interrupted sweep is no namespace.
    directory.remove(CONTROL)?;
    crash::point("sweep.control");
    for name in directory.names()? {
        match Name::parse(&name) {
            Name::Lock | Name::Foreign | Name::Control => {}
            Name::Joining => freed += slots::clear_drafts(directory)?,
            Name::NewControl | Name::Pins(_) | Name::Segment(_) | Name::Slab(_) => {
                freed += directory.size(&name);
                directory.remove(&name)?;
                crash::point("sweep.file");
            }
        }
    }
    Ok(freed)
}

/// Removes what processes left that died while they made it. The caller has locked the namespace
/// exclusively.
fn tidy(directory: &Directory, control: &Control) -> Result<(), ShmError> {
    for name in directory.names()? {
        let state = match Name::parse(&name) {
            Name::Joining => {
                slots::clear_drafts(directory)?;
                continue;
            }
            Name::Segment(number) => control.segment(number).map(|record| record.state),
            Name::Slab(number) => control.slab(number).map(|record| record.state),
            _ => continue,
        };
        let phase = state.map_or(Ok(State::UNUSED), |state| {
            State::from_word(state.load(Ordering::Acquire))
        });
        // A damaged record is left for whoever asks for the object to be told.
        if phase.is_ok_and(|state| state.phase == Phase::Absent) {
            directory.remove(&name)?;
            crash::point("tidy.file");
        }
    }
    Ok(())
}
