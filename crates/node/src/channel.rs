//! What both sides of a connection know of it.

use std::net::SocketAddr;

use proxystore_stream::Stream;

/// The label of what TLS derives for us from the keys of a connection (RFC 5705).
const LABEL: &str = "EXPORTER-proxystore-node";

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that connected.
    Client,
    /// The one that listens.
    Node,
}

/// Bytes that both sides know of the connection between them, and that nobody in between can make
/// equal on two connections: proofs of the secret are bound to them, so that they cannot be passed
/// on. None of a Unix socket, where the kernel says who is there.
///
/// Without TLS these are the addresses of both ends, as each side sees them. Whoever listens in
/// place of the node has other ones.
pub(crate) fn binding(stream: &Stream, side: Side) -> Option<Vec<u8>> {
    if stream.is_encrypted() {
        return stream.channel_binding(LABEL).map(|bytes| bytes.to_vec());
    }
    let (local, peer) = stream.addresses()?;
    let (client, node) = match side {
        Side::Client => (local, peer),
        Side::Node => (peer, local),
    };
    Some(format!("{} {}", plain(client), plain(node)).into_bytes())
}

/// An address as it looks on a socket of its own kind: one that listens for both kinds sees those
/// of version 4 as a part of version 6.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_on_both_kinds_of_sockets() {
        let address = |text: &str| text.parse().expect("an address");
        assert_eq!(
            plain(address("[::ffff:127.0.0.1]:80")),
            address("127.0.0.1:80")
        );
        assert_eq!(plain(address("[::1]:80")), address("[::1]:80"));
    }
}
