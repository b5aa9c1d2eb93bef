//! Where clients connect.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use proxystore_core::Deadline;
use proxystore_fork::ClosedInChild;
use proxystore_runtime::{Worker, shared::AbortHandle, sleep_until, timeout};
use proxystore_stream::{Address, Listener, StreamError};
use proxystore_wire::server::Session;

use super::{
    Shared,
    connection::Connection,
    error::NodeError,
    introduction::{Introduced, introduce, keep_alive},
    table::Seat,
};
use crate::place::Claim;

/// How long to wait when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one takes to leave that had to.
const LEAVING: Duration = Duration::from_millis(1);
/// How long to wait before looking once more whether another process is the node.
const LOOK: Duration = Duration::from_millis(5);

/// Takes the claim to be this user's node on a port. If another process has begun to be it, waits
/// until that is, or has given up.
pub(super) fn claim(port: u16, until: Instant) -> Result<Claim, NodeError> {
    loop {
        let taken = Claim::take(port).map_err(|source| NodeError::Place { source })?;
        let owner = match taken {
            Ok(claim) => return Ok(claim),
            Err(owner) => owner,
        };
        // Somebody who only looks whether there is a node holds the lock for a moment, too, and what
        // stands there then may be of a node that was killed.
        let is_node = !owner.address.is_empty() && owner.is_alive();
        if is_node || Instant::now() >= until {
            return Err(NodeError::AlreadyRunning { port, owner });
        }
        thread::sleep(LOOK);
    }
}

/// A socket that clients connect to.
#[derive(Debug)]
pub(super) struct Listening {
    listener: Option<Listener>,
    task: Option<AbortHandle>,
    _in_child: ClosedInChild,
}

impl Listening {
    /// Listens at an address; says where that is.
    pub(super) async fn bind(address: Address) -> Result<(Self, Address), NodeError> {
        let listener = Listener::bind(&address).await.map_err(|error| {
            let StreamError::Listen { source, .. } = &error else {
                return error.into();
            };
            match (source.kind(), &address) {
                (io::ErrorKind::AddrInUse, Address::Tcp { host, port }) => NodeError::PortInUse {
                    host: host.clone(),
                    port: *port,
                },
                (io::ErrorKind::AddrNotAvailable, Address::Tcp { host, .. }) => {
                    NodeError::NotHere { host: host.clone() }
                }
                _ => error.into(),
            }
        })?;
        let bound = listener.address().map_err(|source| StreamError::Listen {
            address: address.to_string(),
            source,
        })?;
        let in_child = ClosedInChild::new(&listener);
        let listening = Self {
            listener: Some(listener),
            task: None,
            _in_child: in_child,
        };
        Ok((listening, bound))
    }

    /// Serves those who connect, each on one of the threads.
    pub(super) fn serve(&mut self, shared: &Arc<Shared>, workers: &Arc<Vec<Worker>>) {
        let (Some(listener), Some(first)) = (self.listener.take(), workers.first()) else {
            return;
        };
        // Tasks must not keep the threads that they run on.
        let workers = Arc::downgrade(workers);
        let shared = Arc::clone(shared);
        let is_tcp = matches!(listener.address(), Ok(Address::Tcp { .. }));
        self.task = Some(first.spawn(async move {
            loop {
                let connection = match listener.accept().await {
                    Ok(connection) => connection,
                    Err(error) => {
                        tracing::debug!(%error, "a connection was not accepted");
                        let pause = if shared.table.make_room() {
                            LEAVING
                        } else {
                            PAUSE
                        };
                        sleep_until(Instant::now() + pause).await;
                        continue;
                    }
                };
                let Some(workers) = workers.upgrade() else {
                    return;
                };
                // At once: a child forked before keeps the connection open for as long as it lives.
                let in_child = ClosedInChild::new(&connection);
                shared.table.enter(|seat, worker| {
                    let shared = Arc::clone(&shared);
                    let serving = serve(shared, seat, (connection, in_child), is_tcp);
                    workers[worker % workers.len()].spawn(serving)
                });
            }
        }));
    }

    /// Lets nobody else connect.
    pub(super) fn stop(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Serves one connection to its end.
async fn serve(
    shared: Arc<Shared>,
    seat: Seat,
    (connection, _in_child): (OwnedFd, ClosedInChild),
    is_tcp: bool,
) {
    let limits = shared.table.limits();
    if is_tcp && let Err(error) = keep_alive(&connection, limits.keep_alive) {
        tracing::debug!(%error, "a connection has ended before it began");
        return;
    }
    let silence = limits.silence;
    let deadline = Deadline::at(Instant::now() + limits.introduction);
    // What it takes is given back before the connection goes on, maybe for days.
    let introduction = Box::pin(introduce(&shared, &seat, connection));
    let introduced = match timeout(deadline, introduction).await {
        Ok(Ok(introduced)) => introduced,
        Ok(Err(reason)) => {
            tracing::debug!(%reason, "somebody who connected was not let in");
            return;
        }
        Err(_) => {
            tracing::debug!("somebody connected and did not say who it is");
            return;
        }
    };
    seat.introduced();
    let Introduced {
        stream,
        agreed,
        rest,
    } = introduced;
    let peer = stream.peer().to_owned();
    let session = Session::new(&agreed, silence, Instant::now());
    let connection = Connection::new(shared, seat, stream, session, rest);
    let reason = connection.serve().await;
    tracing::debug!(peer, %reason, "a connection has ended");
}
