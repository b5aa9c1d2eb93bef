//! What a side takes from the other.

use crate::frame::{MAX_CHUNK, MAX_INLINE, MAX_STREAMS, MAX_WINDOW, MIN_CHUNK, MIN_WINDOW};

/// What a side takes from the other: announced in its hello, and kept to by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests under way at once on one connection.
    pub streams: u32,
    /// The longest object within a request or a reply, in bytes; longer ones follow in chunks.
    pub inline: u32,
    /// The longest chunk, in bytes.
    pub chunk: u32,
    /// Bytes of chunks of one stream that may be sent before more are asked for.
    pub credit: u32,
    /// Bytes of chunks of all streams that may be sent and not yet be consumed, at first.
    pub window: u32,
}

impl Limits {
    /// These limits, each brought to where this version of the protocol allows it to be.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            streams: self.streams.clamp(1, MAX_STREAMS),
            inline: self.inline.min(MAX_INLINE),
            chunk: self.chunk.clamp(MIN_CHUNK, MAX_CHUNK),
            credit: self.credit.clamp(MIN_CHUNK, MAX_WINDOW),
            window: self.window.clamp(MIN_WINDOW, MAX_WINDOW),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: MAX_STREAMS,
            inline: MAX_INLINE,
            chunk: MAX_CHUNK,
            credit: 1 << 20,
            window: 1 << 20,
        }
    }
}
