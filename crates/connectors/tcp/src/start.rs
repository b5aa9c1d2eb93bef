//! The nodes that connectors of this process start.

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    io,
    net::TcpListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, Error};
use proxystore_fork::PerProcess;
use proxystore_node::{Node, NodeError, place::Owner};
use proxystore_stream::Address;

use crate::{config::Options, error::TcpError, report::report};

/// How long a node that is stopped lets its clients finish.
const STOPPING: Duration = Duration::from_secs(1);

/// How long whoever has the port may take to show that it is a node.
const ANSWERING: Duration = Duration::from_secs(5);

/// The program that starts daemons, unless the environment names another.
const PROGRAM: &str = "proxystore-node";

/// The variable that names that other program.
const PROGRAM_VARIABLE: &str = "PROXYSTORE_NODE";

/// The variable that a daemon finds a literal secret in, which must not stand in its command line.
const SECRET_VARIABLE: &str = "PROXYSTORE_NODE_SECRET";

/// The nodes of this process by host and port. They serve until the process ends, as whoever was
/// given a key may still come for its object.
static NODES: PerProcess<Mutex<Nodes>> = PerProcess::new(Mutex::default);

type Nodes = HashMap<(String, u16), Arc<Started>>;

/// A node of this process, shared by its connectors.
#[derive(Debug)]
pub(crate) struct Started {
    address: (String, u16),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// None once it has stopped.
    node: Option<Node>,
    /// Connectors that are open on it.
    users: usize,
}

/// The node of this process at the address, started if there is none; none if another process has
/// one there, or the address is not of this host.
pub(crate) fn in_this_process(options: &Options) -> Result<Option<Arc<Started>>, TcpError> {
    let address = (options.hostname.clone(), options.port);
    // Held while one starts, so that threads that open connectors at once start one.
    let mut nodes = NODES.lock();
    if let Some(started) = nodes.get(&address)
        && started.join()
    {
        return Ok(Some(Arc::clone(started)));
    }
    let node = match Node::start(options.node()) {
        Ok(node) => node,
        Err(NodeError::AlreadyRunning { .. } | NodeError::NotHere { .. }) => return Ok(None),
        // One of this user's whose directory of sockets is another, or of somebody who shares the
        // secret.
        Err(NodeError::PortInUse { .. }) if answers(options) => return Ok(None),
        Err(error) => return Err(Error::from(error).into()),
    };
    let port = match node.address() {
        Address::Tcp { port, .. } => *port,
        Address::Unix(_) => options.port,
    };
    let address = (address.0, port);
    let started = Arc::new(Started {
        address: address.clone(),
        state: Mutex::new(State {
            node: Some(node),
            users: 1,
        }),
    });
    nodes.insert(address, Arc::clone(&started));
    Ok(Some(started))
}

/// Whether a node is there that lets this process in.
fn answers(options: &Options) -> bool {
    let options = Options {
        timeout: options.timeout.min(ANSWERING),
        ..options.clone()
    };
    report(&options).is_ok()
}

impl Started {
    pub(crate) const fn port(&self) -> u16 {
        self.address.1
    }

    /// Takes part in it; false if it has stopped.
    fn join(&self) -> bool {
        let mut state = self.lock();
        state.users += usize::from(state.node.is_some());
        state.node.is_some()
    }

    /// Removes every object.
    pub(crate) fn clear(&self) {
        if let Some(node) = &self.lock().node {
            node.clear();
        }
    }

    /// Leaves it, which stops it if it is `empty` and nobody else uses it in this process.
    pub(crate) fn leave(&self, empty: bool) {
        let mut state = self.lock();
        state.users = state.users.saturating_sub(1);
        if !empty || state.users > 0 {
            return;
        }
        let node = state.node.take();
        drop(state);
        NODES.lock().remove(&self.address);
        if let Some(node) = node {
            node.stop(Deadline::at(Instant::now() + STOPPING));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a node that outlives this process, unless one runs at the address.
pub(crate) fn daemon(options: &Options) -> Result<(), TcpError> {
    let runs = || Owner::of(options.port).is_ok_and(|owner| owner.is_some());
    if runs() || !is_here(&options.hostname) {
        return Ok(());
    }
    let program = env::var_os(PROGRAM_VARIABLE).unwrap_or_else(|| OsString::from(PROGRAM));
    let mut command = Command::new(&program);
    arguments(options, &mut command);
    let program = program.to_string_lossy().into_owned();
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(source) => return Err(TcpError::NoProgram { program, source }),
    };
    // Another process may have been faster.
    if output.status.success() || runs() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(TcpError::Daemon {
        program,
        said: said.trim().to_owned(),
    })
}

/// Whether the host is this one: nobody can listen at the address of another. What cannot be resolved
/// is left to whoever tries to listen there.
fn is_here(hostname: &str) -> bool {
    let bound = TcpListener::bind((hostname, 0));
    !matches!(bound, Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable)
}

fn arguments(options: &Options, command: &mut Command) {
    command
        .arg("start")
        .args(["--host", &options.hostname])
        .args(["--port", &options.port.to_string()]);
    if let Some(secret) = &options.secret {
        let reference = secret.reference().unwrap_or_else(|| {
            command.env(SECRET_VARIABLE, secret.to_option().unwrap_or_default());
            format!("env:{SECRET_VARIABLE}")
        });
        command.args(["--secret", &reference]);
    }
    if let Some(files) = &options.certificates {
        command.arg("--certificate").arg(&files.certificate);
        command.arg("--certificate-key").arg(&files.key);
        command.arg("--authority").arg(&files.authority);
    }
    if let Some(budget) = options.budget {
        command.args(["--budget", &budget.to_string()]);
    }
    if let Some(spill) = &options.spill {
        command.arg("--spill").arg(spill);
    }
    if !options.unix {
        command.arg("--no-unix");
    }
    if let Some(encrypt) = options.encrypt {
        command.arg(if encrypt { "--encrypt" } else { "--no-encrypt" });
    }
}
