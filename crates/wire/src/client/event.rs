//! What a client's session tells.

use crate::{StreamId, message::Reply};

/// What arrived, and how many bytes of the staging buffer are done with.
#[derive(Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// The bytes that are done with.
    pub used: usize,
    /// What arrived; none if there are not enough bytes for anything.
    pub event: Option<Event<'a>>,
}

/// What arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The request is over.
    Reply {
        /// Its stream, which is free now.
        stream: StreamId,
        /// Anything but [`Reply::Found`].
        reply: Reply<'a>,
    },
    /// The object was found and follows in chunks. Make room and call
    /// [`Session::accept`](super::Session::accept), or [`Session::cancel`](super::Session::cancel).
    /// [`Ended`](Self::Ended) follows the last byte; a [`Reply::Refused`] may come instead at any
    /// time, if the node fails to read the object.
    Found {
        /// The stream.
        stream: StreamId,
        /// The length of the object in bytes, as the node says.
        len: u64,
        /// The checksum of the object, to be compared once all is there.
        sum: u64,
    },
    /// The next bytes, `len` at most, are the next part of the body of `stream`. Those that are in
    /// the staging buffer already come first. Asking again before
    /// [`body_received`](super::Session::body_received) gives the same answer.
    Body {
        /// The stream.
        stream: StreamId,
        /// How many bytes of the chunk are left.
        len: usize,
    },
    /// All bytes of the object that was found are there: the request is over. They are what was put
    /// if their checksum is the one in [`Found`](Self::Found).
    Ended {
        /// Its stream, which is free now.
        stream: StreamId,
    },
    /// The next bytes belong to an object that was found but neither accepted nor cancelled.
    Waiting {
        /// The stream.
        stream: StreamId,
    },
    /// The node is about to stop. What is under way will be finished; begin nothing new.
    Draining,
}

/// Why a request cannot begin on this connection at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// As much is under way as the node or this side allows: send what is to be sent, then wait for
    /// replies.
    #[error("too many requests are under way on this connection")]
    Busy,
    /// The node is about to stop: use another connection.
    #[error("the node is about to stop")]
    Draining,
}
