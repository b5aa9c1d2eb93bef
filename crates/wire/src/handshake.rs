//! How a connection begins: both sides introduce themselves, and prove that they know the secret.
//!
//! The client speaks first. Two records of each side at most, all of fixed length:
//!
//! 1. client: hello. 2. node: hello, with a refusal if the two do not fit together.
//! 3. client: proof. 4. node: proof, or a refusal.
//!
//! Steps 3 and 4 are left out where the transport has made sure who is there. A proof is the
//! HMAC-SHA256 of a label for the role, both hellos and the *binding*: bytes that both sides know of
//! the channel between them and that nobody in between can make equal on two channels.

mod alien;
mod client;
mod error;
mod hello;
mod node;
mod proof;

pub use self::{
    alien::Alien,
    client::ClientHandshake,
    error::HandshakeError,
    hello::{HELLO, MAGIC, Method, VERSION},
    node::NodeHandshake,
    proof::{PROOF, SHORTEST_SECRET},
};

use crate::limits::Limits;

/// Who a side takes the other to be.
pub enum Authentication<'a> {
    /// The transport has made sure: the user of a Unix socket, certificates of both sides.
    Transport,
    /// Whoever knows the secret.
    Secret {
        /// The secret: at least [`SHORTEST_SECRET`] bytes.
        secret: &'a [u8],
        /// What both sides know of the channel: the exporter value of TLS, or the addresses of the
        /// client and of the node as seen from this side.
        binding: &'a [u8],
    },
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version of the protocol.
    pub version: u16,
    /// What this side takes.
    pub own: Limits,
    /// What the peer takes.
    pub peer: Limits,
}

/// How far a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many of the bytes that were shown are done with.
    pub used: usize,
    /// What was agreed on, once the handshake is over. What is left of the bytes then belongs to the
    /// session.
    pub agreed: Option<Agreed>,
}
