//! Makes connections: by the shortest way, to whoever proves to be the node that is meant.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs, UdpSocket},
};

use proxystore_stream::{Address, Stream, StreamError, TlsClient};
use proxystore_wire::{
    Limits,
    handshake::{Agreed, Authentication, ClientHandshake},
};

use super::{
    error::{ClientError, Lost},
    settings::{Credentials, NodeAddress, Settings},
};
use crate::{
    channel::{Side, binding},
    place,
};

/// A connection whose two sides know each other.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    pub(crate) agreed: Agreed,
    /// What the node has sent already beyond its handshake.
    pub(crate) rest: Vec<u8>,
}

/// Connects to a node. There is no deadline of its own.
pub(crate) async fn dial(node: &NodeAddress, settings: &Settings) -> Result<Dialled, ClientError> {
    if settings.unix
        && let Some(stream) = by_unix_socket(node).await?
    {
        return shake_hands(stream, &Authentication::Transport).await;
    }
    let address = node.tcp();
    let encrypt = settings.encrypt.unwrap_or_else(|| !address.is_local());
    match &settings.credentials {
        Credentials::Certificates(tls) => {
            let stream = Stream::connect(&address, Some(tls)).await?;
            shake_hands(stream, &Authentication::Transport).await
        }
        Credentials::Secret(secret) => {
            let secret = secret.reveal().map_err(StreamError::from)?;
            let tls = encrypt.then(TlsClient::anonymous).transpose()?;
            let stream = Stream::connect(&address, tls.as_ref()).await?;
            let binding = binding(&stream, Side::Client).unwrap_or_default();
            let authentication = Authentication::Secret {
                secret: &secret,
                binding: &binding,
            };
            shake_hands(stream, &authentication).await
        }
    }
}

/// The connection to this user's node on this host, if the address is of this host and the node has
/// a Unix socket. A socket that nobody listens at any more counts as none.
async fn by_unix_socket(node: &NodeAddress) -> Result<Option<Stream>, ClientError> {
    let Ok(path) = place::socket(node.port()) else {
        return Ok(None);
    };
    if !path.exists() || !is_here(node).await? {
        return Ok(None);
    }
    let Ok(stream) = Stream::connect(&Address::Unix(path), None).await else {
        return Ok(None);
    };
    // In a directory of this user's own it cannot be anybody else's, short of the superuser's.
    let user = rustix::process::geteuid().as_raw();
    Ok((stream.peer_user() == Some(user)).then_some(stream))
}

/// Whether an address is one of this host's.
async fn is_here(node: &NodeAddress) -> Result<bool, ClientError> {
    let address = node.tcp();
    if address.is_local() {
        return Ok(true);
    }
    let bindable = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    if let Ok(address) = node.host().parse::<IpAddr>() {
        return Ok(bindable(address));
    }
    // The resolver blocks, and what it fails at will be told when TCP asks it again.
    let host = node.host().to_owned();
    let work = move || {
        let addresses = (host.as_str(), 0).to_socket_addrs();
        addresses.is_ok_and(|mut addresses| addresses.any(|address| bindable(address.ip())))
    };
    Ok(proxystore_runtime::unblock(work).await?)
}

async fn shake_hands(
    stream: Stream,
    authentication: &Authentication<'_>,
) -> Result<Dialled, ClientError> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let mut out = Vec::new();
    let mut handshake = ClientHandshake::new(Limits::default(), authentication, nonce, &mut out)?;
    let mut received = Vec::new();
    let mut staging = [0; 512];
    loop {
        if !out.is_empty() {
            say(&stream, &out).await?;
            out.clear();
        }
        let read = stream.read(&mut staging).await;
        match read.map_err(|error| ended(&stream, error))? {
            0 => return Err(ClientError::Lost(Lost::Closed)),
            read => received.extend_from_slice(&staging[..read]),
        }
        let progress = handshake.receive(&received, &mut out)?;
        received.drain(..progress.used);
        if let Some(agreed) = progress.agreed {
            if !out.is_empty() {
                say(&stream, &out).await?;
            }
            return Ok(Dialled {
                stream,
                agreed,
                rest: received,
            });
        }
    }
}

async fn say(stream: &Stream, bytes: &[u8]) -> Result<(), ClientError> {
    let Err(error) = stream.write_all(&[bytes.into()]).await else {
        return Ok(());
    };
    // In TLS this side is done before the node has looked at its certificate: why the node has gone
    // is in what it said last.
    match stream.read(&mut [0]).await {
        Err(last) => Err(ended(stream, last)),
        Ok(_) => Err(error.into()),
    }
}

/// Why a connection has ended that the node may not have wanted.
fn ended(stream: &Stream, error: io::Error) -> ClientError {
    match StreamError::lost(stream.peer(), error) {
        StreamError::Lost { source, .. } => source.into(),
        error => error.into(),
    }
}
