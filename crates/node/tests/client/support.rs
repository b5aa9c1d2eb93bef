//! What the tests of the client share.

use std::{
    convert::Infallible,
    future::Future,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use proxystore_core::{Deadline, Memory, Operation, Payload, Result, Segment};
use proxystore_node::{
    Node, NodeOptions,
    client::{Client, Credentials, Mode, NodeAddress, ObjectKey, Settings},
};
use proxystore_runtime::{Stopped, drive};
use proxystore_stream::{Address, Secret};

pub(crate) const SECRET: &str = "a secret of more than sixteen bytes";

/// How a client reaches the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tcp,
    Tls,
    Unix,
}

pub(crate) const WAYS: [Way; 3] = [Way::Tcp, Way::Tls, Way::Unix];

/// A node, and a client that knows it.
pub(crate) struct Pair {
    pub(crate) client: Arc<Client>,
    pub(crate) address: NodeAddress,
    pub(crate) node: Node,
}

impl Pair {
    pub(crate) fn new(way: Way) -> Self {
        let node = node(way);
        Self {
            client: Arc::new(Client::new(settings(way))),
            address: NodeAddress::new("127.0.0.1", port(&node)),
            node,
        }
    }

    /// Between the two there is a network that can be stopped and cut.
    pub(crate) fn apart() -> (Self, Network) {
        // The proofs are bound to the addresses of a plain connection, which are others here.
        let mut pair = Self::new(Way::Tls);
        let network = Network::new(port(&pair.node));
        pair.address = NodeAddress::new("127.0.0.1", network.port);
        (pair, network)
    }

    pub(crate) async fn put_async(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        let segments = [Segment::from(bytes)];
        let payload = Payload::from(&segments);
        let put = self
            .client
            .put(&self.address, key, Mode::New, payload, Deadline::never());
        put.await
    }

    pub(crate) async fn get_async(&self, key: &ObjectKey) -> Result<Option<Vec<u8>>> {
        let memory = self
            .client
            .get(&self.address, key, Deadline::never())
            .await?;
        Ok(memory.as_ref().map(Memory::to_vec))
    }

    pub(crate) fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        now(self.put_async(key, bytes))
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Result<Option<Vec<u8>>> {
        now(self.get_async(key))
    }

    /// A number of the node's report.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let entries = self.node.status();
        let mut entries = entries.iter();
        let entry = entries.find(|(entry, _)| *entry == name);
        entry.map(|(_, value)| *value).expect("an entry")
    }
}

fn node(way: Way) -> Node {
    let mut options = NodeOptions::new("127.0.0.1", 0);
    options.secret = Some(Secret::parse(SECRET));
    options.unix = way == Way::Unix;
    options.budget = Some(1 << 30);
    options.threads = Some(2);
    Node::start(options).expect("a node")
}

fn port(node: &Node) -> u16 {
    match node.address() {
        Address::Tcp { port, .. } => *port,
        Address::Unix(_) => panic!("no port"),
    }
}

pub(crate) fn settings(way: Way) -> Settings {
    Settings {
        credentials: Credentials::Secret(Secret::parse(SECRET)),
        unix: way == Way::Unix,
        encrypt: Some(way == Way::Tls),
        timeout: Duration::from_mins(1),
    }
}

/// Carries an operation out on this thread.
pub(crate) fn now<T>(operation: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let wait = || Ok::<(), Infallible>(());
    drive(Operation::pending(operation), Deadline::never(), wait).map_err(|stopped| match stopped {
        Stopped::Failed(error) => error,
        Stopped::Interrupted(never) => match never {},
    })
}

/// Carries an operation out in a task; its result comes through the channel.
pub(crate) fn in_task<T: Send + 'static>(
    operation: impl Future<Output = T> + Send + 'static,
) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    proxystore_runtime::spawn(async move {
        // Nobody may wait for it any more.
        let _ = sender.send(operation.await);
    })
    .expect("a runtime");
    receiver
}

pub(crate) fn key(number: u64) -> ObjectKey {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    ObjectKey {
        id,
        capability: [7; 16],
    }
}

pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// What forwards bytes between a client and a node, and can be told not to.
pub(crate) struct Network {
    pub(crate) port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// Nothing reaches the client.
    held: bool,
    /// New connections are ended at once.
    closed: bool,
    /// Bytes that came from clients.
    sent: u64,
    sockets: Vec<TcpStream>,
}

impl Network {
    fn new(node: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let network = Self {
            port,
            state: Arc::clone(&state),
        };
        // It ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                if lock(&state).closed {
                    continue;
                }
                let node = TcpStream::connect(("127.0.0.1", node)).expect("the node");
                let copy = |socket: &TcpStream| socket.try_clone().expect("room");
                // Before anything passes: whoever has an answer can cut the connection.
                let sockets = [copy(&client), copy(&node)];
                lock(&state).sockets.extend(sockets);
                for (from, to, is_answer) in [(&client, &node, false), (&node, &client, true)] {
                    let (from, to) = (copy(from), copy(to));
                    let state = Arc::clone(&state);
                    thread::spawn(move || forward(from, to, &state, is_answer));
                }
            }
        });
        network
    }

    /// Keeps what the node says from the client.
    pub(crate) fn hold(&self) {
        lock(&self.state).held = true;
    }

    pub(crate) fn release(&self) {
        lock(&self.state).held = false;
        self.state.1.notify_all();
    }

    /// Lets no connection be made, until it is opened again.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
    }

    pub(crate) fn open(&self) {
        lock(&self.state).closed = false;
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        for socket in lock(&self.state).sockets.drain(..) {
            // It may have ended already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// How many bytes clients have sent.
    pub(crate) fn sent(&self) -> u64 {
        lock(&self.state).sent
    }

    /// Waits until clients have sent more than so many bytes.
    pub(crate) fn wait_beyond(&self, sent: u64) {
        let mut state = lock(&self.state);
        while state.sent <= sent {
            state = self
                .state
                .1
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock(state: &(Mutex<State>, Condvar)) -> std::sync::MutexGuard<'_, State> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    shared: &(Mutex<State>, Condvar),
    is_answer: bool,
) {
    let mut bytes = vec![0; 64 << 10];
    let mut copy = || -> io::Result<usize> {
        let read = from.read(&mut bytes)?;
        let mut state = lock(shared);
        if is_answer {
            while state.held {
                state = shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        } else {
            // Before the node can answer: once a client has its answer, all that it sent is counted.
            state.sent += read as u64;
            shared.1.notify_all();
        }
        drop(state);
        to.write_all(&bytes[..read])?;
        Ok(read)
    };
    while copy().is_ok_and(|read| read > 0) {}
    let _ = to.shutdown(Shutdown::Both);
}
