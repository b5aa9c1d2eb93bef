//! Names become addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
};

use crate::{address::is_localhost, error::StreamError};

/// The addresses of a host, in the order in which they are to be tried. The system's resolver
/// blocks, hence runs on a thread that may.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, StreamError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if is_localhost(host) {
        let addresses = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        return Ok(addresses
            .map(|address| SocketAddr::new(address, port))
            .to_vec());
    }
    let name = host.to_owned();
    let found = proxystore_runtime::unblock(move || {
        (name.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect::<Vec<_>>)
    });
    let found = found.await.map_err(StreamError::Runtime)?;
    let unresolved = |source| StreamError::Unresolved {
        host: host.to_owned(),
        source,
    };
    match found {
        Ok(addresses) if addresses.is_empty() => {
            Err(unresolved(io::Error::other("it has no address")))
        }
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(unresolved(error)),
    }
}
