//! What ends a connection.

use std::time::Duration;

use crate::frame::{Kind, MAX_STREAMS};

/// Why the connection cannot go on: the peer did not keep to the protocol, or it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Not a frame of this protocol.
    #[error("the peer sent a frame of the unknown kind {0:#04x}")]
    UnknownKind(u8),
    /// Flags that the kind does not have.
    #[error("the peer sent a frame {kind:?} with the unknown flags {flags:#04x}")]
    UnknownFlags {
        /// The kind of the frame.
        kind: Kind,
        /// All its flags.
        flags: u8,
    },
    /// Bytes that must be zero are not.
    #[error("the peer sent a frame whose reserved bytes are in use")]
    Reserved,
    /// A length that the kind cannot have.
    #[error("the peer sent a frame {kind:?} of {len} bytes")]
    WrongLength {
        /// The kind of the frame.
        kind: Kind,
        /// The length of its body, in bytes.
        len: u32,
    },
    /// A frame is not what was sent.
    #[error("a frame {kind:?} was damaged on its way: its check does not match")]
    Damaged {
        /// The kind of the frame.
        kind: Kind,
    },
    /// A stream that cannot be meant.
    #[error(
        "the peer sent a frame {kind:?} for stream {stream}, which is not open for it (of at most \
         {MAX_STREAMS})"
    )]
    UnknownStream {
        /// The kind of the frame.
        kind: Kind,
        /// The number of the stream.
        stream: u32,
    },
    /// A kind that the peer may not send at all, or not in this state.
    #[error("the peer sent a frame {kind:?} where none may be")]
    Unexpected {
        /// The kind of the frame.
        kind: Kind,
    },
    /// A number in a frame that cannot be meant.
    #[error("the peer sent a frame {kind:?} with a value that cannot be: {value}")]
    WrongValue {
        /// The kind of the frame.
        kind: Kind,
        /// The value.
        value: u64,
    },
    /// More bytes of an object than were asked for.
    #[error("the peer sent more of stream {stream} than it was given credit for")]
    CreditExceeded {
        /// The number of the stream, or zero for that of the whole connection.
        stream: u32,
    },
    /// More bytes of an object than it was said to have, or fewer.
    #[error("the peer sent another number of bytes than it had announced for stream {stream}")]
    WrongObjectLength {
        /// The number of the stream.
        stream: u32,
    },
    /// A text that is none.
    #[error("the peer sent a frame {kind:?} whose text is not valid")]
    WrongText {
        /// The kind of the frame.
        kind: Kind,
    },
    /// Nothing was heard of the peer although it owes something.
    #[error("nothing was heard of the peer for {:.1} s", .0.as_secs_f64())]
    Silent(Duration),
}
