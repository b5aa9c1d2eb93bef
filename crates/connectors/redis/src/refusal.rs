//! What a server refuses, and why.

use std::sync::Arc;

use proxystore_stream::Address;

use crate::cluster::Redirect;

/// The most that is repeated of what a server says.
const LONGEST: usize = 200;

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

fn is_too_large(rest: &str) -> bool {
    rest.contains("invalid bulk length") || rest.contains("exceeds maximum allowed size")
}

#[cfg(test)]
mod tests {
    use proxystore_core::{Error, ErrorKind};

    use super::*;
    use crate::error::RedisError;

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
