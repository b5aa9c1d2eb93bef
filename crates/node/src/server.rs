//! Nodes.
//!
//! # Layout
//!
//! * [`options`]: what a node is told when it starts; `config` reads them.
//! * [`error`]: why it does not.
//! * `listening`: where clients connect.
//! * `table`: the connections there are.
//! * `introduction`: how each begins; `connection`: how it goes on; `chores`: what it waits for.
//! * `report`: what a node says about itself.

mod chores;
mod config;
mod connection;
pub mod error;
mod introduction;
mod listening;
pub mod options;
mod report;
mod table;

use std::{
    fmt,
    future::Future,
    mem,
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime},
};

use proxystore_core::Deadline;
use proxystore_fork::ClosedInChild;
use proxystore_runtime::{Worker, generation};
use proxystore_stream::{Address, Secret, TlsServer, tls::TlsFiles};
use proxystore_wire::handshake::SHORTEST_SECRET;

pub use self::{
    config::read_path,
    error::NodeError,
    options::{Certificates, NodeOptions, ServerLimits},
};
use self::{
    listening::{Listening, claim},
    table::Table,
};
use crate::{place::Claim, storage::Storage};

/// How long whoever wants to be the node waits for another who has begun to be it.
const STARTING: Duration = Duration::from_secs(10);
/// How many ports of the system's choice may be claimed by others.
const MOST_CLAIMED: usize = 64;
/// How long a node that nobody stopped lets its clients finish.
const DROPPING: Duration = Duration::from_secs(1);

/// A node of this process: it keeps objects and serves them until it is stopped or dropped.
///
/// A forked child has no part in it: what it inherits is closed at once, and does nothing.
#[derive(Debug)]
pub struct Node {
    address: Address,
    socket: Option<Address>,
    shared: Arc<Shared>,
    /// None once it has stopped.
    running: Option<Running>,
    generation: u64,
}

/// What works for a node. Fields are dropped in the order of their declaration: the claim goes when
/// nothing answers any more.
#[derive(Debug)]
struct Running {
    listening: Vec<Listening>,
    /// Tasks end with their threads.
    _workers: Arc<Vec<Worker>>,
    claim: Claim,
    /// A child that kept the lock would keep the claim.
    _in_child: ClosedInChild,
}

/// What all connections of a node have in common.
struct Shared {
    storage: Arc<Storage>,
    table: Arc<Table>,
    secret: Vec<u8>,
    tls: Option<TlsServer>,
    /// Whether clients prove by certificates who they are, if they encrypt.
    is_certified: bool,
    encrypt: Option<bool>,
    since: SystemTime,
    threads: usize,
}

impl Node {
    /// Starts a node, and returns when it answers.
    ///
    /// # Errors
    ///
    /// [`NodeError::AlreadyRunning`] if this user has a node on that port, possibly since a moment
    /// ago: it can be joined. [`NodeError::PortInUse`] if somebody else has the port. Others say
    /// what is wrong with the options, or the system's answer.
    pub fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let until = Instant::now() + STARTING;
        let is_daemon = options.is_daemon;
        let shared = Arc::new(Shared::new(&options)?);
        let workers = (0..shared.threads)
            .map(|number| Worker::start(&format!("proxystore-node-{number}")))
            .collect::<Result<Vec<_>, _>>()
            .map_err(NodeError::Runtime)?;
        let workers = Arc::new(workers);
        let first = workers.first().ok_or(NodeError::Ended)?;
        let bind = |port| {
            let address = Address::tcp(options.host.clone(), port);
            on(first, Listening::bind(address))
        };
        let (tcp, port, claim) = match options.port {
            0 => on_any_port(|| bind(0), |port| claim(port, until))?,
            port => {
                let claim = claim(port, until)?;
                let (tcp, _) = bind(port)?;
                (tcp, port, claim)
            }
        };
        let mut listening = vec![tcp];
        let mut socket = None;
        if options.unix {
            let (unix, path) = on(first, Listening::bind(Address::Unix(claim.socket().into())))?;
            listening.push(unix);
            socket = Some(path);
        }
        let address = Address::tcp(options.host, port);
        for listening in &mut listening {
            listening.serve(&shared, &workers);
        }
        claim
            .tell(&address.to_string(), is_daemon)
            .map_err(|source| NodeError::Place { source })?;
        tracing::debug!(%address, "a node has started");
        Ok(Self {
            address,
            socket,
            shared,
            running: Some(Running {
                listening,
                _workers: workers,
                _in_child: ClosedInChild::new(claim.file()),
                claim,
            }),
            generation: generation(),
        })
    }

    /// Where it listens: the host that it was told, and the port.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The Unix socket by which processes of this user reach it.
    #[must_use]
    pub const fn socket(&self) -> Option<&Address> {
        self.socket.as_ref()
    }

    /// What it says about itself: names and numbers, bytes and seconds as their names say.
    #[must_use]
    pub fn status(&self) -> Vec<(&'static str, u64)> {
        report::entries(&self.shared)
    }

    /// Removes all objects.
    pub fn clear(&self) {
        self.shared.storage.clear();
    }

    /// Whether this process is the one that started it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// Lets no more clients in, and lets those that are here finish what is under way, but no
    /// longer than until the deadline; then stops. Whether all have finished.
    ///
    /// Without a deadline it waits for as long as it takes.
    #[expect(
        clippy::must_use_candidate,
        reason = "stopping is what it is called for"
    )]
    pub fn stop(mut self, deadline: Deadline) -> bool {
        let far = Duration::from_secs(1 << 30);
        let until = deadline.instant().unwrap_or_else(|| Instant::now() + far);
        self.end(until)
    }

    fn end(&mut self, until: Instant) -> bool {
        let Some(running) = self.running.take() else {
            return true;
        };
        if !self.is_ours() {
            // The threads are the parent's, and so is everything that they work with.
            mem::forget((running, Arc::clone(&self.shared)));
            return true;
        }
        for listening in &running.listening {
            listening.stop();
        }
        self.shared.table.drain();
        let have_finished = self.shared.table.wait_until_empty(until);
        if let Err(error) = running.claim.remove_socket() {
            tracing::debug!(%error, "the socket of a node that has stopped cannot be removed");
        }
        have_finished
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end(Instant::now() + DROPPING);
    }
}

impl Shared {
    fn new(options: &NodeOptions) -> Result<Self, NodeError> {
        let host = &options.host;
        let is_local = Address::tcp(host.clone(), options.port).is_local();
        if !is_local && options.secret.is_none() && options.certificates.is_none() {
            return Err(NodeError::Unprotected { host: host.clone() });
        }
        let secret = options.secret.clone();
        let secret = secret.unwrap_or_else(Secret::of_this_user).reveal()?;
        if secret.len() < SHORTEST_SECRET {
            let least = SHORTEST_SECRET;
            return Err(NodeError::ShortSecret { least });
        }
        let tls = match &options.certificates {
            _ if options.encrypt == Some(false) => None,
            Some(files) => Some(TlsServer::mutual(TlsFiles {
                authority: Some(&files.authority),
                certificate: Some(&files.certificate),
                key: Some(&files.key),
            })?),
            None => Some(TlsServer::anonymous()?),
        };
        let storage = Storage::new(options.budget(), options.spill.clone());
        let storage = storage.map_err(|source| NodeError::Spill {
            directory: options.spill.clone().unwrap_or_default(),
            source,
        })?;
        let threads = options.threads();
        Ok(Self {
            storage: Arc::new(storage),
            table: Arc::new(Table::new(options.limits.clone(), threads)),
            secret,
            tls,
            is_certified: options.certificates.is_some(),
            encrypt: options.encrypt,
            since: SystemTime::now(),
            threads,
        })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

/// Listens on a port of the system's choice, and takes the claim to it. A node of this user may have
/// that port in another network, which shares the directory of claims: then on another one.
fn on_any_port<L, C>(
    bind: impl Fn() -> Result<(L, Address), NodeError>,
    claim: impl Fn(u16) -> Result<C, NodeError>,
) -> Result<(L, u16, C), NodeError> {
    // They are given back at the end, so that the system does not choose them again.
    let mut claimed = Vec::new();
    loop {
        let (listening, address) = bind()?;
        let Address::Tcp { port, .. } = address else {
            return Err(NodeError::Ended);
        };
        match claim(port) {
            Ok(claim) => return Ok((listening, port, claim)),
            Err(NodeError::AlreadyRunning { .. }) if claimed.len() < MOST_CLAIMED => {
                claimed.push(listening);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The outcome of `work`, done on a thread of the node.
fn on<T: Send + 'static>(
    worker: &Worker,
    work: impl Future<Output = Result<T, NodeError>> + Send + 'static,
) -> Result<T, NodeError> {
    let (tell, hear) = mpsc::sync_channel(1);
    worker.spawn(async move {
        // Nobody hears it if this thread has given up, which it does not.
        let _ = tell.send(work.await);
    });
    hear.recv().map_err(|_| NodeError::Ended)?
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::place::Owner;

    #[test]
    fn a_port_of_the_systems_choice_is_one_that_nobody_has_claimed() {
        let next = Cell::new(40_000);
        let bind = || {
            let port = next.replace(next.get() + 1);
            Ok((port, Address::tcp("127.0.0.1", port)))
        };
        let is_claimed = |port| NodeError::AlreadyRunning {
            port,
            owner: Owner {
                process: 1,
                is_daemon: false,
                address: format!("127.0.0.1:{port}"),
            },
        };
        let claim = |port| (port > 40_002).then_some(()).ok_or(is_claimed(port));
        let (listening, port, ()) = on_any_port(bind, claim).expect("a port");
        assert_eq!((listening, port), (40_003, 40_003));

        let never = |port| Err::<(), _>(is_claimed(port));
        let error = on_any_port(bind, never).expect_err("all are claimed");
        assert!(matches!(error, NodeError::AlreadyRunning { .. }), "{error}");
    }
}
