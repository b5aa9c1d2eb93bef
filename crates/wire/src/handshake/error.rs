//! Why a handshake failed.

use super::{Alien, SHORTEST_SECRET};

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Somebody else talks there.
    #[error("{0} answers there, not a node or a client of one")]
    Alien(Alien),
    /// The two have no version in common.
    #[error(
        "the peer speaks versions {} to {} of the protocol, this side versions {} to {}: update \
         the older of the two",
        .peer.0, .peer.1, .own.0, .own.1
    )]
    Version {
        /// The lowest and the highest version of the peer.
        peer: (u16, u16),
        /// The lowest and the highest version of this side.
        own: (u16, u16),
    },
    /// The peer wants to be sure of this side in another way.
    #[error(
        "the peer expects {peer}, this side {own}: give both the same secret, or certificates to \
         both"
    )]
    Method {
        /// How the peer makes sure who is there.
        peer: super::Method,
        /// How this side does.
        own: super::Method,
    },
    /// The peer does not know the secret, or knows another.
    #[error("the peer does not know the secret of this side")]
    WrongProof,
    /// The node says that this side does not know its secret, or not on this connection.
    #[error(
        "the node refused this client: it has another secret, or somebody stands between the two"
    )]
    Refused,
    /// The node has no room for another connection.
    #[error("the node has no room for another connection")]
    Full,
    /// The node is about to stop.
    #[error("the node is about to stop")]
    Draining,
    /// Bytes of a handshake that cannot be meant.
    #[error("the peer sent a handshake that contradicts itself")]
    Malformed,
    /// The secret of this side could be guessed.
    #[error("the secret has {0} bytes, it must have at least {SHORTEST_SECRET}")]
    ShortSecret(usize),
}
