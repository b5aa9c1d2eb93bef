//! What a node's session tells.

use crate::{StreamId, message::Request};

/// One request: what answers name. It stays valid until the request is over, and is not mistaken
/// for a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(super) stream: u32,
    pub(super) generation: u32,
}

impl Ticket {
    /// The stream of the request, to match it with [`Chunk::stream`](crate::Chunk::stream).
    #[must_use]
    pub const fn stream(self) -> StreamId {
        StreamId(self.stream)
    }
}

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
    /// A request. One to [`Begin`](Request::Begin) an object is to be answered by
    /// [`Session::accept`](super::Session::accept) once there is room for it, or refused.
    Request {
        /// What answers name.
        ticket: Ticket,
        /// The request. The checksum of a [`Put`](Request::Put) was found right.
        request: Request<'a>,
    },
    /// The next bytes, `len` at most, are the next part of the object of `ticket`. Those that are
    /// in the staging buffer already come first. Asking again before
    /// [`body_received`](super::Session::body_received) gives the same answer.
    Body {
        /// The request.
        ticket: Ticket,
        /// How many bytes of the chunk are left.
        len: usize,
    },
    /// The next bytes belong to an object that was neither accepted nor refused.
    Waiting {
        /// The request.
        ticket: Ticket,
    },
    /// All bytes of the object are there. If their checksum is `sum`, it is to be stored, and the
    /// request answered; if not, the request is to be refused with
    /// [`Refusal::Changed`](crate::message::Refusal::Changed).
    Ended {
        /// The request.
        ticket: Ticket,
        /// The checksum of the object as the client sent it.
        sum: u64,
    },
    /// The client gave the request up: whatever is held or done for it is to be dropped. Nothing is
    /// to be answered, and what would be stored for it is not to be stored any more.
    Cancelled {
        /// The request, which is over.
        ticket: Ticket,
    },
    /// Send what is to be sent first.
    Congested,
}
