//! The frame around a serialized object whose buffers travel beside its pickle.
//!
//! A frame is a header, then each buffer at a multiple of [`ALIGNMENT`] from the start, so that arrays
//! can be used where they lie. All numbers are little-endian.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 3 | `PF` and a line feed |
//! | 3 | 1 | version of the format, [`VERSION`] |
//! | 4 | 1 | [`Kind`] of the object |
//! | 5 | 1 | flags: 1 if the table has checksums; all others are zero |
//! | 6 | 2 | zero |
//! | 8 | 4 | number of entries of the table that continue the stream |
//! | 12 | 4 | number of entries of the table that are buffers |
//! | 16 | 8 | length of the stream in the header |
//! | 24 | 8 | length of the whole frame |
//! | 32 | 8 | XXH3-64 of the header without these eight bytes |
//! | 40 | 8 or 16 each | table: the length of an entry, then its XXH3-64 if the flag says so |
//! | | | stream: what the kind says, mostly a pickle |
//! | | | zeros up to a multiple of 64: the end of the header |
//!
//! The entries follow in the order of the table, each at the next multiple of 64. The bytes in
//! between are written as zeros and ignored by readers. The frame ends with its last entry.
//!
//! Nothing here knows where bytes come from. [`Frame::parse`] takes bytes that anybody may have
//! written: it never looks outside them, and allocates no more than a small multiple of them.

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod kind;
mod sum;

pub use decode::{Damage, Entry, Frame};
pub use encode::{Layout, Piece, TooLarge};
pub use kind::Kind;
pub use sum::{copy_summed, sum};

/// How every frame begins.
pub const MAGIC: [u8; 3] = *b"PF\n";

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u8 = 1;

/// Every entry begins at a multiple of this, in bytes.
pub const ALIGNMENT: usize = 64;

/// The length of the part of the header that every frame has, in bytes.
const FIXED: usize = 40;

/// Where the checksum of the header stands.
pub const CHECKSUM: std::ops::Range<usize> = 32..40;

/// The flag of frames whose table has checksums.
const SUMS: u8 = 1;

/// The bytes that one entry takes in the table.
const fn entry_len(sums: bool) -> usize {
    if sums { 16 } else { 8 }
}
