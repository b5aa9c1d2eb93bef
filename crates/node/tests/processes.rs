//! Nodes that are killed, and processes that want to be the same node.

mod support;

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Write, stdin, stdout},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use proxystore_node::{Node, NodeError, place};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::support::{Answer, MIB, Peer, SECRET, bytes, key, options, port, socket};

/// Says what this process is to do; tests start themselves again with it.
const ROLE: &str = "NODE_TEST_ROLE";
const PORT: &str = "NODE_TEST_PORT";
const DESCRIPTORS: &str = "NODE_TEST_DESCRIPTORS";

type Checked = Result<(), Box<dyn Error>>;
type Test = fn() -> Checked;

fn main() -> ExitCode {
    if env::var_os(ROLE).is_some() {
        return serve();
    }
    let tests: [(&str, Test); 4] = [
        ("a_killed_node_makes_room_for_the_next", killed),
        ("one_of_many_processes_is_the_node", racing),
        ("a_node_without_descriptors_serves_on", exhausted),
        ("a_restarted_node_takes_nothing_of_the_old_one", restarted),
    ];
    let mut outcome = ExitCode::SUCCESS;
    for (name, test) in tests {
        match test() {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                println!("test {name} ... FAILED: {error}");
                outcome = ExitCode::FAILURE;
            }
        }
    }
    outcome
}

/// A process that is a node until its input ends; it says whether it became one.
fn serve() -> ExitCode {
    let mut options = options();
    options.port = number(PORT).unwrap_or(0);
    if let Some(most) = number(DESCRIPTORS) {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // Each takes a few, and how many there are depends on the machine otherwise.
        options.threads = Some(2);
        setrlimit(Resource::Nofile, limit).expect("fewer are always possible");
    }
    let node = Node::start(options);
    match &node {
        Ok(node) => println!("node {} {}", port(node), socket(node).display()),
        Err(NodeError::AlreadyRunning { owner, .. }) => println!("joined {}", owner.process),
        Err(error) => println!("failed {error}"),
    }
    let _ = stdout().flush();
    let _ = stdin().lines().next();
    ExitCode::SUCCESS
}

/// The number in an environment variable.
fn number<T: FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok()?.parse().ok()
}

struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(port: u16) -> Result<Self, Box<dyn Error>> {
        Self::start_with(port, &[])
    }

    fn start_with(port: u16, variables: &[(&str, &str)]) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(env::current_exe()?)
            .env(ROLE, "serve")
            .envs(variables.iter().copied())
            .env(PORT, port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            lines: BufReader::new(output),
        })
    }

    /// What it says.
    fn line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn kill(&mut self) -> Checked {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn free_port() -> Result<u16, Box<dyn Error>> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(free.local_addr()?.port())
}

fn require(holds: bool, what: impl Into<String>) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(what.into().into())
    }
}

fn killed() -> Checked {
    let port = free_port()?;
    for round in 0..5 {
        let mut process = Process::start(port)?;
        let line = process.line()?;
        require(line.starts_with("node "), line)?;
        let path = place::socket(port)?;
        let mut peer = Peer::unix(&path)?;
        let object = bytes(8 * MIB, round);
        require(peer.put(&key(1), &object)? == Answer::Done, "not stored")?;
        let mut waiting = Peer::tcp((Ipv4Addr::LOCALHOST, port), SECRET)?;
        process.kill()?;
        // Whoever is connected learns it at once, and the name of the socket stays behind.
        require(peer.get(&key(1)).is_err(), "a dead node answers")?;
        require(waiting.read().is_err(), "a dead node keeps a connection")?;
        require(path.exists(), "the socket is gone")?;
        require(Peer::unix(&path).is_err(), "a dead node listens")?;
    }
    let mut next = options();
    next.port = port;
    let node = Node::start(next)?;
    let mut peer = Peer::unix(socket(&node))?;
    require(
        peer.get(&key(1))? == Answer::Absent,
        "an object of a dead node",
    )
}

fn racing() -> Checked {
    for _ in 0..5 {
        let port = free_port()?;
        let mut processes = (0..6)
            .map(|_| Process::start(port))
            .collect::<Result<Vec<_>, _>>()?;
        let mut nodes = Vec::new();
        let mut joined = Vec::new();
        for process in &mut processes {
            let line = process.line()?;
            match line.split(' ').next() {
                Some("node") => nodes.push(process.child.id()),
                Some("joined") => joined.push(line),
                _ => return Err(line.into()),
            }
        }
        require(nodes.len() == 1, format!("{} nodes", nodes.len()))?;
        let expected = format!("joined {}", nodes[0]);
        require(
            joined.iter().all(|line| *line == expected),
            format!("{joined:?} is not {expected}"),
        )?;
        Peer::unix(&place::socket(port)?)?.exists(&key(1))?;
    }
    Ok(())
}

fn exhausted() -> Checked {
    let port = free_port()?;
    // The node needs some itself, so that it runs out of them before it has as many strangers as
    // it lets in.
    let mut process = Process::start_with(port, &[(DESCRIPTORS, "28")])?;
    let line = process.line()?;
    require(line.starts_with("node "), line)?;
    let path = place::socket(port)?;
    let mut known = Peer::unix(&path)?;
    require(known.put(&key(1), b"x")? == Answer::Done, "not stored")?;
    let silent = (0..100)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
        .collect::<Result<Vec<_>, _>>()?;
    require(known.exists(&key(1))? == Answer::Present(1), "not there")?;
    let mut late = Peer::unix(&path)?;
    require(late.exists(&key(1))? == Answer::Present(1), "not there")?;
    drop(silent);
    require(known.exists(&key(1))? == Answer::Present(1), "not there")
}

fn restarted() -> Checked {
    let port = free_port()?;
    let mut process = Process::start(port)?;
    process.line()?;
    let owner = place::Owner::of(port)?.ok_or("nobody is the node")?;
    require(owner.process == process.child.id(), "another process is")?;
    // It stops by itself at the end of its input, and its port is free.
    drop(process.child.stdin.take());
    process.child.wait()?;
    let until = Instant::now() + Duration::from_mins(1);
    while place::Owner::of(port)?.is_some() {
        require(Instant::now() < until, "the claim stays")?;
    }
    require(!place::socket(port)?.exists(), "the socket stays")?;
    let mut again = Process::start(port)?;
    let line = again.line()?;
    require(line.starts_with("node "), line)
}
