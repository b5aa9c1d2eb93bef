//! A node whose clients vanish in a network that loses everything: it keeps nothing of them.
//!
//! Started as a test, this program starts itself again in a network of its own, whose other end is
//! the node's.

mod support;

use std::{
    env,
    error::Error,
    fs::File,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use proxystore_node::Node;
use proxystore_wire::message::Mode;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::{Answer, MIB, Peer, SECRET, bytes, key, options, port, wait};

type Checked = Result<(), Box<dyn Error>>;

/// Says that this process is in its network.
const INSIDE: &str = "NODE_TEST_INSIDE";

/// The exit code of `unshare` for a program that is not there.
const MISSING: i32 = 127;

const NEAR: &str = "192.0.2.1";
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The card of the node's host, and that of nobody.
const CARD: &str = "02:00:00:00:00:02";
const NO_CARD: &str = "02:00:00:00:00:99";

fn main() -> ExitCode {
    let name = "what_vanished_clients_had_is_free_again";
    let outcome = match env::var_os(INSIDE) {
        Some(_) => vanishing(),
        None => match probe() {
            Ok(status) if status.success() => again(),
            // Programs can be installed, so where the outcome counts a missing one is a failure.
            Ok(status) if status.code() != Some(MISSING) || env::var_os("CI").is_none() => {
                println!("test {name} ... ignored, as the system makes no network ({status})");
                return ExitCode::SUCCESS;
            }
            outcome => Err(format!("no network can be tried: {outcome:?}").into()),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("test {name} ... FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a network with a cable, and gives it up.
fn probe() -> io::Result<ExitStatus> {
    let cable = [
        "ip", "link", "add", "near", "type", "veth", "peer", "name", "far",
    ];
    unshare(&cable).stderr(Stdio::null()).status()
}

/// A command in a network of its own.
fn unshare(command: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "--"]).args(command);
    unshare
}

fn again() -> Checked {
    let program = env::current_exe()?;
    let program = program.to_str().ok_or("a path that is no text")?;
    // In there the user may have another number, to whom this user's directory is a stranger's.
    let directory = tempfile::tempdir()?;
    let status = unshare(&[program])
        .env(INSIDE, "")
        .env("XDG_RUNTIME_DIR", directory.path())
        .status()?;
    if !status.success() {
        return Err("see above".into());
    }
    println!("test what_vanished_clients_had_is_free_again ... ok");
    Ok(())
}

/// The node's host, and the cable to it.
struct Far(Child);

impl Far {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut host = unshare(&["sh", "-c", "echo ready && exec cat"]);
        let mut host = host.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = host.stdout.take().ok_or("no output")?;
        BufReader::new(output).read_line(&mut String::new())?;
        let far = Self(host);
        let id = far.0.id();
        run(&format!(
            "ip link add near type veth peer name far netns {id}"
        ))?;
        run(&format!("ip address add {NEAR}/24 dev near"))?;
        run("ip link set near up")?;
        far.run("ip link set lo up")?;
        far.run(&format!("ip link set far address {CARD}"))?;
        far.run(&format!("ip address add {FAR}/24 dev far"))?;
        far.run("ip link set far up")?;
        lead_to(CARD)?;
        Ok(far)
    }

    /// Runs a command there.
    fn run(&self, command: &str) -> Checked {
        run(&format!(
            "nsenter --target {} --net -- {command}",
            self.0.id()
        ))
    }

    /// A node there.
    fn node(&self) -> Result<Node, Box<dyn Error>> {
        let mut options = options();
        options.host = FAR.to_string();
        options.unix = false;
        options.encrypt = Some(false);
        options.limits.silence = Duration::from_secs(4);
        options.limits.keep_alive = Duration::from_secs(8);
        let network = File::open(format!("/proc/{}/ns/net", self.0.id()))?;
        // The threads of the node are in the network of whoever starts it.
        let started = thread::spawn(move || {
            use std::os::fd::AsFd;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            Node::start(options).map_err(std::io::Error::other)
        });
        Ok(started.join().map_err(|_| "it panicked")??)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &str) -> Checked {
    let mut words = command.split(' ');
    let status = Command::new(words.next().unwrap_or_default())
        .args(words)
        .status()?;
    status.success().then_some(()).ok_or_else(|| command.into())
}

/// Lets what is sent to the node's host go to a card there.
fn lead_to(card: &str) -> Checked {
    run(&format!(
        "ip neighbour replace {FAR} lladdr {card} dev near nud permanent"
    ))
}

fn vanishing() -> Checked {
    let far = Far::new()?;
    let node = far.node()?;
    let address = SocketAddr::from((FAR, port(&node)));
    let connect = || Peer::tcp(address, SECRET);
    let mut idle = connect()?;
    let object = bytes(5 * MIB, 1);
    assert_eq!(idle.put(&key(1), &object)?, Answer::Done);
    let mut putting = connect()?;
    let _ = putting.begin_put(&key(2), Mode::New, &bytes(40 * MIB, 2));
    // As much as may be sent before the node asks for more.
    putting.send()?;
    wait(&node, "reserved_bytes", |reserved| {
        reserved >= 40 * MIB as u64
    });
    assert_eq!(idle.exists(&key(1))?, Answer::Present(object.len() as u64));
    wait(&node, "connections", |connections| connections == 2);

    lead_to(NO_CARD)?;
    wait(&node, "reserved_bytes", |reserved| reserved == 0);
    wait(&node, "connections", |connections| connections <= 1);
    // Of the one that owes nothing the system finds out.
    wait(&node, "connections", |connections| connections == 0);

    lead_to(CARD)?;
    let mut late = connect()?;
    assert_eq!(late.get(&key(1))?, Answer::Object(object));
    assert_eq!(late.get(&key(2))?, Answer::Absent);
    Ok(())
}
