//! How an object is got: pinned, opened, and mapped or copied.

use std::{
    fs::{self, File},
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proxystore_core::Memory;
use proxystore_memory::{Mapping, ReadError};
use rustix::{
    fs::{FileType, fstat},
    io::Errno,
};

use super::{
    Shared, files, fill,
    object::Object,
    protocol::{self, Fields},
    put,
};
use crate::{
    crash,
    error::ShmError,
    mapped::{Inheritance, Mapped},
    membership::{Inode, Pin},
};

/// From this many bytes on, copying out of a mapping that is kept beats reading the file.
const MAPPED_COPY: usize = 256 << 10;

/// An object and its file.
pub(super) struct Opened {
    pub(super) object: Object,
    pub(super) len: usize,
    pub(super) file: File,
    inode: Inode,
}

impl Shared {
    /// Pins an object and opens its file; none if it is not there.
    pub(super) fn open(
        &self,
        number: u32,
        generation: u32,
    ) -> Result<Option<(Pin, Opened)>, ShmError> {
        let membership = &self.membership;
        let Some(record) = self.record(number) else {
            return Ok(None);
        };
        let pin = || {
            let pin = membership.pin(number)?;
            crash::point("segments.open.pinned");
            Ok(pin)
        };
        let look = |fields: &Fields| self.look(number, generation, fields);
        protocol::view(&record, generation, pin, look)
    }

    /// Opens the file of a pinned object, of which these are the fields.
    fn look(&self, number: u32, generation: u32, fields: &Fields) -> Result<Opened, ShmError> {
        let membership = &self.membership;
        let object = Object::from_fields(fields, generation)?;
        let spilled = object.spilled.then_some(generation);
        let file = files::open(membership, number, spilled, false)?;
        let file = file.ok_or(ShmError::Corrupted {
            problem: "its file is gone",
        })?;
        let stat = fstat(&file).map_err(ShmError::os("looking at an object", membership.path()))?;
        let problem = if u64::try_from(stat.st_size).unwrap_or(0) < object.len {
            Some("its file is shorter than it")
        } else if stat.st_uid != rustix::process::geteuid().as_raw() {
            Some("its file is another user's")
        } else if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            Some("its file is none")
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(ShmError::Corrupted { problem });
        }
        let len = usize::try_from(object.len).map_err(|_| ShmError::Corrupted {
            problem: "it is larger than memory can be",
        })?;
        Ok(Opened {
            object,
            len,
            file,
            inode: Inode::from(&stat),
        })
    }

    /// A mapping to copy an object from, none if the system has none left.
    fn source(&self, number: u32, generation: u32, opened: &Opened) -> Option<Arc<Mapped>> {
        let own = self.kept.lock().mapping(number, generation);
        if let Some(mapped) = own.filter(|mapped| mapped.len() >= opened.len) {
            return Some(mapped);
        }
        let found = self.sources.lock().find(opened.inode, opened.len);
        if found.is_some() {
            return found;
        }
        let file = files::open(&self.membership, number, None, true).ok()??;
        // The name may lead to another file by now; what is kept must be what it is kept as.
        if Inode::of(&file).ok()? != opened.inode {
            return None;
        }
        let room = usize::try_from(put::room(opened.object.capacity)).ok()?;
        let mapped = Arc::new(Mapped::new(&file, room, Inheritance::Private).ok()?);
        self.sources
            .lock()
            .insert(opened.inode, Arc::clone(&mapped));
        Some(mapped)
    }

    /// Copies a pinned object into private memory.
    pub(super) fn copy(
        &self,
        number: u32,
        generation: u32,
        opened: &Opened,
    ) -> Result<Memory, ShmError> {
        if opened.len < MAPPED_COPY || opened.object.spilled {
            return opened.read();
        }
        let Some(source) = self.source(number, generation, opened) else {
            return opened.read();
        };
        // SAFETY: the file is as long as the object, which `look` has seen to, and nobody writes to
        // it or cuts it while it is pinned.
        let view = unsafe { fill::view(&source, opened.len) };
        Memory::copied_from(&[view]).map_err(|error| opened.refused(error))
    }
}

/// How many views this process has mapped.
static VIEWS: AtomicUsize = AtomicUsize::new(0);

/// Counts one view for as long as it is mapped.
pub(super) struct Counted;

impl Counted {
    /// None if views have all the mappings that they may have of this process's, which needs some
    /// to live on.
    fn new() -> Option<Self> {
        let counted = Self;
        (VIEWS.fetch_add(1, Ordering::Relaxed) < most_views()).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        VIEWS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Seven of eight mappings that the system lets a process have.
fn most_views() -> usize {
    static MOST: AtomicUsize = AtomicUsize::new(0);

    let known = MOST.load(Ordering::Relaxed);
    if known > 0 {
        return known;
    }
    let text = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    let most = text.trim().parse().unwrap_or(USUAL_MAPPINGS) / 8 * 7;
    MOST.store(most, Ordering::Relaxed);
    most
}

/// What Linux lets a process have unless it is told otherwise.
const USUAL_MAPPINGS: usize = 65_530;

impl Opened {
    /// Maps the object, privately.
    ///
    /// # Errors
    ///
    /// Whatever `mmap(2)` answers; `ENOMEM` if this process has too many views.
    pub(super) fn map(&self) -> io::Result<(Mapping, Counted)> {
        let counted = Counted::new().ok_or(Errno::NOMEM)?;
        let mapping = Mapping::of_file(&self.file, self.len)?;
        crash::point("segments.get.mapped");
        Ok((mapping, counted))
    }

    /// Reads the object into private memory.
    pub(super) fn read(&self) -> Result<Memory, ShmError> {
        Memory::read_exact(&self.file, self.len).map_err(|error| match error {
            ReadError::Ended { .. } => ShmError::Corrupted {
                problem: "its file is shorter than it",
            },
            ReadError::Os(error) => self.refused(error),
        })
    }

    fn refused(&self, source: io::Error) -> ShmError {
        ShmError::OutOfMemory {
            len: self.object.len,
            source,
        }
    }
}
