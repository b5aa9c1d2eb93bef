//! What can go wrong in this connector, and how it is told.

use std::{io, sync::Arc};

use proxystore_core::{Error, ErrorKind};
use proxystore_stream::StreamError;

use crate::{
    manifest::Damaged,
    refusal::{Reason, Refusal},
    resp::Malformed,
};

/// What can go wrong in this connector.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// Something cannot be done in the other colour.
    #[error(
        "a subscriber or queue is either awaited by tasks or called by threads; this one was begun \
         the other way: make another one"
    )]
    Astray,
    /// It was closed before.
    #[error("the redis connector is closed; open another one on the server")]
    Closed,
    /// An object is not what was put.
    #[error("the object is damaged: {problem}")]
    Corrupted {
        /// The server.
        peer: Arc<str>,
        /// What is wrong with it.
        problem: Mismatch,
    },
    /// A key that this connector does not make.
    #[error(
        "the key was not made by a redis connector, whose keys are one line of at most 512 bytes"
    )]
    InvalidKey,
    /// The server ended the connection.
    #[error("{peer} ended the connection")]
    Ended {
        /// The server.
        peer: Arc<str>,
    },
    /// There is no memory for an object.
    #[error("there is no memory for the object")]
    Memory(#[source] io::Error),
    /// What came is no answer.
    #[error("{problem}")]
    Malformed {
        /// The server.
        peer: Arc<str>,
        /// How it differs.
        problem: Malformed,
    },
    /// The server does not speak TLS.
    #[error(
        "a Redis server answers at {peer}, but without TLS: leave out tls, rediss:// and the \
         certificates, or name the server's port for TLS"
    )]
    NoTls {
        /// The server.
        peer: Arc<str>,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] io::Error),
    /// The server refuses.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// An object is replaced faster than it can be read.
    #[error("the object was replaced each time while its parts were read; try again")]
    Replaced,
    /// The key is that of an object that cannot be replaced.
    #[error("the key names an object that was put for good; make one by new_key() to set")]
    Settled,
    /// The connection cannot be had, or was lost.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The connection of a subscriber was lost.
    #[error(
        "the subscription was lost, and perhaps messages with it, as {0}; subscribe anew, and see \
         client-output-buffer-limit of a server that is read more slowly than others publish"
    )]
    SubscriptionLost(#[source] Box<RedisError>),
    /// The connection of a subscriber was lost before.
    #[error("the subscription was lost before; subscribe anew")]
    Unsubscribed,
    /// The deadline passed.
    #[error("the deadline passed before {peer} answered")]
    TimedOut {
        /// The server.
        peer: Arc<str>,
    },
    /// The object has more parts than there may be.
    #[error("the object has too many parts; make part_size larger")]
    TooManyParts,
}

/// How an object differs from what its key says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The bytes are not those that were put.
    #[error("its bytes have changed since it was put")]
    Checksum,
    /// There are more or fewer bytes.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// As its key says.
        expected: u64,
        /// As the server says.
        found: u64,
    },
    /// The list of parts is none.
    #[error(transparent)]
    Manifest(#[from] Damaged),
    /// A part is gone.
    #[error("its part {index} is gone; the server may have evicted it for room (maxmemory-policy)")]
    Missing {
        /// Which one.
        index: u64,
    },
}

impl RedisError {
    /// What the server refuses, if that is what happened.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// The server that it is about.
    fn peer(&self) -> Option<&str> {
        match self {
            Self::Corrupted { peer, .. }
            | Self::Ended { peer }
            | Self::Malformed { peer, .. }
            | Self::NoTls { peer }
            | Self::TimedOut { peer } => Some(peer),
            Self::Refused(refusal) => Some(&refusal.peer),
            Self::Stream(
                StreamError::Lost { peer, .. } | StreamError::Unreachable { peer, .. },
            ) => Some(peer),
            Self::SubscriptionLost(source) => source.peer(),
            _ => None,
        }
    }

    /// Whether the connection was lost, so that another one may do.
    pub(crate) const fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Ended { .. } | Self::Stream(StreamError::Lost { .. })
        )
    }

    /// Whether nobody could be reached.
    pub(crate) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Stream(StreamError::Unreachable { .. }))
    }
}

impl From<Refusal> for RedisError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        let message = error.to_string();
        match error {
            RedisError::Astray => Self::new(ErrorKind::Unsupported, message),
            RedisError::Closed => Self::new(ErrorKind::Closed, message),
            RedisError::Corrupted { peer, .. } => {
                let message = format!("{message}; evict it and put it again");
                Self::new(ErrorKind::Corrupted, message).with_peer(&*peer)
            }
            RedisError::Ended { peer } => {
                Self::new(ErrorKind::Unavailable, message).with_peer(&*peer)
            }
            RedisError::InvalidKey | RedisError::Settled => {
                Self::new(ErrorKind::InvalidKey, message)
            }
            RedisError::Malformed { peer, .. } | RedisError::NoTls { peer } => {
                Self::new(ErrorKind::Unavailable, message)
                    .with_retryable(false)
                    .with_peer(&*peer)
            }
            RedisError::Memory(source) | RedisError::Random(source) => {
                Self::from_io(message, source)
            }
            RedisError::Refused(refusal) => {
                let kind = match refusal.reason {
                    Reason::Denied => ErrorKind::PermissionDenied,
                    Reason::Full => ErrorKind::StorageFull,
                    Reason::TooLarge => ErrorKind::TooLarge,
                    Reason::WrongType => ErrorKind::InvalidKey,
                    Reason::Ask(_)
                    | Reason::Busy
                    | Reason::Moved(..)
                    | Reason::Other
                    | Reason::ReadOnly => ErrorKind::Unavailable,
                };
                let passing = matches!(refusal.reason, Reason::Busy | Reason::ReadOnly);
                Self::new(kind, message)
                    .with_retryable(passing)
                    .with_peer(&*refusal.peer)
            }
            RedisError::Replaced => Self::new(ErrorKind::Unavailable, message),
            RedisError::Stream(error) => error.into(),
            RedisError::SubscriptionLost(source) => {
                let peer = source.peer().map(str::to_owned);
                let error = Self::new(ErrorKind::Unavailable, message).with_retryable(false);
                match peer {
                    Some(peer) => error.with_peer(peer),
                    None => error,
                }
            }
            RedisError::Unsubscribed => {
                Self::new(ErrorKind::Unavailable, message).with_retryable(false)
            }
            RedisError::TimedOut { peer } => {
                Self::new(ErrorKind::TimedOut, message).with_peer(&*peer)
            }
            RedisError::TooManyParts => Self::new(ErrorKind::TooLarge, message),
        }
    }
}
