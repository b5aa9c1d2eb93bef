//! What is to be sent, as whoever writes it sees it.

use std::ops::Range;

use crate::{StreamId, frame::HEADER};

/// What to send next: `bytes` first, then the chunk.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Frames of the session's own.
    pub bytes: &'a [u8],
    /// A chunk, or what is left of one.
    pub chunk: Option<Chunk>,
}

impl Outgoing<'_> {
    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.chunk.is_none()
    }
}

/// What is left to be sent of a chunk: bytes of its header, then a part of the object's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The stream whose body it is.
    pub stream: StreamId,
    /// Which part of the body.
    pub body: Range<u64>,
    pub(crate) header: [u8; HEADER],
    pub(crate) header_sent: usize,
}

impl Chunk {
    /// What is left of the header.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        self.header.get(self.header_sent..).unwrap_or_default()
    }

    /// The bytes that are left to be sent, header and all.
    #[must_use]
    pub fn len(&self) -> usize {
        let body = self.body.end.saturating_sub(self.body.start);
        self.header().len() + usize::try_from(body).unwrap_or(usize::MAX)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
