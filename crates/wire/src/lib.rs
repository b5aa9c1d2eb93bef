//! What nodes and their clients say to each other, without any input or output of its own.
//!
//! Bytes that arrived and the present time come in as arguments; events, and bytes to be sent, come
//! out. Whoever owns the socket moves the bytes, so the same code serves blocking callers, tasks and
//! the simulator of the tests. `docs/node_protocol.md` describes what is on the wire.
//!
//! # Layout
//!
//! * [`handshake`]: both sides introduce themselves and prove that they know the secret.
//! * [`client`] and [`server`]: a session of either side, from the handshake to the end of the
//!   connection.
//! * [`frame`] and [`message`]: what a session sends, as bytes and as types.
//! * [`sum`]: the checksum that travels with every object.
//!
//! # How a session is turned
//!
//! 1. What arrived goes into a staging buffer and is shown to `receive`, again and again, until
//!    there is no further event. Each answer says how many bytes of the buffer are done with.
//! 2. `Body` announces that the next bytes are part of an object: they go to their final place,
//!    from the staging buffer or straight from the socket, and are reported by `body_received`.
//! 3. `outgoing` says what to send: bytes of the session's own and, after them, a part of the
//!    body of one stream, which whoever holds the object writes. What was written is reported by
//!    `sent`.
//! 4. `handle_timeout` is called when `next_timeout` has come, after what arrived was shown.
//!
//! A [`Violation`] ends the connection: nothing that a peer sends after it is looked at.

#![forbid(unsafe_code)]

pub mod client;
pub mod frame;
pub mod handshake;
mod key;
mod limits;
mod link;
pub mod message;
mod outgoing;
mod receiver;
mod sender;
pub mod server;
pub mod sum;
mod violation;
mod window;

pub use self::{
    key::ObjectKey,
    limits::Limits,
    outgoing::{Chunk, Outgoing},
    sum::Sum,
    violation::Violation,
};

/// The number of a stream: a request and all that belongs to it. Chosen by the client, and free
/// again after the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u32);

impl StreamId {
    /// The number. Numbers are small: one that became free is used again
    /// before a new one is begun.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}
