//! How objects get out of the directory.

use std::{mem::MaybeUninit, os::fd::OwnedFd, path::Path, thread, time::Duration};

use proxystore_core::{Key, Memory, Segment};
use proxystore_memory::{Mapping, ReadError};
use rustix::{
    fs::{Access, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use twox_hash::XxHash3_64;

use crate::{
    checksum::checksum,
    directory::{Directory, FileSystem, Paths},
    error::{FileError, Mismatch},
    key::ObjectName,
    marker::{Decoded, Entry, MAX_LEN, Marker, MarkerError},
};

/// Below this many bytes an object has a checksum on every file system. One read then gives its
/// bytes, its length and the proof that it is the one that the marker describes.
pub(crate) const SMALL: usize = 4 << 10;

/// From this many bytes on, a mapping is made sooner than a copy.
const MAPPED: u64 = 256 << 10;

/// How often an object that is replaced meanwhile is tried again: each time somebody else was
/// faster within some microseconds.
const MAX_ATTEMPTS: u32 = 1000;

/// How often and after which pause to look again at an object that upstream is at work on, who
/// writes in place and removes the data before the marker.
const MAX_PAUSES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// A marker's bytes and what they say.
type Record<'a> = (&'a [u8], Result<Decoded, MarkerError>);

/// Looks for one object in a directory.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    directory: &'a Directory,
    name: &'a ObjectName,
    paths: Paths,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(directory: &'a Directory, name: &'a ObjectName) -> Self {
        Self {
            directory,
            name,
            paths: directory.paths(name),
        }
    }

    /// The object's bytes, or none if it is not there.
    pub(crate) fn get(&self) -> Result<Option<Memory>, FileError> {
        let mut buffer = [0; MAX_LEN + 1];
        let mut before = None;
        let mut pauses = 0;
        for _ in 0..MAX_ATTEMPTS {
            let Some((record, decoded)) = self.read_marker(&mut buffer)? else {
                return Ok(None);
            };
            let problem = match self.read_object(decoded) {
                Ok(memory) => return Ok(Some(memory)),
                Err(Failure::Error(error)) => return Err(error),
                Err(Failure::Mismatch(problem)) => problem,
            };
            // With the same marker twice, nobody was at work in between.
            if before.as_deref() == Some(record) {
                let settles = matches!(problem, Mismatch::InUse | Mismatch::Missing);
                if !settles || pauses == MAX_PAUSES {
                    return Err(self.corrupted(problem));
                }
                thread::sleep(PAUSE);
                pauses += 1;
            }
            before = Some(record.to_vec());
        }
        Err(FileError::Replaced {
            key: Key::from(*self.name),
            path: self.paths.data().to_owned(),
        })
    }

    /// Whether the object is there.
    pub(crate) fn exists(&self) -> Result<bool, FileError> {
        let path = self.paths.marker();
        match rustix::fs::access(path, Access::EXISTS) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(FileError::os("looking for the marker", path)(error)),
        }
    }

    /// What the marker says about the data that is there now; none if there is no object, or it is
    /// upstream's, or its marker is not true of it.
    pub(crate) fn present_entry(&self) -> Result<Option<Entry>, FileError> {
        let mut buffer = [0; MAX_LEN + 1];
        let decoded = self.read_marker(&mut buffer)?.map(|(_, decoded)| decoded);
        let Some(Ok(Decoded::Ours(marker) | Decoded::Newer(marker))) = decoded else {
            return Ok(None);
        };
        let path = self.paths.data();
        match rustix::fs::lstat(path) {
            Ok(status) => {
                let mut entries = marker.entries();
                let present = entries.find(|entry| self.check(entry, &status).is_ok());
                Ok(present.copied())
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(FileError::os("looking at the object", path)(error)),
        }
    }

    fn corrupted(&self, problem: Mismatch) -> FileError {
        let path = match problem {
            Mismatch::Marker(_) => self.paths.marker(),
            _ => self.paths.data(),
        };
        FileError::Corrupted {
            key: Key::from(*self.name),
            path: path.to_owned(),
            problem,
        }
    }

    /// The marker's bytes and what they say; none if there is no marker.
    fn read_marker<'b>(
        &self,
        buffer: &'b mut [u8; MAX_LEN + 1],
    ) -> Result<Option<Record<'b>>, FileError> {
        let path = self.paths.marker();
        let Some(file) = open(path)? else {
            return Ok(None);
        };
        let mut len = 0;
        loop {
            let read = match rustix::io::read(&file, &mut buffer[len..]) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(FileError::os("reading the marker", path)(error)),
                Ok(read) => read,
            };
            len += read;
            let decoded = Marker::decode(&buffer[..len]);
            // What can be decoded is everything: no need to ask whether there is more.
            if read == 0 || len > MAX_LEN || decoded.is_ok() {
                return Ok(Some((&buffer[..len], decoded)));
            }
        }
    }

    fn read_object(&self, decoded: Result<Decoded, MarkerError>) -> Result<Memory, Failure> {
        let marker = match decoded.map_err(Mismatch::from)? {
            Decoded::Ours(marker) => Some(marker),
            Decoded::Newer(marker) => {
                tracing::warn!(
                    path = %self.paths.marker().display(),
                    "a newer release made this object; what it says beyond this release is ignored"
                );
                Some(marker)
            }
            Decoded::Upstream => None,
        };
        let path = self.paths.data();
        let file = open(path)?.ok_or(Mismatch::Missing)?;
        if let Some(memory) = marker.and_then(|marker| read_small(&file, &marker)) {
            return Ok(memory);
        }
        let status = stat(&file, path)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(Mismatch::NotAFile.into());
        }
        if let Some(marker) = &marker {
            return self.read_described(&file, &status, marker);
        }
        let memory = read_all(&file, &status, path)?;
        if changes(&status) != changes(&stat(&file, path)?) {
            return Err(Mismatch::InUse.into());
        }
        Ok(memory)
    }

    /// An object that its marker describes, which nobody changes in place.
    fn read_described(
        &self,
        file: &OwnedFd,
        status: &Stat,
        marker: &Marker,
    ) -> Result<Memory, Failure> {
        let mut candidates = marker
            .entries()
            .filter(|entry| self.check(entry, status).is_ok())
            .peekable();
        let Some(first) = candidates.peek() else {
            // What is wrong with the present object tells more than with the one before.
            self.check(&marker.object, status)?;
            return Err(Mismatch::Inode.into());
        };
        let memory = match map(file, first.length) {
            Some(mapping) => Memory::from(mapping),
            None => read_all(file, status, self.paths.data())?,
        };
        if first.checksum.is_none() {
            return Ok(memory);
        }
        let reading = FileError::os("reading the object", self.paths.data());
        let found = checksum(&memory).map_err(reading)?;
        if candidates.any(|entry| entry.checksum.is_none_or(|expected| expected == found)) {
            return Ok(memory);
        }
        Err(Mismatch::Checksum.into())
    }

    /// Whether a data file can be the one that an entry describes.
    fn check(&self, entry: &Entry, status: &Stat) -> Result<(), Mismatch> {
        let stable = self.directory.file_system.stable_inodes;
        if stable && entry.inode.is_some_and(|inode| inode != status.st_ino) {
            return Err(Mismatch::Inode);
        }
        let (expected, found) = (entry.length, status.st_size.cast_unsigned());
        if expected != found {
            return Err(Mismatch::Length { expected, found });
        }
        Ok(())
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

/// A small object by one read, if all is as it should be; otherwise whoever looks closer finds out
/// what is wrong.
fn read_small(file: &OwnedFd, marker: &Marker) -> Option<Memory> {
    let mut entries = marker.entries();
    if !entries.all(|entry| entry.length < SMALL as u64 && entry.checksum.is_some()) {
        return None;
    }
    let mut buffer = [MaybeUninit::<u8>::uninit(); SMALL];
    // At a place of its own, so that the next one to read starts at the first byte.
    let (bytes, _) = rustix::io::pread(file, &mut buffer, 0).ok()?;
    let (len, found) = (bytes.len() as u64, XxHash3_64::oneshot(bytes));
    let mut entries = marker.entries();
    entries.find(|entry| entry.length == len && entry.checksum == Some(found))?;
    Memory::copied_from(&[Segment::from(&*bytes)]).ok()
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
