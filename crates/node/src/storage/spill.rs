//! Objects on a disk.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use proxystore_memory::{Mapping, Memory, Segment, write_all};
use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    io::Errno,
};

use super::object::Object;

/// For this user only.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const FLAGS: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC);

/// A directory on a disk.
///
/// What is written there has no name: it is gone with the node, however that ends, and nobody else
/// can open, cut or change it. So it may be mapped, and needs no descriptor.
#[derive(Debug)]
pub(super) struct Spill {
    directory: PathBuf,
}

impl Spill {
    /// # Errors
    ///
    /// If nothing can be written there.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        let spill = Self { directory };
        drop(spill.file()?);
        Ok(spill)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes the objects one after the other, and gives back the file that they are in.
    ///
    /// # Errors
    ///
    /// Whatever the system answers; nothing is left on the disk then.
    pub(super) fn write(&self, objects: &[Arc<Object>]) -> io::Result<Arc<Memory>> {
        let file = self.file()?;
        let segments: Vec<Segment<'_>> = objects.iter().map(|object| object.segment()).collect();
        let len: usize = segments.iter().map(Segment::len).sum();
        // Room is asked for before anything is written. Not every file system can tell.
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len as u64) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        write_all(&file, &segments)?;
        Ok(Arc::new(Mapping::of_file(&file, len)?.into()))
    }

    /// A new file without a name.
    fn file(&self) -> io::Result<File> {
        match rustix::fs::open(&self.directory, FLAGS | OFlags::TMPFILE, MODE) {
            Ok(file) => Ok(file.into()),
            // Some file systems, those of networks above all, make no files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => self.unlinked(),
            Err(error) => Err(error.into()),
        }
    }

    /// A new file whose name is gone.
    pub(super) fn unlinked(&self) -> io::Result<File> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!(".proxystore-{:032x}", u128::from_ne_bytes(random));
        let path = self.directory.join(name);
        let file = rustix::fs::open(&path, FLAGS | OFlags::CREATE | OFlags::EXCL, MODE)?;
        rustix::fs::unlink(&path)?;
        Ok(file.into())
    }
}
