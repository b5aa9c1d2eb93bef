//! Byte streams between processes: TCP, Unix sockets and TLS over either, and the secrets that open
//! them.
//!
//! Everything here works in both colours of [`proxystore_runtime`]: on a thread that drives its
//! operation as well as in a task.
//!
//! # Layout
//!
//! * [`address`]: [`Address`], where a peer is.
//! * [`stream`]: [`Stream`], bytes to and from a peer; `connect` and `resolve` make one.
//! * [`listener`]: [`Listener`], streams that peers begin.
//! * [`tls`]: who is trusted; `session` is the TLS within a stream.
//! * [`secret`]: [`Secret`], named in configurations and never in texts.
//! * [`error`]: what goes wrong.

#![forbid(unsafe_code)]

pub mod address;
mod connect;
pub mod error;
pub mod listener;
mod resolve;
pub mod secret;
mod session;
pub mod stream;
pub mod tls;

pub use self::{
    address::Address,
    error::StreamError,
    listener::Listener,
    secret::{Secret, SecretError},
    stream::Stream,
    tls::{TlsClient, TlsServer},
};
