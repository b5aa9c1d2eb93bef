//! Why there is no node.

use std::{io, path::PathBuf};

use proxystore_core::{Error, ErrorKind};
use proxystore_stream::{SecretError, StreamError};

use crate::place::Owner;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// There is one of this user's: join it.
    #[error("process {} is this user's node on port {port} already", owner.process)]
    AlreadyRunning {
        /// The port.
        port: u16,
        /// Which it is.
        owner: Owner,
    },
    /// Something else listens there.
    #[error(
        "port {port} of {host} is taken by another program or by another user's node; choose \
         another port"
    )]
    PortInUse {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// The host is not this one.
    #[error("{host} is no address of this machine, so no node can listen there")]
    NotHere {
        /// The host.
        host: String,
    },
    /// Everybody on the network could get in.
    #[error(
        "{host} can be reached from other machines, so a node there needs a secret that its \
         clients share (env:NAME or file:PATH), or certificates"
    )]
    Unprotected {
        /// The host.
        host: String,
    },
    /// The secret could be guessed.
    #[error("the secret has fewer than {least} bytes; make one by 'openssl rand -hex 32'")]
    ShortSecret {
        /// Bytes of the shortest one that is taken.
        least: usize,
    },
    /// The place for sockets cannot be used.
    #[error("the directory of this user's sockets cannot be used: {source}")]
    Place {
        /// The system's answer.
        source: io::Error,
    },
    /// Objects cannot be spilled.
    #[error("nothing can be spilled there: {source}")]
    Spill {
        /// The directory.
        directory: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The address cannot be listened at, or the certificates cannot be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The system has no room for threads.
    #[error(transparent)]
    Runtime(Error),
    /// Nobody said whether the node started.
    #[error("the node ended while it started")]
    Ended,
}

impl From<NodeError> for Error {
    fn from(error: NodeError) -> Self {
        let message = error.to_string();
        match error {
            NodeError::AlreadyRunning { port, owner } => {
                let peer = if owner.address.is_empty() {
                    format!("port {port}")
                } else {
                    owner.address
                };
                Self::new(ErrorKind::Unavailable, message).with_peer(peer)
            }
            NodeError::PortInUse { host, port } => Self::new(ErrorKind::Unavailable, message)
                .with_retryable(false)
                .with_peer(format!("{host}:{port}")),
            NodeError::NotHere { .. }
            | NodeError::Unprotected { .. }
            | NodeError::ShortSecret { .. } => Self::new(ErrorKind::InvalidConfig, message),
            NodeError::Place { source } => {
                let error = Self::from_io("", source);
                Self::new(error.kind(), message)
            }
            NodeError::Spill { directory, source } => {
                let error = Self::from_io("", source);
                Self::new(error.kind(), message).with_path(directory)
            }
            NodeError::Secret(error) => error.into(),
            NodeError::Stream(error) => error.into(),
            NodeError::Runtime(error) => error,
            NodeError::Ended => Self::new(ErrorKind::Internal, message),
        }
    }
}
