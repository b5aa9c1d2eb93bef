//! What the tests of this connector share.

#![allow(dead_code, reason = "every test uses a part of it")]

use std::{io, path::Path};

use tempfile::TempDir;

/// A directory in memory and one on a disk, or wherever the build is.
pub(crate) fn directories() -> io::Result<[TempDir; 2]> {
    Ok([directory_in_memory()?, directory_on_disk()?])
}

pub(crate) fn directory_in_memory() -> io::Result<TempDir> {
    TempDir::new_in("/dev/shm")
}

pub(crate) fn directory_on_disk() -> io::Result<TempDir> {
    TempDir::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// A directory in memory if there is so much room, else on a disk: containers often have less.
pub(crate) fn directory_with_room(bytes: u64) -> io::Result<TempDir> {
    let directory = directory_in_memory()?;
    let status = rustix::fs::statvfs(directory.path())?;
    if status.f_bavail.saturating_mul(status.f_frsize) >= bytes {
        return Ok(directory);
    }
    directory_on_disk()
}
