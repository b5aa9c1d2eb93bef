//! Where a namespace's files have what, so that tests can look at it and damage it behind the
//! connector's back. This is the format as written down, not as the connector computes it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use proxystore_core::Key;

use super::{Checked, client::words, names};

/// Bytes of the control file's header, and of its records of processes, slabs and segments.
pub(crate) const HEADER_LEN: u64 = 4096;
pub(crate) const SLAB_LEN: u64 = 32;
pub(crate) const SEGMENT_LEN: u64 = 64;

const PROCESSES_LEN: u64 = 64 << 12;
const SLABS_LEN: u64 = SLAB_LEN << 16;

/// Words of the header.
const SLABS_END: u64 = 11;

/// Words of a slab's file before its cells, and of a cell's and a ticket's header.
pub(crate) const SLAB_HEADER_LEN: u64 = 64;
pub(crate) const CELL_LEN: u64 = 32;
pub(crate) const TICKET_LEN: u64 = 16;

/// Bytes that the cells of each class have for objects; the last is that of tickets.
const SIZES: [u64; 16] = [
    128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12_288, 16_384, 0,
];
/// About how long slabs are.
const STEPS: [u64; 3] = [64 << 10, 256 << 10, 1 << 20];

const LIVE: u64 = 3;

/// What a key says of where its object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Segment(u64),
    Cell { slab: u64, cell: u64 },
    Ticket { slab: u64, cell: u64 },
}

impl Place {
    pub(crate) fn of(key: &Key) -> Checked<Self> {
        let [_, word] = words(key)?;
        Self::of_word(word).ok_or_else(|| format!("{key} names no place").into())
    }

    fn of_word(word: u64) -> Option<Self> {
        let index = (word >> 32) & 0x1fff_ffff;
        let (slab, cell) = (index >> 13, index & 0x1fff);
        match word >> 61 {
            1 => Some(Self::Segment(index)),
            2 => Some(Self::Cell { slab, cell }),
            3 => Some(Self::Ticket { slab, cell }),
            _ => None,
        }
    }
}

/// The files of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) path: PathBuf,
}

/// What the cells of a slab are like.
#[derive(Clone, Copy, Debug)]
struct Shape {
    class: usize,
    step: usize,
}

impl Shape {
    fn of_bits(bits: u64) -> Option<Self> {
        let class = usize::try_from(bits >> 2).ok()?.checked_sub(1)?;
        let step = usize::try_from(bits & 3).ok()?;
        (class < SIZES.len() && step < STEPS.len()).then_some(Self { class, step })
    }

    const fn is_tickets(self) -> bool {
        SIZES[self.class] == 0
    }

    const fn header_len(self) -> u64 {
        if self.is_tickets() {
            TICKET_LEN
        } else {
            CELL_LEN
        }
    }

    fn cells(self) -> u64 {
        let cell = self.header_len() + SIZES[self.class];
        ((STEPS[self.step] - SLAB_HEADER_LEN) / cell).clamp(4, 1 << 13)
    }
}

impl Layout {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join("default"),
        }
    }

    pub(crate) fn control(&self) -> io::Result<File> {
        self.file("control")
    }

    pub(crate) fn file(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(self.path.join(name))
    }

    pub(crate) const fn slab_record(slab: u64) -> u64 {
        HEADER_LEN + PROCESSES_LEN + slab * SLAB_LEN
    }

    pub(crate) const fn segment_record(segment: u64) -> u64 {
        HEADER_LEN + PROCESSES_LEN + SLABS_LEN + segment * SEGMENT_LEN
    }

    /// Where the header of a cell or ticket is in its slab's file.
    pub(crate) const fn cell_header(place: Place) -> Option<(u64, u64)> {
        match place {
            Place::Segment(_) => None,
            Place::Cell { slab, cell } => Some((slab, SLAB_HEADER_LEN + cell * CELL_LEN)),
            Place::Ticket { slab, cell } => Some((slab, SLAB_HEADER_LEN + cell * TICKET_LEN)),
        }
    }

    /// The names of segment files, and of cells that hold an object or name one.
    pub(crate) fn objects(&self) -> io::Result<Vec<String>> {
        let mut objects = names(&self.path)?;
        objects.retain(|name| is_numbered(name, "s"));
        let Ok(control) = self.control() else {
            return Ok(objects);
        };
        for slab in 0..word(&control, SLABS_END * 8)? {
            let file = match self.file(&format!("c{slab}")) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // The fourth word of a slab's file is its shape.
            if let Some(shape) = Shape::of_bits(word(&file, 24)?) {
                objects.extend(live_cells(&file, slab, shape)?);
            }
        }
        Ok(objects)
    }
}

/// Whether a file's name is a number after this.
pub(crate) fn is_numbered(name: &str, prefix: &str) -> bool {
    let number = name.strip_prefix(prefix);
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn live_cells(file: &File, slab: u64, shape: Shape) -> io::Result<Vec<String>> {
    let mut live = Vec::new();
    for cell in 0..shape.cells() {
        let at = SLAB_HEADER_LEN + cell * shape.header_len();
        let (state, target) = (word(file, at)?, word(file, at + 8)?);
        let holds = (state >> 28) & 0xf == LIVE && !(shape.is_tickets() && target == 0);
        if holds {
            live.push(format!("c{slab}/{cell}/{}", state >> 32));
        }
    }
    Ok(live)
}

pub(crate) fn word(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_ne_bytes(bytes))
}

pub(crate) fn flip(file: &File, at: u64, mask: u8) -> io::Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ mask], at)
}
