//! How objects get into the directory.
//!
//! A new object's data is written under its final name, where nobody looks until the marker is
//! there. The marker is written under a temporary name and renamed: an object is there at once and
//! whole. An object that takes another's place is written under a temporary name, too; then comes a
//! marker that describes both, and renaming the data is the instant of the change. Whoever is
//! killed at any instant leaves at most files that nobody looks at.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use proxystore_core::{Deadline, Payload, Segment};
use proxystore_memory::{close, write_all};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    checksum::write_summed,
    directory::{Directory, remove},
    error::FileError,
    key::ObjectName,
    marker::{Entry, Marker},
    read::{Reader, SMALL},
};

/// Read-only, as files are replaced and never changed: whoever has one mapped relies on it.
const MODE: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// Puts objects into a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) fsync: bool,
}

impl Writer<'_> {
    /// Stores a new object under a new name.
    pub(crate) fn put(&self, payload: Payload<'_>) -> Result<ObjectName, FileError> {
        let (name, nonce) = random()?;
        let paths = self.directory.paths(&name);
        let (data, object) = self.write_data(paths.data().to_owned(), payload)?;
        let marker = Marker {
            nonce,
            object,
            previous: None,
        };
        let marker = self.write_marker(&name, &marker)?;
        let marker = marker.rename(paths.marker())?;
        self.sync_names()?;
        marker.keep();
        data.keep();
        Ok(name)
    }

    /// Stores an object under a name that may have one.
    pub(crate) fn set(
        &self,
        name: &ObjectName,
        payload: Payload<'_>,
        deadline: Deadline,
    ) -> Result<(), FileError> {
        let (_, nonce) = random()?;
        let data = self.directory.temporary_data(name, nonce);
        let (data, object) = self.write_data(data, payload)?;
        let _lock = self.directory.lock(deadline)?;
        let paths = self.directory.paths(name);
        let previous = Reader::new(self.directory, name).present_entry()?;
        let marker = Marker {
            nonce,
            object,
            previous,
        };
        let marker = self.write_marker(name, &marker)?;
        if previous.is_some() {
            // From here on the object is the one before, until the data has the name.
            marker.rename(paths.marker())?.keep();
            self.sync_names()?;
            data.rename(paths.data())?.keep();
            return self.sync_names();
        }
        // There is no object, or an upstream one, whose empty marker is true of any data.
        let data = data.rename(paths.data())?;
        self.sync_names()?;
        let marker = marker.rename(paths.marker())?;
        self.sync_names()?;
        marker.keep();
        data.keep();
        Ok(())
    }

    /// Removes an object, if it is there.
    pub(crate) fn evict(&self, name: &ObjectName, deadline: Deadline) -> Result<(), FileError> {
        let _lock = match self.directory.lock(deadline) {
            Err(FileError::Os { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            other => other?,
        };
        let paths = self.directory.paths(name);
        remove(paths.marker())?;
        remove(paths.data())
    }

    /// Writes an object's bytes to a new file.
    fn write_data(
        &self,
        path: PathBuf,
        payload: Payload<'_>,
    ) -> Result<(Unfinished, Entry), FileError> {
        let (file, unfinished) = create(path)?;
        let in_memory = self.directory.file_system.in_memory;
        let checksum = if in_memory && payload.len() >= SMALL {
            write_all(&file, payload.segments()).map_err(unfinished.failed())?;
            None
        } else {
            Some(write_summed(&file, payload).map_err(unfinished.failed())?)
        };
        let status = rustix::fs::fstat(&file).map_err(unfinished.failed())?;
        self.finish(file, &unfinished)?;
        let stable = self.directory.file_system.stable_inodes;
        let entry = Entry {
            inode: stable.then_some(status.st_ino),
            length: payload.len() as u64,
            checksum,
        };
        Ok((unfinished, entry))
    }

    /// Writes a marker under a temporary name.
    fn write_marker(&self, name: &ObjectName, marker: &Marker) -> Result<Unfinished, FileError> {
        let (file, temporary) = create(self.directory.temporary_marker(name, marker.nonce))?;
        let record = marker.encode();
        write_all(&file, &[Segment::from(&record)]).map_err(temporary.failed())?;
        self.finish(file, &temporary)?;
        Ok(temporary)
    }

    fn finish(&self, file: OwnedFd, unfinished: &Unfinished) -> Result<(), FileError> {
        if self.fsync {
            rustix::fs::fsync(&file).map_err(unfinished.failed())?;
        }
        close(file).map_err(unfinished.failed())
    }

    fn sync_names(&self) -> Result<(), FileError> {
        if self.fsync {
            self.directory.sync()?;
        }
        Ok(())
    }
}

/// A name for an object and a number for its marker.
pub(crate) fn random() -> Result<(ObjectName, u64), FileError> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(io::Error::other)
        .map_err(FileError::os(
            "asking for random bytes",
            Path::new("/dev/urandom"),
        ))?;
    let (name, nonce) = bytes.split_at(16);
    let mut fields = ([0; 16], [0; 8]);
    fields.0.copy_from_slice(name);
    fields.1.copy_from_slice(nonce);
    let name = ObjectName::from_random(fields.0);
    Ok((name, u64::from_le_bytes(fields.1)))
}

fn create(path: PathBuf) -> Result<(OwnedFd, Unfinished), FileError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    loop {
        match rustix::fs::open(&path, flags, MODE) {
            Ok(file) => return Ok((file, Unfinished { path: Some(path) })),
            Err(Errno::INTR) => {}
            Err(error) => return Err(FileError::os("creating a file", &path)(error)),
        }
    }
}

/// A file that is removed unless it is kept.
#[derive(Debug)]
#[must_use = "the file is removed unless it is kept"]
struct Unfinished {
    path: Option<PathBuf>,
}

impl Unfinished {
    fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    fn failed<E: Into<io::Error>>(&self) -> impl FnOnce(E) -> FileError {
        FileError::os("writing a file", self.path())
    }

    /// Gives the file another name, replacing what has it.
    fn rename(mut self, path: &Path) -> Result<Self, FileError> {
        rustix::fs::rename(self.path(), path)
            .map_err(FileError::os("renaming a file", self.path()))?;
        self.path = Some(path.to_owned());
        Ok(self)
    }

    fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = remove(path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished file stays behind");
        }
    }
}
