//! The tcp connector keeps the contract: on a node of another process by each way to it, and on one
//! of its own process.
//!
//! Started as a test, this program starts itself again as the node, and once more for every get in
//! another process.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use proxystore_conformance::{CASES, Elsewhere, Fixture, Outcome, check, program::now};
use proxystore_core::{
    Config, Connector, Deadline, Error, ErrorKind, Factory, Field, Key, Payload, Result, Segment,
    Value,
};
use proxystore_node::{
    Node, NodeOptions,
    client::{Client, Credentials, NodeAddress, Settings},
};
use proxystore_stream::{Address, Secret};
use proxystore_tcp::FACTORY;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, WaitOptions};

/// What a test with a `main` of its own comes to.
type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

const ROLE: &str = "TCP_TEST_ROLE";
const SECRET: &str = "the secret of the conformance test";
/// Bytes of memory that the node has for objects.
const BUDGET: i64 = 400 << 20;
/// The same of a node for the largest objects.
const LARGE_BUDGET: i64 = 5 << 30;

/// What needs a hand within the node, or a fork, which is tried from Python.
const UNTESTABLE: &[&str] = &[
    "truncated-object-is-an-error",
    "half-written-object-is-an-error",
    "flipped-bit-is-an-error",
    "forked-children-share-a-connector",
    "close-spares-what-is-not-owned",
];

fn main() -> ExitCode {
    let outcome = match env::var(ROLE).as_deref() {
        Err(_) => run_all(),
        Ok("node") => be_node(),
        Ok("get") => get(),
        Ok(other) => Err(format!("{other} is no role").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_all() -> Checked {
    let heavy = env::args().any(|argument| argument == "--ignored");
    for way in Way::ALL {
        let fixture = Joined::start(way, if heavy { LARGE_BUDGET } else { BUDGET })?;
        if heavy {
            let mut cases = CASES.iter();
            let case = cases.find(|case| case.heavy).ok_or("no heavy case")?;
            let outcome = case.run(&fixture)?;
            println!("{} over {way:?}: {outcome:?}", case.name);
            if outcome != Outcome::Passed {
                return Err(format!("{} gives {outcome:?}", case.name).into());
            }
            continue;
        }
        check(&fixture, UNTESTABLE).map_err(|failure| format!("{way:?}: {failure}"))?;
        println!("test a_node_of_another_process_over_{way:?} ... ok");
    }
    let mut untestable = UNTESTABLE.to_vec();
    untestable.extend([
        "failed-put-leaves-nothing",
        "failed-batch-leaves-nothing",
        "failed-set-changes-nothing",
        "deadline-ends-operations",
    ]);
    check(&Own::new()?, &untestable)?;
    println!("test a_node_of_this_process ... ok");
    Ok(())
}

/// Serves until its standard input ends.
fn be_node() -> Checked {
    let mut options = NodeOptions::new("127.0.0.1", 0);
    options.secret = Some(Secret::parse(SECRET));
    options.budget = Some(env::var("TCP_TEST_BUDGET")?.parse()?);
    options.encrypt = (env::var("TCP_TEST_TLS").is_ok()).then_some(true);
    let node = Node::start(options)?;
    let Address::Tcp { port, .. } = node.address() else {
        return Err("the node has no port".into());
    };
    println!("{port}");
    std::io::stdout().flush()?;
    std::io::stdin().lock().lines().for_each(drop);
    Ok(())
}

/// Gets the object that the environment names and writes it to a file.
fn get() -> Checked {
    let variable = |name: &str| env::var(format!("TCP_TEST_{name}"));
    let config = Config::new()
        .with("port", variable("PORT")?.parse::<i64>()?)
        .with("node", "join")
        .with("unix", variable("UNIX")? == "true")
        .with("encrypt", variable("ENCRYPT")? == "true")
        .with("secret", SECRET);
    let connector = FACTORY.open(&config)?;
    let key = Key::new([
        Field::Text(variable("HOST")?.into()),
        Field::Integer(variable("PORT")?.parse()?),
        Field::Text(variable("OBJECT")?.into()),
        Field::Text(variable("CAPABILITY")?.into()),
    ]);
    if let Some(memory) = now(connector.get(&key, Deadline::never()))? {
        fs::write(variable("OUTPUT")?, memory.to_vec())?;
    }
    Ok(())
}

/// How connectors reach the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Unix,
    Tcp,
    Tls,
}

impl Way {
    const ALL: [Self; 3] = [Self::Unix, Self::Tcp, Self::Tls];
}

/// A node of another process.
struct Joined {
    way: Way,
    port: u16,
    node: Child,
    /// The node ends when this is closed.
    _input: ChildStdin,
}

impl Joined {
    fn start(way: Way, budget: i64) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let mut command = Command::new(env::current_exe()?);
        command
            .env(ROLE, "node")
            .env("TCP_TEST_BUDGET", budget.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if way == Way::Tls {
            command.env("TCP_TEST_TLS", "");
        }
        let mut node = command.spawn()?;
        let output = node.stdout.take().ok_or("no output")?;
        let input = node.stdin.take().ok_or("no input")?;
        let mut port = String::new();
        BufReader::new(output).read_line(&mut port)?;
        Ok(Self {
            way,
            port: port.trim().parse()?,
            node,
            _input: input,
        })
    }

    fn config(&self) -> Config {
        Config::new()
            .with("port", i64::from(self.port))
            .with("node", "join")
            .with("secret", SECRET)
            .with("unix", self.way == Way::Unix)
            .with("encrypt", self.way == Way::Tls)
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.node.id()).ok()?)
    }

    fn status(&self, name: &str) -> Option<u64> {
        let client = Client::new(Settings {
            credentials: Credentials::Secret(Secret::parse(SECRET)),
            unix: self.way == Way::Unix,
            encrypt: Some(self.way == Way::Tls),
            timeout: Duration::from_mins(1),
        });
        let address = NodeAddress::new("127.0.0.1", self.port);
        let status = client.status(&address, Deadline::never());
        let entries = now(proxystore_core::Operation::pending(status)).ok()?;
        entries
            .iter()
            .find(|(entry, _)| entry == name)
            .map(|(_, value)| *value)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

impl Fixture for Joined {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        FACTORY.open(&self.config())
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        FACTORY.open(config)
    }

    fn foreign_keys(&self) -> Vec<Key> {
        foreign_keys(self.port)
    }

    /// The node does not say which objects it has, but how many.
    fn stored(&self) -> Option<Vec<String>> {
        let count = self.status("objects")?;
        Some((0..count).map(|number| number.to_string()).collect())
    }

    fn while_full(&self, work: &mut dyn FnMut()) -> bool {
        let Ok(connector) = self.open() else {
            return false;
        };
        let Some(used) = self.status("memory_bytes") else {
            return false;
        };
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let filler = vec![0; usize::try_from(BUDGET).unwrap_or(0) - used - (2 << 20)];
        let segments = [Segment::from(&filler)];
        let filler = now(connector.put(Payload::from(&segments), Deadline::never()));
        let Ok(filler) = filler else {
            return false;
        };
        // It stands for objects that are there all the time.
        work();
        now(connector.evict(&filler, Deadline::never())).is_ok()
    }

    fn get_elsewhere(
        &self,
        connector: &dyn Connector,
        key: &Key,
        elsewhere: Elsewhere,
    ) -> Option<Result<Option<Vec<u8>>>> {
        if elsewhere == Elsewhere::Fork {
            return None;
        }
        Some(get_in_process(connector, key))
    }

    fn while_stalled(&self, work: &mut dyn FnMut()) -> bool {
        let Some(pid) = self.pid() else {
            return false;
        };
        if rustix::process::kill_process(pid, Signal::STOP).is_err() {
            return false;
        }
        let stopped = rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED);
        if !stopped.is_ok_and(|status| status.is_some_and(|(_, status)| status.stopped())) {
            return false;
        }
        work();
        rustix::process::kill_process(pid, Signal::CONT).is_ok()
    }

    fn cut_connections(&self) -> bool {
        cut_connections()
    }
}

/// Shuts down every socket of this process that is connected, under the feet of its owner.
fn cut_connections() -> bool {
    let this = rustix::process::getpid();
    let Ok(this) = rustix::process::pidfd_open(this, PidfdFlags::empty()) else {
        return false;
    };
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return false;
    };
    let mut cut = 0;
    for descriptor in descriptors.flatten() {
        let is_socket = fs::read_link(descriptor.path())
            .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"));
        let number = descriptor.file_name().to_string_lossy().parse();
        let Ok(number) = number else { continue };
        if !is_socket {
            continue;
        }
        let copy = rustix::process::pidfd_getfd(&this, number, PidfdGetfdFlags::empty());
        let is_cut = copy.is_ok_and(|copy| {
            let is_connected = rustix::net::getpeername(&copy).is_ok_and(|peer| peer.is_some());
            is_connected && rustix::net::shutdown(&copy, rustix::net::Shutdown::Both).is_ok()
        });
        cut += usize::from(is_cut);
    }
    cut > 0
}

fn get_in_process(connector: &dyn Connector, key: &Key) -> Result<Option<Vec<u8>>> {
    let failed = |error: String| Error::new(ErrorKind::Internal, error);
    let config = connector.config();
    let flag = |name: &str, default: bool| match config.value(name) {
        Some(Value::Bool(value)) => value.to_string(),
        _ => default.to_string(),
    };
    let output = tempfile::TempDir::new().map_err(|error| failed(error.to_string()))?;
    let object = output.path().join("object");
    let this = env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = Command::new(this);
    command
        .env(ROLE, "get")
        .env("TCP_TEST_UNIX", flag("unix", true))
        .env("TCP_TEST_ENCRYPT", flag("encrypt", false))
        .env("TCP_TEST_OUTPUT", &object);
    for (name, field) in ["HOST", "PORT", "OBJECT", "CAPABILITY"]
        .iter()
        .zip(key.fields())
    {
        let value = match field {
            Field::Text(text) => text.to_string(),
            other => other.to_string(),
        };
        command.env(format!("TCP_TEST_{name}"), value);
    }
    let done = command
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !done.status.success() {
        return Err(failed(String::from_utf8_lossy(&done.stdout).into_owned()));
    }
    Ok(fs::read(&object).ok())
}

fn foreign_keys(port: u16) -> Vec<Key> {
    const NUMBER: &str = "0123456789abcdef0123456789abcdef";

    let text = |text: &str| Field::Text(text.into());
    let key = |host: &str, port: i64, object: &str, capability: &str| {
        Key::new([
            text(host),
            Field::Integer(port),
            text(object),
            text(capability),
        ])
    };
    let port = i64::from(port);
    let right = key("127.0.0.1", port, NUMBER, NUMBER);
    let mut longer = right.fields().to_vec();
    longer.push(Field::Absent);
    vec![
        Key::new([]),
        Key::text(NUMBER),
        Key::new(&right.fields()[..3]),
        Key::new(longer),
        Key::new([Field::Nested(right)]),
        key("../127.0.0.1", port, NUMBER, NUMBER),
        key("127.0.0.1:1", port, NUMBER, NUMBER),
        key("127.0.0.1", 0, NUMBER, NUMBER),
        key("127.0.0.1", port + 65_536, NUMBER, NUMBER),
        key("127.0.0.1", port, "../etc/passwd", NUMBER),
        key("127.0.0.1", port, &NUMBER.to_uppercase(), NUMBER),
        key("127.0.0.1", port, NUMBER, &NUMBER[1..]),
    ]
}

/// A node of this process, which the first connector starts.
struct Own {
    port: u16,
    /// The first connector: the node is there as long as somebody uses it.
    _first: Mutex<Arc<dyn Connector>>,
}

impl Own {
    fn new() -> Result<Self> {
        let first = FACTORY.open(&Config::new().with("port", 0).with("secret", SECRET))?;
        let config = first.config();
        let Some(Value::Integer(port)) = config.value("port") else {
            return Err(Error::new(ErrorKind::Internal, "no port is told"));
        };
        Ok(Self {
            port: u16::try_from(*port).unwrap_or(0),
            _first: Mutex::new(first),
        })
    }
}

impl Fixture for Own {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        let config = Config::new().with("port", i64::from(self.port));
        FACTORY.open(&config.with("secret", SECRET))
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        FACTORY.open(config)
    }

    fn foreign_keys(&self) -> Vec<Key> {
        foreign_keys(self.port)
    }

    fn get_elsewhere(
        &self,
        connector: &dyn Connector,
        key: &Key,
        elsewhere: Elsewhere,
    ) -> Option<Result<Option<Vec<u8>>>> {
        match elsewhere {
            Elsewhere::Fork => None,
            Elsewhere::Process => Some(get_in_process(connector, key)),
        }
    }

    fn cut_connections(&self) -> bool {
        cut_connections()
    }
}
