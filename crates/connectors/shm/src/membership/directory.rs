//! The directory of a namespace: made and opened so that nobody else has a say in it.

use std::{
    ffi::CStr,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, fstatfs, mkdirat, openat,
        readlinkat, statat, statfs, unlinkat,
    },
    io::Errno,
};

use crate::error::ShmError;

/// What `statfs(2)` says of a memory file system that can reserve memory.
const TMPFS: u64 = 0x0102_1994;

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    /// The file that is open.
    pub(crate) fn of(file: impl AsFd) -> Result<Self, Errno> {
        fstat(file).map(|stat| Self::from(&stat))
    }

    /// The file of this path, not following a link.
    pub(crate) fn at(directory: BorrowedFd<'_>, path: &Path) -> Option<Self> {
        let stat = statat(directory, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Self::from(&stat))
    }
}

impl From<&Stat> for Inode {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            number: stat.st_ino,
        }
    }
}

/// Whether a directory that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Made,
    Left,
}

/// What the name of a file in a namespace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Lock,
    Control,
    /// The control file before it is one.
    NewControl,
    /// Where pin files are made.
    Joining,
    Pins(u32),
    Segment(u32),
    Slab(u32),
    /// Nothing of ours.
    Foreign,
}

pub(crate) const LOCK: &str = "lock";
pub(crate) const CONTROL: &str = "control";
pub(crate) const NEW_CONTROL: &str = "control.new";
pub(crate) const JOINING: &str = "joining";

impl Name {
    pub(crate) fn parse(name: &str) -> Self {
        let number = |prefix: &str| {
            let digits = name.strip_prefix(prefix)?;
            // What is not written as numbers are written here is not ours.
            let number: u32 = digits.parse().ok()?;
            (number.to_string() == digits).then_some(number)
        };
        match name {
            LOCK => Self::Lock,
            CONTROL => Self::Control,
            NEW_CONTROL => Self::NewControl,
            JOINING => Self::Joining,
            _ => number("pins-")
                .map(Self::Pins)
                .or_else(|| number("s").map(Self::Segment))
                .or_else(|| number("c").map(Self::Slab))
                .unwrap_or(Self::Foreign),
        }
    }
}

/// An open directory of a namespace, or of the namespaces.
///
/// Files are named relative to the descriptor, so that what is made after the directory was removed
/// never gets into another one of the same path.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    file: OwnedFd,
}

impl Directory {
    /// Opens the directory of all namespaces; none if it is missing and shall stay so.
    pub(crate) fn base(path: &Path, missing: Missing) -> Result<Option<Self>, ShmError> {
        // Without a slash at its end, which would follow a link there.
        let path: PathBuf = path.components().collect();
        let opened = match open_directory(CWD, &path, &path) {
            Ok(None) if missing == Missing::Made => {
                check_ancestor(&path)?;
                let mut builder = DirBuilder::new();
                builder.recursive(true).mode(0o700);
                builder.create(&path).map_err(ShmError::os(
                    "making the directory of the namespaces",
                    &path,
                ))?;
                open_directory(CWD, &path, &path)
            }
            other => other,
        }?;
        Ok(opened.map(|file| Self { path, file }))
    }

    /// Opens a namespace's directory; none if it is missing and shall stay so.
    pub(crate) fn namespace(
        base: &Path,
        name: &str,
        missing: Missing,
    ) -> Result<Option<Self>, ShmError> {
        let Some(base) = Self::base(base, missing)? else {
            return Ok(None);
        };
        base.inner(name, missing)
    }

    /// Opens a directory in this one; none if it is missing and shall stay so.
    pub(crate) fn inner(&self, name: &str, missing: Missing) -> Result<Option<Self>, ShmError> {
        let path = self.path.join(name);
        let mut opened = open_directory(self.file.as_fd(), Path::new(name), &path)?;
        if opened.is_none() && missing == Missing::Made {
            match mkdirat(&self.file, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => {
                    let action = "making the directory of the namespace";
                    return Err(self.failed(action, name, error));
                }
            }
            opened = open_directory(self.file.as_fd(), Path::new(name), &path)?;
        }
        Ok(opened.map(|file| Self { path, file }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn inode(&self) -> Result<Inode, ShmError> {
        Inode::of(&self.file).map_err(ShmError::os("looking at the directory", &self.path))
    }

    /// What tells this mount of a file system from others of the host.
    pub(crate) fn mount(&self) -> Result<[u64; 2], ShmError> {
        let failed = || ShmError::os("looking at the file system", &self.path);
        let stat = fstat(&self.file).map_err(failed())?;
        let status = rustix::fs::fstatvfs(&self.file).map_err(failed())?;
        Ok([stat.st_dev, status.f_fsid])
    }

    /// Whether the directory is where it was opened.
    pub(crate) fn is_there(&self) -> bool {
        let at_path = Inode::at(CWD, &self.path);
        at_path.is_some() && at_path == Inode::of(&self.file).ok()
    }

    /// Whether the directory was removed.
    pub(crate) fn is_removed(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Makes a new file for this user only.
    pub(crate) fn create(&self, name: &str) -> Result<File, ShmError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open_as(name, flags)
            .map_err(|error| self.failed("making a file of the namespace", name, error))
    }

    /// Opens a file, or makes an empty one.
    pub(crate) fn open_or_create(&self, name: &str) -> Result<File, ShmError> {
        let file = self
            .open_as(name, OFlags::RDWR | OFlags::CREATE)
            .map_err(|error| self.failed("opening a file of the namespace", name, error))?;
        self.check_regular(file, name)
    }

    /// Opens a file; none if there is none of this name.
    pub(crate) fn open(&self, name: &str, writable: bool) -> Result<Option<File>, ShmError> {
        let access = if writable {
            OFlags::RDWR
        } else {
            OFlags::RDONLY
        };
        let action = "opening a file of the namespace";
        match self.open_as(name, access) {
            Ok(file) => self.check_regular(file, name).map(Some),
            Err(Errno::NOENT) if self.is_removed() => Err(ShmError::removed(&self.path)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed(action, name, error)),
        }
    }

    /// Removes a file, if it is there; of a spilled segment, what it leads to as well.
    pub(crate) fn remove(&self, name: &str) -> Result<(), ShmError> {
        let action = "removing a file of the namespace";
        if let Name::Segment(number) = Name::parse(name)
            && let Some(target) = self.link_target(name)?
            && is_spilled(&target, number)
        {
            match fs::remove_file(&target) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(ShmError::os("removing a spilled object", &target)(error));
                }
                _ => crate::crash::point("remove.target"),
            }
        }
        match unlinkat(&self.file, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed(action, name, error)),
        }
    }

    /// What a link leads to; none if the file is no link, or not there.
    fn link_target(&self, name: &str) -> Result<Option<PathBuf>, ShmError> {
        match readlinkat(&self.file, name, Vec::new()) {
            Ok(target) => {
                let target = std::ffi::OsString::from_vec(target.into_bytes());
                Ok(Some(PathBuf::from(target)))
            }
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("reading a link of the namespace", name, error)),
        }
    }

    /// What `lstat(2)` says of a file; none if it is not there.
    pub(crate) fn stat(&self, name: &str) -> Option<Stat> {
        statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Bytes that a file takes, where it is or where it leads to.
    pub(crate) fn size(&self, name: &str) -> u64 {
        let stat = statat(&self.file, name, AtFlags::empty());
        stat.map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
    }

    /// The names of all files; those that are no text are nobody's business.
    pub(crate) fn names(&self) -> Result<Vec<String>, ShmError> {
        let failed = || ShmError::os("listing the directory", &self.path);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.file).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name: &CStr = entry.file_name();
            if let Ok(name) = name.to_str()
                && ![".", ".."].contains(&name)
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn open_as(&self, name: &str, flags: OFlags) -> Result<File, Errno> {
        let mode = Mode::RUSR | Mode::WUSR;
        openat(&self.file, name, flags | FLAGS, mode).map(File::from)
    }

    fn check_regular(&self, file: File, name: &str) -> Result<File, ShmError> {
        let stat = fstat(&file)
            .map_err(|error| self.failed("looking at a file of the namespace", name, error))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            Ok(file)
        } else {
            Err(ShmError::foreign(&self.path.join(name), "it is no file"))
        }
    }

    /// The error of a call on a file, unless the directory has gone, which says more.
    fn failed(&self, action: &'static str, name: &str, error: Errno) -> ShmError {
        if error == Errno::NOENT && self.is_removed() {
            return ShmError::removed(&self.path);
        }
        ShmError::os(action, &self.path.join(name))(error)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Nothing is followed, inherited by other programs, or waited for.
const FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

/// Whether a link leads to the file of a spilled segment, as far as its name tells.
fn is_spilled(target: &Path, number: u32) -> bool {
    let name = target.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix("proxystore-"))
        .is_some_and(|rest| rest.contains(&format!("-{number}-")))
}

/// Opens a directory that nobody but this user can have put there; none if there is nothing.
fn open_directory(
    parent: BorrowedFd<'_>,
    name: &Path,
    path: &Path,
) -> Result<Option<OwnedFd>, ShmError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(parent, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            let problem = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    "a symbolic link is in its place; remove it, or name another directory with \
                     the option directory="
                }
                _ => {
                    "a file is in its place; remove it, or name another directory with the option \
                     directory="
                }
            };
            return Err(ShmError::insecure(path, problem));
        }
        Err(error) => return Err(ShmError::os("opening the directory", path)(error)),
    };
    let failed = || ShmError::os("looking at the directory", path);
    let kind = fstatfs(&file).map_err(failed())?.f_type;
    check_memory(path, kind)?;
    let stat = fstat(&file).map_err(failed())?;
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user {
        let problem = format!(
            "it belongs to user {}, not to user {user}; name another one with the option directory=",
            stat.st_uid
        );
        return Err(ShmError::insecure(path, problem));
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        let problem = format!("its mode {mode:04o} lets others in; make it 0700");
        return Err(ShmError::insecure(path, problem));
    }
    Ok(Some(file))
}

/// Refuses a place that is no memory before anything is made there.
fn check_ancestor(path: &Path) -> Result<(), ShmError> {
    const USUAL: &str = "/dev/shm";

    if path.starts_with(USUAL) && !Path::new(USUAL).is_dir() {
        return Err(ShmError::NoSharedMemory);
    }
    for ancestor in path.ancestors().skip(1) {
        match statfs(ancestor) {
            Ok(status) => return check_memory(path, status.f_type),
            Err(Errno::NOENT) => {}
            Err(error) => {
                let error = io::Error::from(error);
                return Err(ShmError::os("looking at the file system", ancestor)(error));
            }
        }
    }
    Ok(())
}

fn check_memory(path: &Path, kind: impl TryInto<u64>) -> Result<(), ShmError> {
    match kind.try_into() {
        Ok(TMPFS) => Ok(()),
        _ => Err(ShmError::NotMemory {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for (name, meaning) in [
            ("lock", Name::Lock),
            ("control", Name::Control),
            ("control.new", Name::NewControl),
            ("joining", Name::Joining),
            ("pins-0", Name::Pins(0)),
            ("pins-4095", Name::Pins(4095)),
            ("pins-", Name::Foreign),
            ("pins-00", Name::Foreign),
            ("pins-+1", Name::Foreign),
            ("s12", Name::Segment(12)),
            ("s012", Name::Foreign),
            ("c7", Name::Slab(7)),
            ("c", Name::Foreign),
            ("notes.txt", Name::Foreign),
            ("s99999999999", Name::Foreign),
        ] {
            assert_eq!(Name::parse(name), meaning, "{name}");
        }
    }
}
