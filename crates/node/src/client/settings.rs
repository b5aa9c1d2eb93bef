//! Which nodes there are, and how they are talked to.

use std::{fmt, sync::Arc, time::Duration};

use proxystore_stream::{Address, Secret, TlsClient};

/// How a client talks to nodes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What proves to a node that this client may use it, and the other way round.
    pub credentials: Credentials,
    /// Whether a node on this host is reached by its Unix socket, if it has one.
    pub unix: bool,
    /// Whether TCP is encrypted; none encrypts all but what stays within the host.
    pub encrypt: Option<bool>,
    /// How long an operation may take, beside what its bytes take.
    pub timeout: Duration,
}

impl Settings {
    /// For how long nothing may be heard of a node that owes an answer. Whoever is in a hurry does not
    /// wait as long as others to learn that a network loses everything, but longer than a slow one
    /// takes to bring what is under way on it.
    pub(crate) fn keep_alive(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(5);
        const LONGEST: Duration = Duration::from_secs(20);
        self.timeout.clamp(SHORTEST, LONGEST)
    }
}

/// What proves to a node that a client may use it, and to a client that a node is meant.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Both know a secret.
    Secret(Secret),
    /// Both have certificates.
    Certificates(TlsClient),
}

/// Where a node is: its name as keys bear it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    host: Arc<str>,
    port: u16,
}

impl NodeAddress {
    /// The node at a port of a host, which is a name or an IP address.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// The name or address of its host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is on this host for certain, whatever host this is.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.tcp().is_local()
    }

    pub(crate) fn tcp(&self) -> Address {
        Address::tcp(&*self.host, self.port)
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tcp().fmt(formatter)
    }
}

impl fmt::Debug for NodeAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NodeAddress({self})")
    }
}
