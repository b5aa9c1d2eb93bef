//! The files behind segments.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, readlinkat, symlinkat},
    io::Errno,
};

use crate::{
    crash,
    error::ShmError,
    membership::{Inode, Membership},
};

/// The file of a segment in the directory of its namespace: its memory, or, if it is spilled, a
/// link to the file on a disk.
fn name(number: u32) -> String {
    format!("s{number}")
}

fn spilled_name(membership: &Membership, number: u32, generation: u32) -> String {
    let id = membership.control().id();
    format!("proxystore-{id:016x}-{number}-{generation}")
}

/// Makes the file of a segment, which nobody else makes meanwhile.
pub(crate) fn create(membership: &Membership, number: u32) -> Result<File, ShmError> {
    match membership.create(&name(number)) {
        Err(ShmError::Os { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            // The record says that there is nothing behind it, so nothing that is there counts.
            remove(membership, number)?;
            membership.create(&name(number))
        }
        outcome => outcome,
    }
}

/// Makes the file of a spilled segment: the link first, so that whoever finds the link can remove
/// the file.
pub(crate) fn create_spilled(
    membership: &Membership,
    directory: &Path,
    number: u32,
    generation: u32,
) -> Result<File, ShmError> {
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(ShmError::os(
            "making the directory for spilled objects",
            directory,
        ))?;
    let target = directory.join(spilled_name(membership, number, generation));
    remove(membership, number)?;
    symlinkat(&target, membership.directory(), name(number)).map_err(ShmError::os(
        "linking to a spilled object",
        membership.path(),
    ))?;
    crash::point("segments.spill.linked");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&target)
        .map_err(ShmError::os("making the file of a spilled object", &target))?;
    crash::point("segments.spill.created");
    Ok(file)
}

/// Opens the file of a segment, which is that of a generation if it is spilled; none if it is not
/// there.
pub(crate) fn open(
    membership: &Membership,
    number: u32,
    spilled: Option<u32>,
    writable: bool,
) -> Result<Option<File>, ShmError> {
    let Some(generation) = spilled else {
        return membership.open(&name(number), writable);
    };
    let Some(target) = target(membership, number)? else {
        return Ok(None);
    };
    let expected = spilled_name(membership, number, generation);
    if target.file_name().and_then(|name| name.to_str()) != Some(&expected) {
        return Ok(None);
    }
    let mut options = OpenOptions::new();
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    options.read(true).write(writable).custom_flags(flags);
    match options.open(&target) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ShmError::os("opening a spilled object", &target)(error)),
    }
}

/// Which file is there under the name of a segment, and how long it is; none if it is spilled or
/// not there.
pub(crate) fn identify(membership: &Membership, number: u32) -> Option<(Inode, u64)> {
    let stat = membership.directory().stat(&name(number))?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_file.then(|| (Inode::from(&stat), u64::try_from(stat.st_size).unwrap_or(0)))
}

/// Removes the file of a segment, and the one that it links to. Views of them stay what they are.
pub(crate) fn remove(membership: &Membership, number: u32) -> Result<(), ShmError> {
    membership.remove(&name(number))
}

/// Where the file of a segment links to; none if it is no link.
fn target(membership: &Membership, number: u32) -> Result<Option<PathBuf>, ShmError> {
    match readlinkat(membership.directory(), name(number), Vec::new()) {
        Ok(target) => Ok(target.into_string().ok().map(PathBuf::from)),
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(error) => Err(ShmError::os(
            "reading the link to a spilled object",
            membership.path(),
        )(error)),
    }
}
