//! Bytes to and from a peer.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    task::{Context, Poll},
};

use proxystore_memory::{Filling, Segment, send_vectored};
use proxystore_runtime::{Colour, Interest, Socket};
use rustix::net::{AddressFamily, sockopt};

use crate::{
    address::Address,
    connect::connect,
    error::StreamError,
    session::Session,
    tls::{TlsClient, TlsServer},
};

/// Bytes to and from a peer, in order, over TCP or a Unix socket, in TLS or plain.
///
/// One reader and one writer may work at the same time. A stream belongs to the colour that it was
/// made in.
pub struct Stream {
    socket: Socket,
    tls: Option<Session>,
    peer: String,
    addresses: Option<(SocketAddr, SocketAddr)>,
    peer_user: Option<u32>,
}

impl Stream {
    /// Connects to a peer; with `tls`, as its client. There is no deadline of its own: whoever calls
    /// puts a [`timeout`](proxystore_runtime::timeout) around it.
    ///
    /// # Errors
    ///
    /// If the peer cannot be reached, does not speak TLS, or is not trusted.
    pub async fn connect(address: &Address, tls: Option<&TlsClient>) -> Result<Self, StreamError> {
        let peer = address.to_string();
        let lost = |error| StreamError::unreachable(&peer, error);
        let mut stream = Self::from_socket(connect(address).await?).map_err(lost)?;
        stream.peer.clone_from(&peer);
        match tls {
            None => Ok(stream),
            Some(tls) => {
                let session = tls.session(address)?;
                stream.secured_by(session).await.map_err(lost)
            }
        }
    }

    /// The stream of a connected socket.
    pub(crate) fn from_socket(socket: Socket) -> io::Result<Self> {
        let local = rustix::net::getsockname(&socket)?;
        let mut addresses = None;
        let mut peer_user = None;
        let peer = if local.address_family() == AddressFamily::UNIX {
            let credentials = sockopt::socket_peercred(&socket)?;
            let user = credentials.uid.as_raw();
            peer_user = Some(user);
            let process = credentials.pid.as_raw_nonzero();
            format!("process {process} of user {user}")
        } else {
            let peer = rustix::net::getpeername(&socket)?
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            let peer = SocketAddr::try_from(peer)?;
            addresses = Some((SocketAddr::try_from(local)?, peer));
            peer.to_string()
        };
        Ok(Self {
            socket,
            tls: None,
            peer,
            addresses,
            peer_user,
        })
    }

    /// Becomes the server of a peer that connected, in TLS. Until the peer has answered this waits;
    /// the caller limits for how long.
    ///
    /// # Errors
    ///
    /// If the peer does not speak TLS, is not trusted, or goes away.
    pub async fn secured(self, tls: &TlsServer) -> Result<Self, StreamError> {
        let session = tls.session()?;
        let peer = self.peer.clone();
        let secured = self.secured_by(session).await;
        secured.map_err(|error| StreamError::lost(&peer, error))
    }

    async fn secured_by(mut self, session: Session) -> io::Result<Self> {
        poll_fn(|context| session.poll_handshake(&self.socket, context)).await?;
        self.tls = Some(session);
        Ok(self)
    }

    /// Reads what there is, as much as fits; zero at the end.
    ///
    /// # Errors
    ///
    /// If the connection is lost, or in TLS ends without the peer having said so.
    pub fn poll_read(
        &self,
        context: &mut Context<'_>,
        staging: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(tls) = &self.tls else {
            let len = staging.len();
            return self.socket.poll_io_until(
                context,
                Interest::Read,
                |socket| Ok(rustix::io::read(socket, &mut *staging)?),
                // At the end there is always something to read: that it is the end.
                |read| *read < len && *read > 0,
            );
        };
        tls.poll_read(&self.socket, context, staging)
    }

    /// Reads what there is: at most `limit` bytes into `filling`, what follows into `staging`.
    /// Returns how many went where; both are zero at the end.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub fn poll_fill(
        &self,
        context: &mut Context<'_>,
        filling: &mut Filling,
        limit: usize,
        staging: &mut [u8],
    ) -> Poll<io::Result<(usize, usize)>> {
        let Some(tls) = &self.tls else {
            let room = filling.remaining().min(limit) + staging.len();
            return self.socket.poll_io_until(
                context,
                Interest::Read,
                |socket| filling.read(socket, limit, &mut *staging),
                |(first, second)| first + second < room && first + second > 0,
            );
        };
        tls.poll_fill(&self.socket, context, filling, limit, staging)
    }

    /// Writes the first bytes of `segments`, and returns how many. In TLS they may stay here until
    /// [`poll_flush`](Self::poll_flush) has sent them.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub fn poll_write(
        &self,
        context: &mut Context<'_>,
        segments: &[Segment<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(tls) = &self.tls else {
            return self.socket.poll_io(context, Interest::Write, |socket| {
                send_vectored(socket, segments)
            });
        };
        tls.poll_write(&self.socket, context, segments)
    }

    /// Sends what TLS holds back. Without TLS there is never anything.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_flush(&self.socket, context),
        }
    }

    /// As [`poll_read`](Self::poll_read).
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub async fn read(&self, staging: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, staging)).await
    }

    /// As [`poll_fill`](Self::poll_fill).
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub async fn fill(
        &self,
        filling: &mut Filling,
        limit: usize,
        staging: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        poll_fn(|context| self.poll_fill(context, filling, limit, staging)).await
    }

    /// Writes all bytes of `segments`, in order, and sends them.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub async fn write_all(&self, segments: &[Segment<'_>]) -> io::Result<()> {
        let mut rest = segments;
        let mut first = Segment::EMPTY;
        loop {
            while first.is_empty() {
                let Some((next, others)) = rest.split_first() else {
                    return self.flush().await;
                };
                (first, rest) = (*next, others);
            }
            let mut written = if rest.is_empty() {
                poll_fn(|context| self.poll_write(context, &[first])).await?
            } else {
                let gathered = gather(first, rest);
                poll_fn(|context| self.poll_write(context, &gathered)).await?
            };
            while written > 0 {
                if written < first.len() {
                    first = first.slice(written..);
                    break;
                }
                written -= first.len();
                first = Segment::EMPTY;
                if let Some((next, others)) = rest.split_first() {
                    (first, rest) = (*next, others);
                }
            }
        }
    }

    /// As [`poll_flush`](Self::poll_flush).
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub async fn flush(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush(context)).await
    }

    /// Has the next read look whether something has come, for those who do not wait.
    pub fn assume_readable(&self) {
        self.socket.assume_ready();
    }

    /// Ends both directions at once: whoever reads finds the end.
    pub fn shutdown(&self) {
        self.socket.shutdown();
    }

    /// The first byte that has arrived and was not read yet, without reading it; none at the end.
    /// It is for streams that are not in TLS, where it tells what the peer wants to speak.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub fn poll_peek(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        use rustix::net::RecvFlags;
        self.socket.poll_io(context, Interest::Read, |socket| {
            let mut byte = [0_u8; 1];
            let (len, _) = rustix::net::recv(socket, &mut byte, RecvFlags::PEEK)?;
            Ok((len > 0).then_some(byte[0]))
        })
    }

    /// Whether no byte has arrived that was not read, and the peer has not gone: so a connection
    /// looks that can be used again. Costs one system call, and reads nothing.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        use rustix::net::RecvFlags;
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(&self.socket, &mut byte, flags);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// The colour that it belongs to.
    #[must_use]
    pub const fn colour(&self) -> Colour {
        self.socket.colour()
    }

    /// Who is at the other end, as texts name it.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The user who is at the other end of a Unix socket, as the kernel says.
    #[must_use]
    pub const fn peer_user(&self) -> Option<u32> {
        self.peer_user
    }

    /// This end's and the other end's address of TCP.
    #[must_use]
    pub const fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.addresses
    }

    /// Whether it is in TLS.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Bytes that only the two ends of this TLS connection know, and that differ for each label
    /// (RFC 5705); none without TLS.
    #[must_use]
    pub fn channel_binding(&self, label: &str) -> Option<[u8; 32]> {
        self.tls.as_ref()?.exported(label)
    }
}

/// As many segments as one system call takes.
fn gather<'a>(first: Segment<'a>, rest: &[Segment<'a>]) -> Vec<Segment<'a>> {
    const MOST: usize = 64;
    let rest = rest.iter().copied().take(MOST - 1);
    std::iter::once(first).chain(rest).collect()
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Stream")
            .field("peer", &self.peer)
            .field("encrypted", &self.is_encrypted())
            .finish_non_exhaustive()
    }
}
