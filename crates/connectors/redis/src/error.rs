//! What can go wrong in this connector, and how it is told.

use std::{io, sync::Arc};

use proxystore_core::{Error, ErrorKind};
use proxystore_stream::{Address, StreamError};

use crate::{cluster::Redirect, manifest::Damaged, resp::Malformed};

/// The most that is repeated of what a server says.
const LONGEST: usize = 200;

/// What can go wrong in this connector.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// Something cannot be done in the other colour.
    #[error(
        "a subscriber is used where its connection does not belong: await it, or call it, always"
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

/// What a server refuses, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{advice}{text}")]
pub struct Refusal {
    /// The server.
    pub peer: Arc<str>,
    /// What kind of refusal it is.
    pub reason: Reason,
    advice: &'static str,
    text: String,
}

/// The kinds of refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The key is being moved to another server, which has it if this one has not.
    Ask(Address),
    /// The server cannot for the moment.
    Busy,
    /// The user may not do that, or is not known.
    Denied,
    /// There is no room.
    Full,
    /// Another server has the slot.
    Moved(u16, Address),
    /// The server is no master any more.
    ReadOnly,
    /// The value is larger than the server takes.
    TooLarge,
    /// What the key names is no object.
    WrongType,
    /// Something else.
    Other,
}

impl Refusal {
    /// What the server at `address` says in an error reply.
    pub(crate) fn parse(line: &[u8], address: &Address, peer: &Arc<str>) -> Self {
        let line = String::from_utf8_lossy(line);
        let (code, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let redirect = || Redirect::parse(rest, address);
        let (reason, advice) = match code {
            "MOVED" => match redirect() {
                Some(Redirect { slot, to }) => (
                    Reason::Moved(slot, to),
                    "a cluster answers there; set cluster: ",
                ),
                None => (Reason::Other, ""),
            },
            "ASK" => match redirect() {
                Some(Redirect { to, .. }) => {
                    (Reason::Ask(to), "a cluster answers there; set cluster: ")
                }
                None => (Reason::Other, ""),
            },
            "OOM" => (
                Reason::Full,
                "the server has no room for the object; evict others, or raise its maxmemory: ",
            ),
            "NOAUTH" => (
                Reason::Denied,
                "the server wants a password; set password: ",
            ),
            "WRONGPASS" => (
                Reason::Denied,
                "the server does not take username and password: ",
            ),
            "NOPERM" => (
                Reason::Denied,
                "the server does not permit that to this user: ",
            ),
            "DENIED" => (Reason::Denied, "the server takes no connection from here: "),
            "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "NOREPLICAS"
            | "FAILOVER" => (Reason::Busy, "the server cannot answer for the moment: "),
            "READONLY" => (
                Reason::ReadOnly,
                "the server is a replica, which takes no objects: ",
            ),
            "WRONGTYPE" => (
                Reason::WrongType,
                "the key names something that is no object: ",
            ),
            "ERR" if rest.starts_with("max number of clients") => {
                (Reason::Busy, "the server has too many connections: ")
            }
            "ERR" if is_too_large(rest) => (
                Reason::TooLarge,
                "the server takes no value as large as this; set part_size to its \
                 proto-max-bulk-len or less: ",
            ),
            _ => (Reason::Other, "the server refuses: "),
        };
        let readable = |letter: char| if letter.is_control() { '?' } else { letter };
        let text: String = line.chars().map(readable).take(LONGEST).collect();
        Self {
            peer: Arc::clone(peer),
            reason,
            advice,
            text,
        }
    }

    /// The same of a command with secrets in it, which some servers repeat.
    pub(crate) fn without_text(mut self) -> Self {
        if !matches!(self.reason, Reason::Busy) {
            if self.reason == Reason::Other {
                self.reason = Reason::Denied;
                self.advice = "the server does not take username and password: ";
            }
            "AUTH failed".clone_into(&mut self.text);
        }
        self
    }
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
            RedisError::Malformed { peer, .. } => Self::new(ErrorKind::Unavailable, message)
                .with_retryable(false)
                .with_peer(&*peer),
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

fn is_too_large(rest: &str) -> bool {
    rest.contains("invalid bulk length") || rest.contains("exceeds maximum allowed size")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> Refusal {
        let address = Address::tcp("h", 1);
        Refusal::parse(line.as_bytes(), &address, &Arc::from("h:1"))
    }

    #[test]
    fn refusals_have_kinds() {
        for (line, kind, retryable) in [
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                ErrorKind::StorageFull,
                false,
            ),
            (
                "NOAUTH Authentication required.",
                ErrorKind::PermissionDenied,
                false,
            ),
            (
                "WRONGPASS invalid username-password pair",
                ErrorKind::PermissionDenied,
                false,
            ),
            (
                "NOPERM this user has no permissions",
                ErrorKind::PermissionDenied,
                false,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                ErrorKind::Unavailable,
                true,
            ),
            (
                "BUSY Redis is busy running a script.",
                ErrorKind::Unavailable,
                true,
            ),
            (
                "CLUSTERDOWN Hash slot not served",
                ErrorKind::Unavailable,
                true,
            ),
            (
                "READONLY You can't write against a read only replica.",
                ErrorKind::Unavailable,
                true,
            ),
            (
                "ERR max number of clients reached",
                ErrorKind::Unavailable,
                true,
            ),
            (
                "ERR Protocol error: invalid bulk length",
                ErrorKind::TooLarge,
                false,
            ),
            (
                "WRONGTYPE Operation against a key",
                ErrorKind::InvalidKey,
                false,
            ),
            ("MOVED 1 h:2", ErrorKind::Unavailable, false),
            ("ERR unknown command", ErrorKind::Unavailable, false),
            ("", ErrorKind::Unavailable, false),
        ] {
            let error = Error::from(RedisError::from(refusal(line)));
            assert_eq!(error.kind(), kind, "{line}");
            assert_eq!(error.is_retryable(), retryable, "{line}");
            assert_eq!(error.context("peer"), Some("h:1"));
            assert!(error.message().contains(line), "{error}");
        }
    }

    #[test]
    fn redirections_are_parsed() {
        let address = || Address::tcp("h", 2);
        assert_eq!(refusal("MOVED 7 h:2").reason, Reason::Moved(7, address()));
        assert_eq!(refusal("ASK 7 :2").reason, Reason::Ask(address()));
        assert_eq!(refusal("ASK nowhere").reason, Reason::Other);
    }

    #[test]
    fn nobody_is_told_a_secret_or_fed_control_characters() {
        let quoted = refusal("ERR unknown command 'AUTH' with args beginning with: 's3cret'");
        let told = quoted.without_text();
        assert!(!told.to_string().contains("s3cret"), "{told}");
        assert_eq!(told.reason, Reason::Denied);
        let odd = refusal(&format!("ERR \x1b[31m{}", "x".repeat(1000)));
        assert!(!odd.to_string().contains('\x1b'));
        assert!(odd.to_string().len() < 300);
    }
}
