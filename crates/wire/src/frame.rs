//! Frames: what everything after the handshake is made of.
//!
//! A frame is a header of [`HEADER`] bytes and a body. All numbers are little-endian.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 1 | [`Kind`] |
//! | 1 | 1 | flags of that kind; all others are zero |
//! | 2 | 2 | zero |
//! | 4 | 4 | stream, zero for what concerns the connection |
//! | 8 | 4 | length of the body |
//! | 12 | 4 | check: the low half of the XXH3-64 of the header, with zeros here, and the head |
//!
//! The body begins with a *head* whose length follows from the kind. What comes after the head are
//! bytes of an object, which have a checksum of their own, or text.

use twox_hash::XxHash3_64;

use crate::violation::Violation;

/// The length of a header, in bytes.
pub const HEADER: usize = 16;

/// The longest head, in bytes.
pub const MAX_HEAD: usize = 40;

/// The longest object within a request or a reply, in bytes.
pub const MAX_INLINE: u32 = 64 << 10;

/// The longest text of a refusal, in bytes.
pub const MAX_TEXT: u32 = 1 << 10;

/// The longest that has to be shown to a session at once, in bytes: what arrives is staged in a buffer
/// of this size at least.
pub const STAGED: usize = HEADER + MAX_HEAD + MAX_INLINE as usize;

/// The longest chunk, in bytes.
pub const MAX_CHUNK: u32 = 256 << 10;

/// The least that a side may allow as the length of a chunk, in bytes.
pub const MIN_CHUNK: u32 = 1 << 10;

/// The most requests under way on one connection.
pub const MAX_STREAMS: u32 = 1 << 14;

/// The smallest window of a connection, in bytes.
pub const MIN_WINDOW: u32 = 4 << 10;

/// The largest window of a connection, in bytes.
pub const MAX_WINDOW: u32 = 64 << 20;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Request: store the object in this frame.
    Put = 0x01,
    /// Request: store the object that follows in chunks.
    Begin = 0x02,
    /// All chunks of an object were sent; from either side.
    End = 0x03,
    /// Request: the object.
    Get = 0x04,
    /// Request: whether the object is there.
    Exists = 0x05,
    /// Request: remove the object.
    Evict = 0x06,
    /// Request: what the node has to report about itself.
    Status = 0x07,
    /// The request is given up, or the rest of its object will not come.
    Cancel = 0x08,
    /// Request: remove every object of the node.
    Clear = 0x09,

    /// Reply: it is done.
    Done = 0x41,
    /// Reply: the object is there.
    Present = 0x42,
    /// Reply: the object is not there.
    Absent = 0x43,
    /// Reply: the object, in this frame.
    Object = 0x44,
    /// Reply: the object follows in chunks.
    Found = 0x45,
    /// Reply: the object is too long for this connection's purpose; ask where bulk goes.
    Elsewhere = 0x46,
    /// Reply: the report.
    Report = 0x47,
    /// Reply: no, and why.
    Refused = 0x48,

    /// A chunk of an object.
    Data = 0x81,
    /// More of a stream, or of the connection, may be sent.
    Credit = 0x82,
    /// Answer this.
    Ping = 0x83,
    /// The answer to a ping.
    Pong = 0x84,
    /// The node is about to stop: begin nothing new here.
    Drain = 0x85,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0x01 => Self::Put,
            0x02 => Self::Begin,
            0x03 => Self::End,
            0x04 => Self::Get,
            0x05 => Self::Exists,
            0x06 => Self::Evict,
            0x07 => Self::Status,
            0x08 => Self::Cancel,
            0x09 => Self::Clear,
            0x41 => Self::Done,
            0x42 => Self::Present,
            0x43 => Self::Absent,
            0x44 => Self::Object,
            0x45 => Self::Found,
            0x46 => Self::Elsewhere,
            0x47 => Self::Report,
            0x48 => Self::Refused,
            0x81 => Self::Data,
            0x82 => Self::Credit,
            0x83 => Self::Ping,
            0x84 => Self::Pong,
            0x85 => Self::Drain,
            _ => return None,
        })
    }

    /// The length of the head, in bytes.
    #[must_use]
    pub const fn head(self) -> usize {
        match self {
            Self::Put | Self::Begin => 40,
            Self::Get | Self::Exists | Self::Evict => 32,
            Self::Found => 16,
            Self::End
            | Self::Present
            | Self::Object
            | Self::Elsewhere
            | Self::Credit
            | Self::Ping
            | Self::Pong => 8,
            Self::Refused => 1,
            Self::Status
            | Self::Cancel
            | Self::Clear
            | Self::Done
            | Self::Absent
            | Self::Report
            | Self::Data
            | Self::Drain => 0,
        }
    }

    /// The flags that this kind may have.
    #[must_use]
    pub const fn flags(self) -> u8 {
        match self {
            Self::Put | Self::Begin | Self::Get => 1,
            _ => 0,
        }
    }

    /// The most bytes that may follow the head, and the fewest.
    const fn tail(self) -> (u32, u32) {
        match self {
            Self::Put | Self::Object | Self::Report => (0, MAX_INLINE),
            Self::Data => (1, MAX_CHUNK),
            Self::Refused => (0, MAX_TEXT),
            _ => (0, 0),
        }
    }

    /// Whether it concerns a stream: always, never, or (`None`) as its stream says.
    const fn has_stream(self) -> Option<bool> {
        match self {
            Self::Ping | Self::Pong | Self::Drain => Some(false),
            Self::Credit => None,
            _ => Some(true),
        }
    }
}

/// The header of a frame, whose fields fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame says.
    pub kind: Kind,
    /// Flags of that kind.
    pub flags: u8,
    /// The stream, or zero.
    pub stream: u32,
    /// The length of the body, in bytes.
    pub len: u32,
}

impl Header {
    /// The header of a frame with this head and `tail` more bytes. The caller keeps to the limits.
    #[must_use]
    pub fn encode(self, head: &[u8]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[1] = self.flags;
        bytes[4..8].copy_from_slice(&self.stream.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        let check = check(&bytes, head);
        bytes[12..].copy_from_slice(&check);
        bytes
    }

    /// Reads a header. Everything but its check, which covers the head too, is looked at.
    ///
    /// # Errors
    ///
    /// [`Violation`] if it is none.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, Violation> {
        let [kind, flags, 0, 0, stream @ .., _, _, _, _] = *bytes else {
            return Err(Violation::Reserved);
        };
        let [s0, s1, s2, s3, l0, l1, l2, l3] = stream;
        let stream = u32::from_le_bytes([s0, s1, s2, s3]);
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let kind = Kind::from_number(kind).ok_or(Violation::UnknownKind(kind))?;
        if flags & !kind.flags() != 0 {
            return Err(Violation::UnknownFlags { kind, flags });
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_HEAD")]
        let head = kind.head() as u32;
        let (least, most) = kind.tail();
        if !(head + least..=head + most).contains(&len) {
            return Err(Violation::WrongLength { kind, len });
        }
        if kind.has_stream().is_some_and(|has| has != (stream != 0)) || stream > MAX_STREAMS {
            return Err(Violation::UnknownStream { kind, stream });
        }
        Ok(Self {
            kind,
            flags,
            stream,
            len,
        })
    }
}

/// Whether the check in the header is that of the header and this head.
#[must_use]
pub fn is_intact(header: &[u8; HEADER], head: &[u8]) -> bool {
    check(header, head) == header[12..]
}

fn check(header: &[u8; HEADER], head: &[u8]) -> [u8; 4] {
    let mut bytes = [0; HEADER + MAX_HEAD];
    bytes[..12].copy_from_slice(&header[..12]);
    let len = head.len().min(MAX_HEAD);
    bytes[HEADER..HEADER + len].copy_from_slice(&head[..len]);
    let [c0, c1, c2, c3, ..] = XxHash3_64::oneshot(&bytes[..HEADER + len]).to_le_bytes();
    [c0, c1, c2, c3]
}
