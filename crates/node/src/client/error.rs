//! What can go wrong with a node that is asked, and how it is told.

use std::{io, sync::Arc};

use proxystore_core::{Error, ErrorKind};
use proxystore_stream::StreamError;
use proxystore_wire::{Violation, handshake::HandshakeError, message::Refusal};

/// What can go wrong with a node that is asked. Several operations may fail of one cause, so it can
/// be had more than once.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The node cannot be reached, whoever is there is not trusted, or the system has no means left.
    #[error("{}", .0.message())]
    Unreachable(Arc<Error>),
    /// The two sides do not come to an agreement.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The connection was lost while the request was under way.
    #[error("the connection was lost before the node answered: {0}")]
    Lost(Lost),
    /// The node said no.
    #[error("{}", refused(*refusal, text))]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What happened, as the node says.
        text: Arc<str>,
    },
    /// What arrived is not what was put.
    #[error("the object is damaged: its checksum is not that of the bytes that arrived")]
    Corrupted,
    /// There is no memory for an object.
    #[error("there is no memory for an object of {len} bytes")]
    NoMemory {
        /// Its length in bytes.
        len: u64,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The node answered something else than was asked.
    #[error("the node answered what was not asked")]
    Nonsense,
    /// This process is a fork of the one that asked.
    #[error("this process was forked while the request was under way; ask again")]
    Forked,
    /// The operation took too long.
    #[error("the node did not answer in time")]
    TimedOut,
}

/// How a connection was lost.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The node closed it.
    #[error("the node closed it")]
    Closed,
    /// The client closed it.
    #[error("this side closed it")]
    Here,
    /// The system says so.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The node does not keep to the protocol, or is silent.
    #[error("{0}")]
    Violation(Violation),
}

fn refused(refusal: Refusal, text: &str) -> String {
    let reason = match refusal {
        Refusal::Full => "the node has no room for the object; evict others, or raise its budget",
        Refusal::TooLarge => "the object is larger than the node takes",
        Refusal::Forbidden => "the key does not open the object",
        Refusal::Changed => "the object changed while it was sent",
        Refusal::Damaged => "the node's copy of the object is damaged",
        Refusal::Cancelled => "the request was given up",
        Refusal::Draining => "the node is about to stop",
        _ => "the node refused",
    };
    if text.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason} ({text})")
    }
}

const fn kind_of(error: &HandshakeError) -> ErrorKind {
    match error {
        HandshakeError::WrongProof | HandshakeError::Refused | HandshakeError::Method { .. } => {
            ErrorKind::PermissionDenied
        }
        HandshakeError::ShortSecret(_) => ErrorKind::InvalidConfig,
        _ => ErrorKind::Unavailable,
    }
}

impl From<StreamError> for ClientError {
    fn from(error: StreamError) -> Self {
        Self::from(Error::from(error))
    }
}

impl From<io::Error> for ClientError {
    /// Of a connection that was there.
    fn from(error: io::Error) -> Self {
        Self::Lost(Lost::Io(Arc::new(error)))
    }
}

impl From<Violation> for ClientError {
    fn from(violation: Violation) -> Self {
        Self::Lost(Lost::Violation(violation))
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        Self::Unreachable(Arc::new(error))
    }
}

impl ClientError {
    /// Whether the request may be sent again at once: nothing shows that the node is unwilling.
    pub(crate) const fn is_loss(&self) -> bool {
        match self {
            Self::Lost(Lost::Violation(violation)) => matches!(violation, Violation::Silent(_)),
            Self::Lost(_) => true,
            Self::Refused { refusal, .. } => matches!(refusal, Refusal::Draining),
            _ => false,
        }
    }

    /// The public error, of a request to `peer`.
    pub(crate) fn of(self, peer: &str) -> Error {
        let message = self.to_string();
        let error = match self {
            Self::Unreachable(cause) => {
                let error = Error::new(cause.kind(), message).with_retryable(cause.is_retryable());
                match cause.path() {
                    Some(path) => error.with_path(path),
                    None => error,
                }
            }
            Self::Handshake(error) => Error::new(kind_of(&error), message).with_retryable(
                matches!(error, HandshakeError::Full | HandshakeError::Draining),
            ),
            Self::Lost(Lost::Violation(violation)) => {
                let silent = matches!(violation, Violation::Silent(_));
                Error::new(ErrorKind::Unavailable, message).with_retryable(silent)
            }
            Self::Lost(_) | Self::Forked => Error::new(ErrorKind::Unavailable, message),
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Full => Error::new(ErrorKind::StorageFull, message),
                Refusal::TooLarge => Error::new(ErrorKind::TooLarge, message),
                Refusal::Forbidden => Error::new(ErrorKind::PermissionDenied, message),
                Refusal::Changed | Refusal::Damaged => Error::new(ErrorKind::Corrupted, message),
                Refusal::Draining | Refusal::Cancelled => {
                    Error::new(ErrorKind::Unavailable, message)
                }
                _ => Error::new(ErrorKind::Unavailable, message).with_retryable(false),
            },
            Self::Corrupted => Error::new(ErrorKind::Corrupted, message),
            Self::NoMemory { source, .. } => {
                Error::new(ErrorKind::StorageFull, message).with_source(source)
            }
            Self::Nonsense => Error::new(ErrorKind::Unavailable, message).with_retryable(false),
            Self::TimedOut => Error::new(ErrorKind::TimedOut, message),
        };
        error.with_peer(peer)
    }
}
