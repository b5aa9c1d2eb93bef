//! Streams to servers, in TLS or not.

use std::{
    future::{Future, poll_fn},
    io,
    task::Poll,
    time::{Duration, Instant},
};

use proxystore_core::Segment;
use proxystore_runtime::sleep_until;
use proxystore_stream::{Address, Stream, TlsClient};

use crate::error::RedisError;

/// How long a server may take to say something in TLS before it is asked without whether it is one
/// that knows no TLS: such a one takes the beginning of TLS for that of a command, and waits for the
/// rest of it.
const DOUBT: Duration = Duration::from_millis(500);

/// Connects; with `tls`, to a server that knows it.
pub(super) async fn connect(
    address: &Address,
    tls: Option<&TlsClient>,
) -> Result<Stream, RedisError> {
    if tls.is_none() {
        return Ok(Stream::connect(address, None).await?);
    }
    // Both are large, and few connections are made.
    let mut connecting = Box::pin(Stream::connect(address, tls));
    let mut asking = Box::pin(async {
        sleep_until(Instant::now() + DOUBT).await;
        // Whatever is in the way of an answer is in the way of the other connection too.
        answers_plainly(address).await.unwrap_or(false)
    });
    let mut is_asking = true;
    poll_fn(|context| {
        if let Poll::Ready(connected) = connecting.as_mut().poll(context) {
            return Poll::Ready(connected.map_err(RedisError::from));
        }
        if is_asking && let Poll::Ready(is_plain) = asking.as_mut().poll(context) {
            is_asking = false;
            if is_plain {
                let peer = address.to_string().into();
                return Poll::Ready(Err(RedisError::NoTls { peer }));
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether a Redis server answers without TLS. It learns nothing from it.
async fn answers_plainly(address: &Address) -> io::Result<bool> {
    let stream = Stream::connect(address, None)
        .await
        .map_err(io::Error::other)?;
    let command = b"PING\r\n";
    stream.write_all(&[Segment::from(command)]).await?;
    let mut answer = [0; 64];
    let len = stream.read(&mut answer).await?;
    let answer = &answer[..len];
    // An error such as `-NOAUTH`, unless all is well.
    let is_error = matches!(answer, [b'-', letter, ..] if letter.is_ascii_uppercase());
    Ok(is_error || answer.starts_with(b"+PONG"))
}
