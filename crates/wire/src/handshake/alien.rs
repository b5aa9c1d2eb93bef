//! Recognises others by how they begin.

use std::fmt;

/// Who talks there instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Alien {
    /// A web server.
    WebServer,
    /// A web browser, or another client of web servers.
    WebClient,
    /// Something that speaks TLS where this side does not.
    Tls,
    /// A Redis server.
    Redis,
    /// An SSH server or client.
    Ssh,
    /// Something else.
    Unknown,
}

impl Alien {
    /// Who begins with these bytes, which are not those of a hello.
    pub(super) fn recognise(bytes: &[u8]) -> Self {
        const METHODS: [&[u8]; 8] = [
            b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"CONN", b"DELE", b"PRI ",
        ];
        let begins = |with: &[u8]| {
            let len = with.len().min(bytes.len());
            len > 0 && bytes[..len] == with[..len]
        };
        if METHODS.into_iter().any(begins) {
            Self::WebClient
        } else if begins(b"HTTP/") || begins(b"<!DOC") || begins(b"<html") {
            Self::WebServer
        } else if begins(&[0x16, 0x03]) || begins(&[0x15, 0x03]) {
            Self::Tls
        } else if begins(b"SSH-") {
            Self::Ssh
        } else if begins(b"-ERR") || begins(b"-NOAUTH") || begins(b"-DENIED") {
            Self::Redis
        } else {
            Self::Unknown
        }
    }

    /// What to answer, so that whoever it is can say what is wrong.
    pub(super) const fn answer(self) -> &'static [u8] {
        match self {
            Self::WebClient => {
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
                  Content-Length: 46\r\n\r\nThis is a node of proxystore, no web server.\r\n"
            }
            // A fatal alert: unexpected message.
            Self::Tls => &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a],
            _ => b"",
        }
    }
}

impl fmt::Display for Alien {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WebServer => "a web server",
            Self::WebClient => "a web browser",
            Self::Tls => "something that speaks TLS",
            Self::Redis => "a Redis server",
            Self::Ssh => "SSH",
            Self::Unknown => "something that does not speak this protocol",
        })
    }
}
