//! Reading frames that anybody may have written.

use std::ops::Range;

use proxystore_memory::{Cursor, Segment};

use crate::{
    ALIGNMENT, CHECKSUM, FIXED, Kind, MAGIC, SUMS, VERSION, encode::header_len, entry_len, sum,
};

/// Entries of the table that are read at once.
const BATCH: usize = 64;

/// Where everything of a frame is. All ranges lie within the bytes that were parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame holds.
    pub kind: Kind,
    /// Whether the entries carry checksums.
    pub has_sums: bool,
    /// The stream, or its beginning.
    pub stream: Range<usize>,
    /// What continues the stream, in order.
    pub parts: Vec<Entry>,
    /// The buffers, in order.
    pub buffers: Vec<Entry>,
}

/// A stretch of bytes after the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub range: Range<usize>,
    /// Its XXH3-64, if the frame carries checksums.
    pub sum: Option<u64>,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// They do not begin as one.
    #[error("the bytes do not begin as a frame")]
    NotAFrame,
    /// A newer version of the format, or a damaged header.
    #[error(
        "the frame has version {0} of the format, of which only version {VERSION} is known: a \
         newer proxystore wrote it, or it is damaged"
    )]
    UnknownVersion(u8),
    /// A newer kind of object. The header is what was written.
    #[error("the frame holds an object of kind {0}, which only a newer proxystore can know")]
    UnknownKind(u8),
    /// A newer flag. The header is what was written.
    #[error("the frame has flags {0:#04x}, which only a newer proxystore can know")]
    UnknownFlags(u8),
    /// There are fewer or more bytes than the header says.
    #[error("the frame should have {expected} bytes, but {found} are there")]
    WrongLength {
        /// The length that the header gives, or the least that it could have.
        expected: u64,
        /// The number of bytes.
        found: usize,
    },
    /// The header is not what was written.
    #[error("the header of the frame is damaged: its checksum does not match")]
    WrongHeader,
    /// The header has its checksum, but says what no writer says.
    #[error("the header of the frame contradicts itself: {0}")]
    Contradiction(&'static str),
    /// An entry is not what was written.
    #[error("bytes {} to {} of the frame are damaged: their checksum does not match", .0.start, .0.end)]
    WrongBytes(Range<usize>),
}

impl Frame {
    /// Reads the header of a frame: everything but the bytes of the entries is checked.
    ///
    /// # Errors
    ///
    /// [`Damage`], all but [`Damage::WrongBytes`].
    pub fn parse(bytes: Segment<'_>) -> Result<Self, Damage> {
        let mut fixed = [0; FIXED];
        let found = bytes.copy_to(&mut fixed);
        if !fixed.starts_with(&MAGIC) || found < MAGIC.len() {
            return Err(Damage::NotAFrame);
        }
        let short = |expected| Damage::WrongLength {
            expected,
            found: bytes.len(),
        };
        if found < FIXED {
            return Err(short(FIXED as u64));
        }
        if fixed[3] != VERSION {
            return Err(Damage::UnknownVersion(fixed[3]));
        }
        // No flag but this one changes where things are.
        let has_sums = fixed[5] & SUMS != 0;
        let parts = number::<4>(&fixed, 8);
        let entries = parts.saturating_add(number::<4>(&fixed, 12));
        let stream = number::<8>(&fixed, 16);
        let header = header_len(to_usize(entries), has_sums, to_usize(stream))
            .filter(|&len| len <= bytes.len())
            .ok_or(Damage::WrongHeader)?;
        let rest = [
            bytes.slice(..CHECKSUM.start),
            bytes.slice(CHECKSUM.end..header),
        ];
        if sum(&rest).to_le_bytes() != fixed[CHECKSUM] {
            return Err(Damage::WrongHeader);
        }
        let len = number::<8>(&fixed, 24);
        if len != bytes.len() as u64 {
            return Err(short(len));
        }
        let kind = Kind::from_number(fixed[4]).ok_or(Damage::UnknownKind(fixed[4]))?;
        if fixed[5] & !SUMS != 0 {
            return Err(Damage::UnknownFlags(fixed[5]));
        }
        if fixed[6..8] != [0; 2] {
            return Err(Damage::Contradiction("what is zero in every frame is not"));
        }
        let table = FIXED + to_usize(entries) * entry_len(has_sums);
        let mut all = entries_of(bytes.slice(FIXED..table), has_sums, header, bytes.len())?;
        let buffers = all.split_off(to_usize(parts));
        Ok(Self {
            kind,
            has_sums,
            stream: table..table + to_usize(stream),
            parts: all,
            buffers,
        })
    }

    /// Compares the entries of the frame in `bytes` with their checksums, if they carry any.
    ///
    /// # Errors
    ///
    /// [`Damage::WrongBytes`] with the first that differs.
    pub fn verify(&self, bytes: Segment<'_>) -> Result<(), Damage> {
        for Entry { range, sum: wanted } in self.parts.iter().chain(&self.buffers) {
            let found = |range: &Range<usize>| sum(&[bytes.slice(range.clone())]);
            if wanted.is_some_and(|wanted| wanted != found(range)) {
                return Err(Damage::WrongBytes(range.clone()));
            }
        }
        Ok(())
    }
}

/// The entries of a table, which is as long as its number of entries says.
fn entries_of(
    table: Segment<'_>,
    has_sums: bool,
    header: usize,
    len: usize,
) -> Result<Vec<Entry>, Damage> {
    let width = entry_len(has_sums);
    let mut entries = Vec::with_capacity(table.len() / width);
    let table = [table];
    let mut cursor = Cursor::new(&table);
    let mut buffer = [0; BATCH * 16];
    let mut end = header;
    loop {
        let filled = cursor.fill(&mut buffer[..BATCH * width]);
        if filled == 0 {
            break;
        }
        for row in buffer[..filled].chunks_exact(width) {
            let start = end.checked_next_multiple_of(ALIGNMENT);
            let range = start.and_then(|start| {
                let end = start.checked_add(to_usize(number::<8>(row, 0)))?;
                (end <= len).then_some(start..end)
            });
            let range = range.ok_or(Damage::Contradiction("an entry lies outside"))?;
            end = range.end;
            entries.push(Entry {
                range,
                sum: has_sums.then(|| number::<8>(row, 8)),
            });
        }
    }
    if end == len {
        Ok(entries)
    } else {
        Err(Damage::Contradiction(
            "there are bytes after the last entry",
        ))
    }
}

/// The number that `N` bytes from `offset` on stand for.
fn number<const N: usize>(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    for (target, source) in number.iter_mut().zip(bytes.iter().skip(offset).take(N)) {
        *target = *source;
    }
    u64::from_le_bytes(number)
}

/// What does not fit is more than there can be, and is refused as such.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
