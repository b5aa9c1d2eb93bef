//! What a node is told when it starts.

use std::{path::PathBuf, thread, time::Duration};

use proxystore_limits::Machine;
use proxystore_stream::Secret;

/// The part of the memory that this process may take which a node takes for objects, unless told.
const SHARE: u64 = 4;
/// Threads that serve connections, unless told: they hand bytes on and compute little.
const THREADS: usize = 4;

/// What a node is told when it starts.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The name or address that it listens at.
    pub host: String,
    /// The port; zero is any that is free.
    pub port: u16,
    /// What all who come by TCP must know. None is the secret of this user, which is good for the
    /// addresses of this host.
    pub secret: Option<Secret>,
    /// What to show to those who come from other hosts, and whom to trust, instead of the secret.
    pub certificates: Option<Certificates>,
    /// Whether connections by TCP are encrypted. None takes plain ones within this host only.
    pub encrypt: Option<bool>,
    /// Bytes of memory that objects may take. None is a quarter of what there is.
    pub budget: Option<u64>,
    /// The directory for objects that are beyond the budget.
    pub spill: Option<PathBuf>,
    /// Whether processes of this user reach it by a Unix socket.
    pub unix: bool,
    /// Whether its process does nothing else, so that whoever wants the node to stop may end it.
    pub is_daemon: bool,
    /// Threads that serve connections. None is one for each processor, four at most.
    pub threads: Option<usize>,
    /// What clients may take, before and after they are authenticated.
    pub limits: ServerLimits,
}

impl NodeOptions {
    /// Where nodes listen, unless told.
    pub const HOST: &str = "127.0.0.1";
    /// The port of nodes, unless told.
    pub const PORT: u16 = 7337;

    /// A node on a port of a host, with what is usual for everything else.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            secret: None,
            certificates: None,
            encrypt: None,
            budget: None,
            spill: None,
            unix: true,
            is_daemon: false,
            threads: None,
            limits: ServerLimits::default(),
        }
    }

    /// Bytes of memory that objects may take.
    pub(super) fn budget(&self) -> u64 {
        /// What is usual on a machine that does not say how much it has.
        const UNKNOWN: u64 = 1 << 30;
        let usual = || {
            Machine::default()
                .available()
                .map_or(UNKNOWN, |available| available / SHARE)
        };
        self.budget.unwrap_or_else(usual)
    }

    pub(super) fn threads(&self) -> usize {
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        self.threads
            .unwrap_or_else(|| processors().min(THREADS))
            .max(1)
    }
}

/// Files with certificates and keys, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// This node's certificate, its issuers after it.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Certificates of the authorities by which clients' are signed.
    pub authority: PathBuf,
}

/// What a node grants to those who connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once.
    pub connections: usize,
    /// Those of them that are not authenticated yet; beyond it the oldest is closed.
    pub strangers: usize,
    /// How long authentication may take.
    pub introduction: Duration,
    /// How long a client may be silent that owes something: the rest of an object, or taking what
    /// it asked for.
    pub silence: Duration,
    /// How long a client's host may be silent altogether, which is looked at by TCP: eight seconds
    /// or more.
    pub keep_alive: Duration,
}

impl Default for ServerLimits {
    /// As many connections as half of the descriptors that this process may open, the rest being
    /// for whatever else it does.
    fn default() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let descriptors = limit.current.unwrap_or(1 << 20);
        let connections = usize::try_from(descriptors / 2).unwrap_or(usize::MAX);
        let connections = connections.clamp(16, 1 << 14);
        Self {
            connections,
            strangers: 256.min(connections / 2),
            introduction: Duration::from_secs(10),
            silence: Duration::from_mins(1),
            keep_alive: Duration::from_mins(2),
        }
    }
}
