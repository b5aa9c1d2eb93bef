//! Streams that peers begin.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use proxystore_runtime::Socket;
use tokio::net::{TcpListener, UnixListener};

use crate::{address::Address, error::StreamError, resolve::resolve, stream::Stream};

/// A socket that peers connect to. It belongs to the tokio runtime that it is bound in.
#[derive(Debug)]
pub struct Listener(Inner);

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens at `address`; port zero is any that is free. A Unix socket's path must not exist.
    ///
    /// # Errors
    ///
    /// [`StreamError::Listen`] with the system's answer; [`StreamError::Unresolved`].
    pub async fn bind(address: &Address) -> Result<Self, StreamError> {
        let bound = match address {
            Address::Unix(path) => {
                UnixListener::bind(path).map(|socket| Self(Inner::Unix(socket, path.clone())))
            }
            Address::Tcp { host, port } => {
                let addresses = resolve(host, *port).await?;
                TcpListener::bind(addresses.as_slice())
                    .await
                    .map(|socket| Self(Inner::Tcp(socket)))
            }
        };
        bound.map_err(|source| StreamError::Listen {
            address: address.to_string(),
            source,
        })
    }

    /// Where it listens, with the port that was found for port zero.
    ///
    /// # Errors
    ///
    /// Whatever the system answers.
    pub fn address(&self) -> io::Result<Address> {
        match &self.0 {
            Inner::Tcp(socket) => {
                let address = socket.local_addr()?;
                Ok(Address::tcp(address.ip().to_string(), address.port()))
            }
            Inner::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }

    /// The next peer's connection, not registered with any runtime yet: it is for
    /// [`Stream::accepted`], wherever it is to be served.
    ///
    /// # Errors
    ///
    /// Whatever the system answers. Some of it passes (too many open files, a peer that gave up),
    /// so the caller goes on after a while.
    pub async fn accept(&self) -> io::Result<OwnedFd> {
        match &self.0 {
            Inner::Tcp(socket) => {
                let (socket, _) = socket.accept().await?;
                socket.set_nodelay(true)?;
                Ok(socket.into_std()?.into())
            }
            Inner::Unix(socket, _) => {
                let (socket, _) = socket.accept().await?;
                Ok(socket.into_std()?.into())
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Inner::Tcp(socket) => socket.as_fd(),
            Inner::Unix(socket, _) => socket.as_fd(),
        }
    }
}

impl Stream {
    /// The stream of a connection that was [accepted](Listener::accept), to be served by whoever
    /// calls this.
    ///
    /// # Errors
    ///
    /// If its peer has gone already, or there is no runtime here.
    pub fn accepted(connection: OwnedFd) -> io::Result<Self> {
        Self::from_socket(Socket::new(connection)?)
    }
}
