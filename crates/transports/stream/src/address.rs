//! Where a peer is.

use std::{fmt, net::IpAddr, path::PathBuf};

/// Where a peer is, or listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A port of a host.
    Tcp {
        /// A name, or an IP address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket in the file system of this host.
    Unix(PathBuf),
}

impl Address {
    /// A port of a host, which is a name or an IP address, in brackets or not.
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        let mut host = host.into();
        if let Some(inner) = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            host = inner.to_owned();
        }
        Self::Tcp { host, port }
    }

    /// Whether whoever is there is on this host for certain: a Unix socket, or an address of the
    /// loopback interface. Names other than `localhost` are not looked up.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                is_localhost(host) || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
            }
        }
    }
}

/// Whether a name is that of the loopback interface (RFC 6761, section 6.3).
pub(crate) fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_people_write_them() {
        assert_eq!(Address::tcp("h", 1).to_string(), "h:1");
        assert_eq!(Address::tcp("::1", 1).to_string(), "[::1]:1");
        assert_eq!(Address::tcp("[::1]", 1), Address::tcp("::1", 1));
        assert_eq!(Address::Unix("/x/y".into()).to_string(), "/x/y");
    }

    #[test]
    fn only_the_loopback_is_local() {
        for host in ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(Address::tcp(host, 1).is_local(), "{host}");
        }
        for host in [
            "127.0.0.1.example",
            "10.0.0.1",
            "0.0.0.0",
            "::",
            "example.org",
            "",
        ] {
            assert!(!Address::tcp(host, 1).is_local(), "{host}");
        }
    }
}
