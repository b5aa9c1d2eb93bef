//! How objects get out of the directory.

use std::{os::fd::OwnedFd, path::Path, thread, time::Duration};

use proxystore_core::{Key, Memory};
use proxystore_memory::{Mapping, ReadError};
use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};

use crate::{
    checksum::checksum,
    directory::{Directory, FileSystem},
    error::{FileError, Mismatch},
    key::ObjectName,
    marker::{Decoded, Entry, MAX_LEN, Marker},
};

/// From this many bytes on, a mapping is made sooner than a copy.
const MAPPED: u64 = 256 << 10;

/// How often an object that is replaced meanwhile is tried again: each time somebody else was
/// faster within some microseconds.
const MAX_ATTEMPTS: u32 = 1000;

/// How often and after which pause to look again at an object that upstream is at work on, who
/// writes in place and removes the data before the marker.
const MAX_PAUSES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// The object's bytes, or none if it is not there.
pub(crate) fn get(directory: &Directory, name: &ObjectName) -> Result<Option<Memory>, FileError> {
    let mut before = None;
    let mut pauses = 0;
    for _ in 0..MAX_ATTEMPTS {
        let Some(record) = Record::read(directory, name)? else {
            return Ok(None);
        };
        let problem = match record.decode(directory, name) {
            Ok(marker) => match read_object(directory, name, marker.as_ref()) {
                Ok(memory) => return Ok(Some(memory)),
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::Mismatch(problem)) => problem,
            },
            Err(problem) => problem,
        };
        // With the same marker twice, nobody was at work in between.
        if before.as_ref() == Some(&record) {
            let settles = matches!(problem, Mismatch::InUse | Mismatch::Missing);
            if !settles || pauses == MAX_PAUSES {
                let path = match problem {
                    Mismatch::Marker(_) => directory.marker(name),
                    _ => directory.data(name),
                };
                let key = Key::from(*name);
                return Err(FileError::Corrupted { key, path, problem });
            }
            thread::sleep(PAUSE);
            pauses += 1;
        }
        before = Some(record);
    }
    Err(FileError::Replaced {
        key: Key::from(*name),
        path: directory.data(name),
    })
}

/// Whether the object is there.
pub(crate) fn exists(directory: &Directory, name: &ObjectName) -> Result<bool, FileError> {
    let path = directory.marker(name);
    match rustix::fs::access(&path, rustix::fs::Access::EXISTS) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(FileError::os("looking for the marker", &path)(error)),
    }
}

/// What the marker says about the data that is there now; none if there is no object, or it is
/// upstream's, or its marker is not true of it.
pub(crate) fn present_entry(
    directory: &Directory,
    name: &ObjectName,
) -> Result<Option<Entry>, FileError> {
    let record = Record::read(directory, name)?;
    let marker = record.and_then(|record| record.decode(directory, name).ok());
    let Some(marker) = marker.flatten() else {
        return Ok(None);
    };
    let path = directory.data(name);
    match rustix::fs::lstat(&path) {
        Ok(status) => {
            let mut entries = marker.entries();
            let present = entries.find(|entry| check(entry, &status, directory).is_ok());
            Ok(present.copied())
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(FileError::os("looking at the object", &path)(error)),
    }
}

/// A marker's bytes.
#[derive(PartialEq, Eq)]
struct Record {
    bytes: [u8; MAX_LEN + 1],
    len: usize,
}

impl Record {
    /// None if there is no marker.
    fn read(directory: &Directory, name: &ObjectName) -> Result<Option<Self>, FileError> {
        let path = directory.marker(name);
        let Some(file) = open(&path)? else {
            return Ok(None);
        };
        let mut record = Self {
            bytes: [0; MAX_LEN + 1],
            len: 0,
        };
        loop {
            match rustix::io::read(&file, &mut record.bytes[record.len..]) {
                Ok(0) => return Ok(Some(record)),
                Ok(read) => record.len += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(FileError::os("reading the marker", &path)(error)),
            }
            if record.is_whole() || record.len > MAX_LEN {
                return Ok(Some(record));
            }
        }
    }

    /// Saves asking for more after what is everything anyway.
    fn is_whole(&self) -> bool {
        Marker::decode(self.as_bytes()).is_ok()
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// None if upstream made it, who says nothing about the data.
    fn decode(&self, directory: &Directory, name: &ObjectName) -> Result<Option<Marker>, Mismatch> {
        match Marker::decode(self.as_bytes())? {
            Decoded::Ours(marker) => Ok(Some(marker)),
            Decoded::Newer(marker) => {
                let path = directory.marker(name);
                tracing::warn!(
                    path = %path.display(),
                    "a newer release made this object; what it says beyond this release is ignored"
                );
                Ok(Some(marker))
            }
            Decoded::Upstream => Ok(None),
        }
    }
}

enum Failure {
    Error(FileError),
    Mismatch(Mismatch),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Error(error)
    }
}

impl From<Mismatch> for Failure {
    fn from(mismatch: Mismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

fn read_object(
    directory: &Directory,
    name: &ObjectName,
    marker: Option<&Marker>,
) -> Result<Memory, Failure> {
    let path = directory.data(name);
    let file = open(&path)?.ok_or(Mismatch::Missing)?;
    let status = stat(&file, &path)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Mismatch::NotAFile.into());
    }
    if let Some(marker) = marker {
        return read_described(directory, &path, &file, &status, marker);
    }
    let memory = read_all(&file, &status, &path)?;
    if changes(&status) != changes(&stat(&file, &path)?) {
        return Err(Mismatch::InUse.into());
    }
    Ok(memory)
}

/// An object that its marker describes, which nobody changes in place.
fn read_described(
    directory: &Directory,
    path: &Path,
    file: &OwnedFd,
    status: &Stat,
    marker: &Marker,
) -> Result<Memory, Failure> {
    let mut candidates = marker
        .entries()
        .filter(|entry| check(entry, status, directory).is_ok())
        .peekable();
    let Some(first) = candidates.peek() else {
        // What is wrong with the present object tells more than with the one before.
        check(&marker.object, status, directory)?;
        return Err(Mismatch::Inode.into());
    };
    let memory = match map(file, first.length) {
        Some(mapping) => Memory::from(mapping),
        None => read_all(file, status, path)?,
    };
    if first.checksum.is_none() {
        return Ok(memory);
    }
    let found = checksum(&memory);
    if candidates.any(|entry| entry.checksum.is_none_or(|expected| expected == found)) {
        return Ok(memory);
    }
    Err(Mismatch::Checksum.into())
}

/// Whether a data file can be the one that an entry describes.
fn check(entry: &Entry, status: &Stat, directory: &Directory) -> Result<(), Mismatch> {
    let stable = directory.file_system.stable_inodes;
    if stable && entry.inode.is_some_and(|inode| inode != status.st_ino) {
        return Err(Mismatch::Inode);
    }
    let (expected, found) = (entry.length, status.st_size.cast_unsigned());
    if expected != found {
        return Err(Mismatch::Length { expected, found });
    }
    Ok(())
}

/// A view of the file, if it is worth one and nobody takes its pages away.
fn map(file: &OwnedFd, len: u64) -> Option<Mapping> {
    if len < MAPPED || !FileSystem::of(file).mappable {
        return None;
    }
    // Where the kernel refuses (too many views, say), a copy does as well.
    Mapping::of_file(file, usize::try_from(len).ok()?).ok()
}

fn read_all(file: &OwnedFd, status: &Stat, path: &Path) -> Result<Memory, Failure> {
    let len = usize::try_from(status.st_size)
        .map_err(|_| FileError::os("reading the object", path)(Errno::OVERFLOW))?;
    Memory::read_exact(file, len).map_err(|error| match error {
        ReadError::Ended { .. } => Mismatch::InUse.into(),
        ReadError::Os(error) => FileError::os("reading the object", path)(error).into(),
    })
}

/// What changes when somebody writes to a file, as far as can be told.
fn changes(status: &Stat) -> impl PartialEq + use<> {
    (
        status.st_size,
        (status.st_mtime, status.st_mtime_nsec),
        (status.st_ctime, status.st_ctime_nsec),
    )
}

/// None if there is no such file.
fn open(path: &Path) -> Result<Option<OwnedFd>, FileError> {
    // Neither a link out of the directory nor a pipe that nobody writes to is followed or awaited.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    loop {
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => return Ok(Some(file)),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(FileError::os("opening a file", path)(error)),
        }
    }
}

fn stat(file: &OwnedFd, path: &Path) -> Result<Stat, FileError> {
    rustix::fs::fstat(file).map_err(FileError::os("looking at the object", path))
}
