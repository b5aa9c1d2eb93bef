//! How a connection begins: who is there?

use std::{future::poll_fn, io, os::fd::OwnedFd, time::Duration};

use proxystore_memory::Segment;
use proxystore_stream::{Stream, StreamError};
use proxystore_wire::{
    Limits,
    handshake::{Agreed, Authentication, HandshakeError, NodeHandshake},
};
use rustix::net::sockopt;

use super::{Shared, table::Seat};
use crate::channel::{Side, binding};

/// How TLS begins.
const TLS: u8 = 0x16;
/// More bytes than a client may send before it is known who it is.
const READ: usize = 4 << 10;
/// How often it is looked in vain whether a peer's host is still there.
const LOOKS: u32 = 4;

/// A client, and what it was agreed on with it.
pub(super) struct Introduced {
    pub(super) stream: Stream,
    pub(super) agreed: Agreed,
    /// What it has sent since.
    pub(super) rest: Vec<u8>,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejected {
    /// Another user's process.
    #[error("it belongs to user {0}")]
    User(u32),
    /// It does not encrypt where it must.
    #[error("it does not encrypt")]
    Plain,
    /// It encrypts where nobody does.
    #[error("it encrypts, which this node does not: encrypt=False")]
    Encrypted,
    /// It went away.
    #[error("it went away")]
    Gone,
    /// The system says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection was lost, or TLS came to nothing.
    #[error("{0}")]
    Stream(#[from] StreamError),
    /// It does not speak the protocol, or does not know the secret.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
}

/// Finds out who connected, and agrees with them on how to go on.
pub(super) async fn introduce(
    shared: &Shared,
    seat: &Seat,
    connection: OwnedFd,
) -> Result<Introduced, Rejected> {
    let stream = Stream::accepted(connection)?;
    let stream = match stream.peer_user() {
        Some(user) if user == rustix::process::geteuid().as_raw() => {
            return agree(seat, stream, &Authentication::Transport).await;
        }
        Some(user) => return Err(Rejected::User(user)),
        None => secure(shared, stream).await?,
    };
    if stream.is_encrypted() && shared.is_certified {
        return agree(seat, stream, &Authentication::Transport).await;
    }
    let Some(binding) = binding(&stream, Side::Node) else {
        return Err(Rejected::Plain);
    };
    let authentication = Authentication::Secret {
        secret: &shared.secret,
        binding: &binding,
    };
    agree(seat, stream, &authentication).await
}

/// Encrypts, if the client does.
async fn secure(shared: &Shared, stream: Stream) -> Result<Stream, Rejected> {
    let first = poll_fn(|context| stream.poll_peek(context)).await?;
    match (first, &shared.tls) {
        (None, _) => Err(Rejected::Gone),
        (Some(TLS), Some(tls)) => Ok(stream.secured(tls).await?),
        (Some(TLS), None) => Err(Rejected::Encrypted),
        (Some(_), _) => {
            let local = stream.addresses().map(|(local, _)| local.ip());
            let is_within_host = local.is_some_and(|local| local.to_canonical().is_loopback());
            let may_be_plain = shared.encrypt.map_or(is_within_host, |encrypt| !encrypt);
            may_be_plain.then_some(stream).ok_or(Rejected::Plain)
        }
    }
}

async fn agree(
    seat: &Seat,
    stream: Stream,
    authentication: &Authentication<'_>,
) -> Result<Introduced, Rejected> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let mut handshake = NodeHandshake::new(Limits::default(), authentication, nonce)?;
    if !seat.has_room() {
        handshake = handshake.refusing_as_full();
    }
    let mut bytes = Vec::new();
    let mut answer = Vec::new();
    let mut read = vec![0; READ];
    loop {
        let len = poll_fn(|context| stream.poll_read(context, &mut read)).await?;
        if len == 0 {
            return Err(Rejected::Gone);
        }
        bytes.extend_from_slice(&read[..len]);
        let progress = handshake.receive(&bytes, &mut answer);
        // Those who are not let in are told why.
        if !answer.is_empty() {
            stream.write_all(&[Segment::from(&answer)]).await?;
            stream.flush().await?;
            answer.clear();
        }
        let progress = progress?;
        bytes.drain(..progress.used);
        if let Some(agreed) = progress.agreed {
            return Ok(Introduced {
                stream,
                agreed,
                rest: bytes,
            });
        }
    }
}

/// Lets the system find out when a peer's host is gone: after half of the time without a word it
/// begins to look.
pub(super) fn keep_alive(connection: &OwnedFd, time: Duration) -> io::Result<()> {
    let half = time / 2;
    sockopt::set_socket_keepalive(connection, true)?;
    sockopt::set_tcp_keepidle(connection, half)?;
    sockopt::set_tcp_keepintvl(connection, half / LOOKS)?;
    sockopt::set_tcp_keepcnt(connection, LOOKS)?;
    // While something that was sent is not acknowledged, the system does not look.
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(connection, millis)?)
}
