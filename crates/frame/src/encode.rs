//! Writing frames.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::{ALIGNMENT, CHECKSUM, FIXED, Kind, MAGIC, SUMS, VERSION, entry_len};

/// Where everything of a frame goes, known before any of its buffers is read.
#[derive(Clone, Debug)]
pub struct Layout {
    kind: Kind,
    sums: bool,
    /// Entries that continue the stream; they come first.
    parts: u32,
    lengths: Vec<usize>,
    stream: Vec<u8>,
    header_len: usize,
    len: usize,
}

impl Layout {
    /// The frame of an object.
    ///
    /// `lengths` are those of the `parts` that continue the `stream`, then those of the buffers, in
    /// bytes; `sums` says whether they carry checksums.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if the numbers do not fit into a frame.
    pub fn new(
        kind: Kind,
        stream: Vec<u8>,
        parts: usize,
        lengths: Vec<usize>,
        sums: bool,
    ) -> Result<Self, TooLarge> {
        let parts = u32::try_from(parts.min(lengths.len())).map_err(|_| TooLarge)?;
        u32::try_from(lengths.len()).map_err(|_| TooLarge)?;
        let header_len = header_len(lengths.len(), sums, stream.len()).ok_or(TooLarge)?;
        let mut len = header_len;
        for &entry in &lengths {
            let start = len.checked_next_multiple_of(ALIGNMENT).ok_or(TooLarge)?;
            len = start.checked_add(entry).ok_or(TooLarge)?;
        }
        Ok(Self {
            kind,
            sums,
            parts,
            lengths,
            stream,
            header_len,
            len,
        })
    }

    /// The length of the header, in bytes.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        self.header_len
    }

    /// Whether the table has checksums.
    #[must_use]
    pub const fn has_sums(&self) -> bool {
        self.sums
    }

    /// The number of bytes between the entry of this index and the next one.
    #[must_use]
    pub fn gap(&self, index: usize) -> usize {
        match self.lengths.get(index) {
            // Every entry begins at a multiple, so only its own length counts.
            Some(len) if index + 1 < self.lengths.len() => len.wrapping_neg() % ALIGNMENT,
            _ => 0,
        }
    }

    /// The lengths of what follows the header, in bytes: entries and, where there is one, the gap
    /// after each.
    pub fn segments(&self) -> impl Iterator<Item = Piece> + '_ {
        self.lengths.iter().enumerate().flat_map(|(index, &len)| {
            let gap = self.gap(index);
            let gap = (gap > 0).then_some(Piece {
                len: gap,
                gap: true,
            });
            std::iter::once(Piece { len, gap: false }).chain(gap)
        })
    }

    /// The header, given the checksums of what follows it as [`segments`](Self::segments) lists it,
    /// those of gaps included; they are not looked at if the table has none.
    #[must_use]
    pub fn header_from_segments(&self, sums: &[u64]) -> Vec<u8> {
        let entries: Vec<u64> = self
            .segments()
            .zip(sums)
            .filter(|(piece, _)| !piece.gap)
            .map(|(_, sum)| *sum)
            .collect();
        self.header(&entries)
    }

    /// The header, given the checksums of the entries; they are not looked at if the table has none.
    #[must_use]
    pub fn header(&self, sums: &[u64]) -> Vec<u8> {
        let buffers = self.lengths.len() - self.parts as usize;
        let mut header = Vec::with_capacity(self.header_len);
        header.extend(MAGIC);
        header.push(VERSION);
        header.push(self.kind.number());
        header.push(if self.sums { SUMS } else { 0 });
        header.extend([0; 2]);
        header.extend(self.parts.to_le_bytes());
        header.extend(u32::try_from(buffers).unwrap_or(u32::MAX).to_le_bytes());
        header.extend((self.stream.len() as u64).to_le_bytes());
        header.extend((self.len as u64).to_le_bytes());
        header.extend([0; 8]);
        for (index, &len) in self.lengths.iter().enumerate() {
            header.extend((len as u64).to_le_bytes());
            if self.sums {
                header.extend(sums.get(index).copied().unwrap_or(0).to_le_bytes());
            }
        }
        header.extend(&self.stream);
        header.resize(self.header_len, 0);
        let mut sum = XxHash3_64::new();
        sum.write(&header[..CHECKSUM.start]);
        sum.write(&header[CHECKSUM.end..]);
        header[CHECKSUM].copy_from_slice(&sum.finish().to_le_bytes());
        header
    }
}

/// One stretch of bytes after the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes.
    pub len: usize,
    /// Whether it is a gap between entries, of zeros.
    pub gap: bool,
}

/// A frame has room for 2^32 entries and as many bytes as the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the object has more buffers or bytes than a frame holds")]
pub struct TooLarge;

/// The length of a header, in bytes; none if there is no such number.
pub(crate) fn header_len(entries: usize, sums: bool, stream: usize) -> Option<usize> {
    entries
        .checked_mul(entry_len(sums))?
        .checked_add(FIXED)?
        .checked_add(stream)?
        .checked_next_multiple_of(ALIGNMENT)
}
