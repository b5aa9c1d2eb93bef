//! The record that says which bytes an object has.
//!
//! An object is there when its marker is. Upstream's markers are empty files; ours hold a record:
//! which inode the data has, how long it is, and its checksum. Little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `PSFM` |
//! | 4 | version of the writer |
//! | 5 | the oldest version of a reader that understands the record |
//! | 6 | number of entries |
//! | 7 | length of an entry |
//! | 8..10 | length of the whole record |
//! | 10..16 | zero |
//! | 16..24 | random, so that no two markers are equal |
//! | then, for each entry | flags (8 bytes: 1 for the inode, 2 for the checksum), inode, length, checksum (8 bytes each, zero if absent) |
//! | last 8 | XXH3-64 of everything before |
//!
//! Newer versions may lengthen entries and add fields between the entries and the checksum of the
//! record: readers skip what they do not know.
//!
//! There are two entries while one object takes another's place: the new one and the one before.
//! Whichever of the two the data file is, the marker describes it, so that renaming the data file
//! is the one instant at which the object changes.

use twox_hash::XxHash3_64;

const MAGIC: [u8; 4] = *b"PSFM";
const VERSION: u8 = 1;
const HEADER: usize = 24;
const ENTRY: usize = 32;
const TRAILER: usize = 8;

const HAS_INODE: u64 = 1;
const HAS_CHECKSUM: u64 = 2;

/// No record is longer, of whatever version.
pub const MAX_LEN: usize = 512;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Tells markers of one object apart.
    pub nonce: u64,
    /// The object.
    pub object: Entry,
    /// What the data file may still be: the object before this one.
    pub previous: Option<Entry>,
}

/// What is known about one data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its inode, where the file system's numbers mean the same to everybody.
    pub inode: Option<u64>,
    /// How many bytes it has.
    pub length: u64,
    /// The XXH3-64 of its bytes, unless it is in memory.
    pub checksum: Option<u64>,
}

/// A record, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Made by this version.
    Ours(Marker),
    /// Made by a newer version in a way that this one understands.
    Newer(Marker),
    /// Made by upstream, who says nothing.
    Upstream,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// A field contradicts another, or the checksum all of them.
    #[error("its marker is damaged")]
    Damaged,
    /// A newer version wrote something that this one cannot understand.
    #[error("its marker is of version {version}, which this release cannot read; upgrade")]
    TooNew {
        /// The version of the writer.
        version: u8,
    },
    /// It does not start like a record.
    #[error("its marker is neither empty nor a record")]
    Unknown,
}

impl Marker {
    /// The entries, the present object's first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.object).chain(&self.previous)
    }

    /// The record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = self.entries().count();
        let len = HEADER + count * ENTRY + TRAILER;
        let mut record = Vec::with_capacity(len);
        record.extend(MAGIC);
        record.extend([VERSION, VERSION]);
        #[expect(clippy::cast_possible_truncation, reason = "at most 2, 32 and 96")]
        {
            record.extend([count as u8, ENTRY as u8]);
            record.extend((len as u16).to_le_bytes());
        }
        record.extend([0; 6]);
        record.extend(self.nonce.to_le_bytes());
        for entry in self.entries() {
            let inode = entry.inode.map_or(0, |_| HAS_INODE);
            let checksum = entry.checksum.map_or(0, |_| HAS_CHECKSUM);
            for field in [
                inode | checksum,
                entry.inode.unwrap_or(0),
                entry.length,
                entry.checksum.unwrap_or(0),
            ] {
                record.extend(field.to_le_bytes());
            }
        }
        let checksum = XxHash3_64::oneshot(&record);
        record.extend(checksum.to_le_bytes());
        record
    }

    /// What a record says.
    ///
    /// # Errors
    ///
    /// [`MarkerError`] for all bytes that are no record.
    pub fn decode(bytes: &[u8]) -> Result<Decoded, MarkerError> {
        if bytes.is_empty() {
            return Ok(Decoded::Upstream);
        }
        let rest = bytes.strip_prefix(&MAGIC).ok_or(MarkerError::Unknown)?;
        let &[version, oldest_reader, count, entry_len, ..] = rest else {
            return Err(MarkerError::Damaged);
        };
        let (body, checksum) = bytes
            .split_last_chunk::<TRAILER>()
            .ok_or(MarkerError::Damaged)?;
        if u64::from_le_bytes(*checksum) != XxHash3_64::oneshot(body) {
            return Err(MarkerError::Damaged);
        }
        if oldest_reader > VERSION {
            return Err(MarkerError::TooNew { version });
        }
        let (header, entries) = body
            .split_first_chunk::<HEADER>()
            .ok_or(MarkerError::Damaged)?;
        let entry_len = usize::from(entry_len);
        let stated = usize::from(u16::from_le_bytes([header[8], header[9]]));
        if stated != bytes.len() || entry_len < ENTRY || version == 0 {
            return Err(MarkerError::Damaged);
        }
        let mut entries = entries.chunks_exact(entry_len).take(usize::from(count));
        let object = entries.next().and_then(Entry::decode);
        let object = object.ok_or(MarkerError::Damaged)?;
        let previous = entries.next().and_then(Entry::decode);
        if usize::from(previous.is_some()) + 1 != usize::from(count) {
            return Err(MarkerError::Damaged);
        }
        let mut nonce = [0; 8];
        nonce.copy_from_slice(&header[16..]);
        let marker = Self {
            nonce: u64::from_le_bytes(nonce),
            object,
            previous,
        };
        let plain = HEADER + usize::from(count) * ENTRY + TRAILER == bytes.len();
        if version > VERSION || !plain {
            return Ok(Decoded::Newer(marker));
        }
        Ok(Decoded::Ours(marker))
    }
}

impl Entry {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first_chunk()?;
        let (inode, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (checksum, _) = rest.split_first_chunk()?;
        let flags = u64::from_le_bytes(*flags);
        let field = |flag, bytes| (flags & flag != 0).then(|| u64::from_le_bytes(bytes));
        Some(Self {
            inode: field(HAS_INODE, *inode),
            length: u64::from_le_bytes(*length),
            checksum: field(HAS_CHECKSUM, *checksum),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let field = prop::option::of(any::<u64>());
        (field.clone(), any::<u64>(), field).prop_map(|(inode, length, checksum)| Entry {
            inode,
            length,
            checksum,
        })
    }

    fn marker() -> impl Strategy<Value = Marker> {
        (any::<u64>(), entry(), prop::option::of(entry())).prop_map(|(nonce, object, previous)| {
            Marker {
                nonce,
                object,
                previous,
            }
        })
    }

    /// A record as a later version could write it: longer entries, more fields after them.
    fn newer(
        marker: &Marker,
        version: u8,
        oldest_reader: u8,
        wider: usize,
        more: usize,
    ) -> Vec<u8> {
        let plain = marker.encode();
        let mut record = plain[..HEADER].to_vec();
        (record[4], record[5]) = (version, oldest_reader);
        record[7] = u8::try_from(ENTRY + wider).expect("small");
        for entry in plain[HEADER..plain.len() - TRAILER].chunks(ENTRY) {
            record.extend(entry);
            record.extend(vec![0xAB; wider]);
        }
        record.extend(vec![0xCD; more]);
        let len = u16::try_from(record.len() + TRAILER).expect("small");
        record[8..10].copy_from_slice(&len.to_le_bytes());
        let checksum = XxHash3_64::oneshot(&record);
        record.extend(checksum.to_le_bytes());
        record
    }

    #[test]
    fn an_empty_marker_is_upstreams() {
        assert_eq!(Marker::decode(b""), Ok(Decoded::Upstream));
        assert_eq!(Marker::decode(b"anything"), Err(MarkerError::Unknown));
        assert_eq!(Marker::decode(b"PSFM"), Err(MarkerError::Damaged));
    }

    proptest! {
        #[test]
        fn records_make_the_round_trip(marker in marker()) {
            let record = marker.encode();
            prop_assert!(record.len() <= MAX_LEN);
            prop_assert_eq!(Marker::decode(&record), Ok(Decoded::Ours(marker)));
        }

        #[test]
        fn a_cut_record_is_damaged(marker in marker(), cut in any::<prop::sample::Index>()) {
            let record = marker.encode();
            let cut = 4 + cut.index(record.len() - 4);
            prop_assert_eq!(Marker::decode(&record[..cut]), Err(MarkerError::Damaged));
        }

        #[test]
        fn a_flipped_bit_is_noticed(marker in marker(), bit in any::<prop::sample::Index>()) {
            let mut record = marker.encode();
            let bit = bit.index(record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Marker::decode(&record).is_err());
        }

        #[test]
        fn fields_of_later_versions_are_skipped(
            marker in marker(),
            version in 2_u8..,
            wider in 0..40_usize,
            more in 0..40_usize,
        ) {
            let record = newer(&marker, version, 1, wider, more);
            prop_assert_eq!(Marker::decode(&record), Ok(Decoded::Newer(marker)));
            let record = newer(&marker, version, version, wider, more);
            prop_assert_eq!(Marker::decode(&record), Err(MarkerError::TooNew { version }));
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(
            start in prop::sample::select(vec![&b"PSFM"[..], b"PSFM\x01\x01", b""]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
            valid: bool,
        ) {
            let mut bytes = [start, &rest].concat();
            if valid && !bytes.is_empty() {
                let checksum = XxHash3_64::oneshot(&bytes);
                bytes.extend(checksum.to_le_bytes());
            }
            if let Ok(Decoded::Ours(marker)) = Marker::decode(&bytes) {
                prop_assert_eq!(Marker::decode(&marker.encode()), Ok(Decoded::Ours(marker)));
            }
        }
    }
}
