//! Which file has which name, and what kind of file system it is on.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use proxystore_core::Deadline;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, StatFs},
    io::Errno,
};

use crate::{error::FileError, key::ObjectName};

const MARKER: &str = ".ready";
const TEMPORARY: &str = ".tmp";

/// The length of a UUID, which names an object.
const NAME_LEN: usize = 36;

/// How long to wait for the directory's lock where the caller sets no limit. It is held for some
/// tens of microseconds, so whoever has it for so long has stopped.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// The directory that holds the objects.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    pub(crate) file_system: FileSystem,
}

impl Directory {
    /// Creates the directory if it is not there.
    pub(crate) fn open(path: PathBuf) -> Result<Self, FileError> {
        std::fs::create_dir_all(&path).map_err(FileError::os("creating the directory", &path))?;
        let status =
            rustix::fs::statfs(&path).map_err(FileError::os("looking at the directory", &path))?;
        Ok(Self {
            path,
            file_system: FileSystem::from(&status),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where an object and its marker are.
    pub(crate) fn paths(&self, name: &ObjectName) -> Paths {
        Paths {
            marker: self.named(name, &[MARKER]),
        }
    }

    /// Where data is written that takes another object's place.
    pub(crate) fn temporary_data(&self, name: &ObjectName, nonce: u64) -> PathBuf {
        self.named(name, &[".", &hexadecimal(nonce), TEMPORARY])
    }

    /// Where a marker is written.
    pub(crate) fn temporary_marker(&self, name: &ObjectName, nonce: u64) -> PathBuf {
        self.named(name, &[MARKER, ".", &hexadecimal(nonce), TEMPORARY])
    }

    /// One allocation, as this is the better part of what a small object costs in user space.
    fn named(&self, name: &ObjectName, suffixes: &[&str]) -> PathBuf {
        const LONGEST: usize = "/.ready..tmp".len() + NAME_LEN + 16;

        let directory = self.path.as_os_str();
        let mut path = OsString::with_capacity(directory.len() + LONGEST);
        path.push(directory);
        path.push("/");
        path.push(name.as_str());
        for suffix in suffixes {
            path.push(suffix);
        }
        path.into()
    }

    /// Keeps all others out who set or evict, in threads and processes, until it is dropped.
    ///
    /// File systems that cannot lock a directory (NFS) go without: two sets of one key at one
    /// instant may then leave an object that is an error to get.
    pub(crate) fn lock(&self, deadline: Deadline) -> Result<Option<Lock>, FileError> {
        // A description of its own: locks belong to those, and forks and threads share them.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(&self.path, flags, Mode::empty()) {
            Ok(directory) => directory,
            // It may be entered but not listed.
            Err(Errno::ACCESS) => return Ok(None),
            Err(error) => {
                return Err(FileError::os("opening the directory", self.path())(error));
            }
        };
        let mut give_up = deadline.instant();
        let mut pause = Duration::from_micros(20);
        loop {
            match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Lock { directory })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    let now = Instant::now();
                    if *give_up.get_or_insert(now + LOCK_PATIENCE) <= now {
                        let path = self.path.clone();
                        return Err(FileError::Locked { path });
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(2));
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// Makes names in the directory survive a loss of power.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.path, flags, Mode::empty());
        directory
            .and_then(rustix::fs::fsync)
            .map_err(FileError::os("syncing the directory", self.path()))
    }

    /// Removes all objects and, if nothing else is left in it, the directory. Says whether it is
    /// gone.
    pub(crate) fn clear(&self) -> Result<bool, FileError> {
        // Whoever puts meanwhile gets another round, and keeps the directory after the last.
        for _ in 0..3 {
            self.remove_objects()?;
            match rustix::fs::rmdir(&self.path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(true),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                // A link, a mount point, or in a directory where this user may not remove it.
                Err(Errno::NOTDIR | Errno::BUSY | Errno::ACCESS | Errno::PERM) => return Ok(false),
                Err(error) => {
                    return Err(FileError::os("removing the directory", self.path())(error));
                }
            }
        }
        Ok(false)
    }

    fn remove_objects(&self) -> Result<(), FileError> {
        let listing = match std::fs::read_dir(&self.path) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FileError::os("listing the directory", self.path())(error)),
        };
        let mut data = Vec::new();
        let mut stay = HashSet::new();
        let mut outcome = Ok(());
        for entry in listing {
            let entry = entry.map_err(FileError::os("listing the directory", self.path()))?;
            let file_name = entry.file_name();
            match Role::of(file_name.as_bytes()) {
                // An object is there until its marker goes, so that goes first.
                Some(Role::Marker) => {
                    if let Err(error) = remove(&entry.path()) {
                        stay.insert(object_of(&file_name));
                        outcome = outcome.and(Err(error));
                    }
                }
                Some(Role::Data) => data.push(file_name),
                None => {}
            }
        }
        data.retain(|file_name| !stay.contains(&object_of(file_name)));
        // What cannot be removed does not keep the rest.
        data.iter().fold(outcome, |outcome, file_name| {
            outcome.and(remove(&self.path.join(file_name)))
        })
    }
}

/// Where an object and its marker are.
#[derive(Debug)]
pub(crate) struct Paths {
    /// Both in one, as the other is the beginning of this.
    marker: PathBuf,
}

impl Paths {
    /// The object's bytes.
    pub(crate) fn data(&self) -> &Path {
        let marker = self.marker.as_os_str().as_bytes();
        let data = marker.strip_suffix(MARKER.as_bytes()).unwrap_or(marker);
        Path::new(OsStr::from_bytes(data))
    }

    /// The file that says that the object is there.
    pub(crate) fn marker(&self) -> &Path {
        &self.marker
    }
}

/// Keeps others out of the directory until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    directory: OwnedFd,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child forked meanwhile by another thread shares the description.
        // Where unlocking fails, there is no lock.
        let _ = rustix::fs::flock(&self.directory, FlockOperation::Unlock);
    }
}

/// The name of the object that one of the connector's own files belongs to.
fn object_of(file_name: &OsStr) -> Vec<u8> {
    file_name
        .as_bytes()
        .iter()
        .copied()
        .take(NAME_LEN)
        .collect()
}

fn hexadecimal(number: u64) -> String {
    format!("{number:016x}")
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(FileError::os("removing a file", path)(error)),
    }
}

/// What one of the connector's own files is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The bytes of an object, or what was to become that.
    Data,
    Marker,
}

impl Role {
    /// None for everything that this connector does not make.
    fn of(file_name: &[u8]) -> Option<Self> {
        let (name, suffix) = file_name.split_at_checked(NAME_LEN)?;
        ObjectName::parse(std::str::from_utf8(name).ok()?)?;
        let (role, suffix) = match suffix.strip_prefix(MARKER.as_bytes()) {
            Some(suffix) => (Self::Marker, suffix),
            None => (Self::Data, suffix),
        };
        let nonce = suffix
            .strip_prefix(b".")
            .and_then(|suffix| suffix.strip_suffix(TEMPORARY.as_bytes()));
        let temporary =
            nonce.is_some_and(|nonce| nonce.len() == 16 && nonce.iter().all(u8::is_ascii_hexdigit));
        match (temporary, role) {
            // Not yet a marker of anything.
            (true, _) => Some(Self::Data),
            (false, role) => suffix.is_empty().then_some(role),
        }
    }
}

/// What a file system can be trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// Its bytes are memory, which is trusted.
    pub(crate) in_memory: bool,
    /// A file that is never changed in place can be mapped: nobody takes its pages away.
    pub(crate) mappable: bool,
    /// A file's inode number means the same to everybody who can see it.
    pub(crate) stable_inodes: bool,
}

impl FileSystem {
    const UNKNOWN: Self = Self {
        in_memory: false,
        mappable: false,
        stable_inodes: false,
    };
    const LOCAL: Self = Self {
        mappable: true,
        stable_inodes: true,
        ..Self::UNKNOWN
    };
    const MEMORY: Self = Self {
        in_memory: true,
        ..Self::LOCAL
    };
    const SHARED: Self = Self {
        stable_inodes: true,
        ..Self::UNKNOWN
    };

    /// By the number that statfs(2) gives; all others are unknown.
    const KNOWN: &[(u32, Self)] = &[
        (0x0102_1994, Self::MEMORY), // tmpfs
        (0x8584_58F6, Self::MEMORY), // ramfs
        (0x0000_EF53, Self::LOCAL),  // ext2, ext3, ext4
        (0x5846_5342, Self::LOCAL),  // xfs
        (0x9123_683E, Self::LOCAL),  // btrfs
        (0x2FC1_2FC1, Self::LOCAL),  // zfs
        (0xF2F5_2010, Self::LOCAL),  // f2fs
        (0xCA45_1A4E, Self::LOCAL),  // bcachefs
        (0x794C_7630, Self::LOCAL),  // overlay, as in containers
        (0x0000_6969, Self::SHARED), // NFS
        (0x0BD0_0BD0, Self::SHARED), // Lustre
        (0x4750_4653, Self::SHARED), // Spectrum Scale (GPFS)
        (0x00C3_6400, Self::SHARED), // Ceph
        (0x1983_0326, Self::SHARED), // BeeGFS
    ];

    /// That of an open file; unknown if it cannot be told.
    pub(crate) fn of(descriptor: impl AsFd) -> Self {
        rustix::fs::fstatfs(descriptor).map_or(Self::UNKNOWN, |status| Self::from(&status))
    }
}

impl From<&StatFs> for FileSystem {
    fn from(status: &StatFs) -> Self {
        let known = Self::KNOWN
            .iter()
            .find(|(number, _)| i128::from(*number) == i128::from(status.f_type));
        known.map_or(Self::UNKNOWN, |(_, file_system)| *file_system)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "977218f4-d6ac-460a-85a8-99950957b5dc";

    #[test]
    fn every_file_that_is_made_is_known_again() {
        let directory = Directory {
            path: PathBuf::from("/x"),
            file_system: FileSystem::UNKNOWN,
        };
        let name = ObjectName::parse(NAME).expect("a name");
        let role = |path: &Path| {
            assert_eq!(path.parent(), Some(Path::new("/x")));
            Role::of(path.file_name()?.as_bytes())
        };
        let paths = directory.paths(&name);
        assert_eq!(role(paths.data()), Some(Role::Data));
        assert_eq!(role(paths.marker()), Some(Role::Marker));
        assert_eq!(role(&directory.temporary_data(&name, 7)), Some(Role::Data));
        let marker = directory.temporary_marker(&name, u64::MAX);
        assert_eq!(role(&marker), Some(Role::Data));
    }

    #[test]
    fn the_files_of_others_are_not_ours() {
        for other in [
            "",
            "notes.txt",
            ".ready",
            "977218F4-D6AC-460A-85A8-99950957B5DC",
            "977218f4-d6ac-460a-85a8-99950957b5dc.",
            "977218f4-d6ac-460a-85a8-99950957b5dc.txt",
            "977218f4-d6ac-460a-85a8-99950957b5dc.tmp",
            "977218f4-d6ac-460a-85a8-99950957b5dc.ready.bak",
            "977218f4-d6ac-460a-85a8-99950957b5dc.0123456789abcde.tmp",
        ] {
            assert_eq!(Role::of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_forked_child_does_not_keep_the_lock() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(parent.path().to_owned()).expect("a directory");
        let lock = directory.lock(Deadline::never()).expect("it is free");
        let lock = lock.expect("it can be locked");
        // What a child has that is forked by another thread now.
        let _inherited = lock.directory.try_clone().expect("a descriptor");
        let soon = || Deadline::at(Instant::now() + Duration::from_millis(5));
        directory.lock(soon()).expect_err("it is taken");
        drop(lock);
        directory.lock(soon()).expect("it is free again");
    }

    #[test]
    fn memory_is_told_from_disks() {
        let of = |path: &str| FileSystem::of(std::fs::File::open(path).expect("it is there"));
        assert_eq!(of("/dev/shm"), FileSystem::MEMORY);
        assert_eq!(of("/proc"), FileSystem::UNKNOWN);
    }

    proptest! {
        #[test]
        fn any_file_name_is_looked_at_without_a_panic(name: Vec<u8>, suffix in ".{0,30}") {
            let _ = Role::of(&name);
            let _ = Role::of(format!("{NAME}{suffix}").as_bytes());
        }
    }
}
