//! Connections to peers.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use proxystore_runtime::{Interest, Socket, sleep_until};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt},
};

use crate::{address::Address, error::StreamError, resolve::resolve};

/// How long one address of a host may stay silent before the next is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// How long to wait for room among the connections that a Unix socket has not accepted yet.
const BACKLOG: Duration = Duration::from_millis(2);

/// A connected socket.
pub(crate) async fn connect(address: &Address) -> Result<Socket, StreamError> {
    let connected = match address {
        Address::Unix(path) => unix(path).await,
        Address::Tcp { host, port } => race(resolve(host, *port).await?).await,
    };
    connected.map_err(|error| StreamError::unreachable(&address.to_string(), error))
}

/// The first of the addresses to answer.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<Socket> {
    let mut untried = addresses.into_iter();
    let mut attempts: Vec<Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>> = Vec::new();
    let mut pause = None;
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    poll_fn(|context| {
        loop {
            let mut index = 0;
            while index < attempts.len() {
                match attempts[index].as_mut().poll(context) {
                    Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(socket)),
                    Poll::Ready(Err(error)) => {
                        failure = error;
                        drop(attempts.remove(index));
                        pause = None;
                    }
                    Poll::Pending => index += 1,
                }
            }
            let timer = pause.get_or_insert_with(|| {
                // Without a predecessor the next address need not wait.
                let wait = if attempts.is_empty() {
                    Duration::ZERO
                } else {
                    STAGGER
                };
                sleep_until(Instant::now() + wait)
            });
            if untried.len() > 0 && Pin::new(timer).poll(context).is_pending() {
                return Poll::Pending;
            }
            pause = None;
            match untried.next() {
                Some(address) => attempts.push(Box::pin(tcp(address))),
                None if attempts.is_empty() => {
                    let failed = std::mem::replace(&mut failure, io::ErrorKind::Other.into());
                    return Poll::Ready(Err(failed));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

async fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let socket = Socket::new(socket)?;
    poll_fn(|context| {
        socket.poll_io(context, Interest::Write, |descriptor| {
            sockopt::socket_error(descriptor)??;
            match rustix::net::getpeername(descriptor) {
                Ok(_) => Ok(()),
                Err(Errno::NOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            }
        })
    })
    .await?;
    Ok(socket)
}

async fn unix(path: &Path) -> io::Result<Socket> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Socket::new(socket),
            Err(Errno::AGAIN) => sleep_until(Instant::now() + BACKLOG).await,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
