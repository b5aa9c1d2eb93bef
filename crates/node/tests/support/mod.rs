//! A client that does one thing after the other, for tests of nodes.

#![allow(
    clippy::cast_possible_truncation,
    dead_code,
    reason = "lengths are small, and each test program has its own copy and uses a part of it"
)]

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use proxystore_memory::{Filling, Segment};
use proxystore_node::{Node, NodeOptions};
use proxystore_stream::{Address, Secret};
use proxystore_wire::{
    Limits, ObjectKey, StreamId, Sum,
    client::{Event, Session},
    handshake::{Authentication, ClientHandshake},
    message::{Mode, Refusal, Reply},
};

pub(crate) const SECRET: &str = "a secret of some length";
pub(crate) const MIB: usize = 1 << 20;

/// A node on any port of the loopback interface.
pub(crate) fn options() -> NodeOptions {
    let mut options = NodeOptions::new("127.0.0.1", 0);
    options.secret = Some(Secret::parse(SECRET));
    options.budget = Some(64 << 20);
    options
}

pub(crate) fn node() -> Node {
    Node::start(options()).expect("a node")
}

pub(crate) fn port(node: &Node) -> u16 {
    match node.address() {
        Address::Tcp { port, .. } => *port,
        Address::Unix(path) => panic!("{}", path.display()),
    }
}

pub(crate) fn socket(node: &Node) -> &Path {
    match node.socket() {
        Some(Address::Unix(path)) => path,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn key(number: u128) -> ObjectKey {
    ObjectKey {
        id: number.to_le_bytes(),
        capability: [7; 16],
    }
}

/// Bytes of which no two parts are alike.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}

/// One number of a node's status.
pub(crate) fn status(node: &Node, name: &str) -> u64 {
    let status = node.status();
    let found = status.iter().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| panic!("{name} is not in {status:?}"))
        .1
}

/// Waits until a number of a node's status is as it should be.
pub(crate) fn wait(node: &Node, name: &str, is_right: impl Fn(u64) -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !is_right(status(node, name)) {
        assert!(Instant::now() < until, "{name} is {}", status(node, name));
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) trait Socket: Read + Write {}

impl<T: Read + Write> Socket for T {}

/// A client.
pub(crate) struct Peer {
    socket: Box<dyn Socket>,
    pub(crate) session: Session,
    arrived: Vec<u8>,
    sources: HashMap<StreamId, Vec<u8>>,
    /// Answers to requests that nobody has asked about yet.
    early: HashMap<StreamId, Answer>,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Present(u64),
    Absent,
    Object(Vec<u8>),
    Elsewhere(u64),
    Report(HashMap<String, u64>),
    Refused(Refusal, String),
}

impl Peer {
    pub(crate) fn of(node: &Node) -> Self {
        Self::unix(socket(node)).expect("the node answers")
    }

    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        Self::shake(UnixStream::connect(path)?, &Authentication::Transport)
    }

    pub(crate) fn tcp(address: impl Into<SocketAddr>, secret: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address.into())?;
        socket.set_nodelay(true)?;
        let binding = format!("{} {}", socket.local_addr()?, socket.peer_addr()?);
        let authentication = Authentication::Secret {
            secret: secret.as_bytes(),
            binding: binding.as_bytes(),
        };
        Self::shake(socket, &authentication)
    }

    pub(crate) fn shake(
        mut socket: impl Socket + 'static,
        authentication: &Authentication<'_>,
    ) -> io::Result<Self> {
        let mut out = Vec::new();
        let mut handshake =
            ClientHandshake::new(Limits::default(), authentication, [9; 32], &mut out)
                .map_err(io::Error::other)?;
        let mut arrived = Vec::new();
        let agreed = loop {
            socket.write_all(&out)?;
            out.clear();
            let mut bytes = [0; 1024];
            let len = socket.read(&mut bytes)?;
            if len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            arrived.extend_from_slice(&bytes[..len]);
            let progress = handshake
                .receive(&arrived, &mut out)
                .map_err(io::Error::other)?;
            arrived.drain(..progress.used);
            if let Some(agreed) = progress.agreed {
                break agreed;
            }
        };
        Ok(Self {
            socket: Box::new(socket),
            session: Session::new(&agreed, Duration::from_mins(10), Instant::now()),
            arrived,
            sources: HashMap::new(),
            early: HashMap::new(),
        })
    }

    pub(crate) fn begin_put(&mut self, key: &ObjectKey, mode: Mode, bytes: &[u8]) -> StreamId {
        let segments = [Segment::from(bytes)];
        let stream = loop {
            match self.session.put(key, mode, &segments, Instant::now()) {
                Ok(stream) => break stream,
                Err(_) => self.send().expect("room"),
            }
        };
        self.sources.insert(stream, bytes.to_vec());
        stream
    }

    pub(crate) fn put(&mut self, key: &ObjectKey, bytes: &[u8]) -> io::Result<Answer> {
        let stream = self.begin_put(key, Mode::New, bytes);
        self.answer(stream)
    }

    pub(crate) fn set(&mut self, key: &ObjectKey, bytes: &[u8]) -> io::Result<Answer> {
        let stream = self.begin_put(key, Mode::Replace, bytes);
        self.answer(stream)
    }

    pub(crate) fn get(&mut self, key: &ObjectKey) -> io::Result<Answer> {
        let stream = self.session.get(key, true, Instant::now());
        self.answer(stream.expect("few requests"))
    }

    pub(crate) fn exists(&mut self, key: &ObjectKey) -> io::Result<Answer> {
        let stream = self.session.exists(key, Instant::now());
        self.answer(stream.expect("few requests"))
    }

    pub(crate) fn evict(&mut self, key: &ObjectKey) -> io::Result<Answer> {
        let stream = self.session.evict(key, Instant::now());
        self.answer(stream.expect("few requests"))
    }

    pub(crate) fn status(&mut self) -> io::Result<Answer> {
        let stream = self.session.status(Instant::now());
        self.answer(stream.expect("few requests"))
    }

    /// Sends until nothing more may be sent.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while self.session.wants_to_send() {
            let outgoing = self.session.outgoing();
            let mut out = outgoing.bytes.to_vec();
            if let Some(chunk) = &outgoing.chunk {
                out.extend_from_slice(chunk.header());
                let part = chunk.body.start as usize..chunk.body.end as usize;
                out.extend_from_slice(&self.sources[&chunk.stream][part]);
            }
            self.socket.write_all(&out)?;
            if let Some(stream) = self.session.sent(out.len()) {
                let sum = Sum::of(&self.sources[&stream]);
                self.session.end(stream, sum);
            }
        }
        Ok(())
    }

    /// Reads once, and appends to what arrived; an error at the end.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; 256 << 10];
        let len = self.socket.read(&mut bytes)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.arrived.extend_from_slice(&bytes[..len]);
        Ok(())
    }

    /// Writes bytes of which the session knows nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends and receives until the request of this stream is answered.
    pub(crate) fn answer(&mut self, wanted: StreamId) -> io::Result<Answer> {
        let mut filling = None;
        if let Some(answer) = self.early.remove(&wanted) {
            return Ok(answer);
        }
        loop {
            self.send()?;
            let now = Instant::now();
            let arrived = std::mem::take(&mut self.arrived);
            let mut used = 0;
            let mut answer = None;
            while answer.is_none() {
                let received = self
                    .session
                    .receive(&arrived[used..], now)
                    .map_err(io::Error::other)?;
                used += received.used;
                match received.event {
                    Some(Event::Reply { stream, reply }) if stream == wanted => {
                        answer = Some(Answer::from(reply));
                    }
                    Some(Event::Found { stream, len, sum }) if stream == wanted => {
                        filling = Some((Filling::new(len as usize)?, sum));
                        self.session.accept(stream, now);
                    }
                    Some(Event::Body { stream, len }) if stream == wanted => {
                        let Some((body, _)) = &mut filling else {
                            panic!("a body of what was not found");
                        };
                        let len = len.min(arrived.len() - used);
                        if len == 0 {
                            break;
                        }
                        body.push(&arrived[used..used + len]);
                        used += len;
                        self.session.body_received(len, now);
                    }
                    Some(Event::Ended { stream }) if stream == wanted => {
                        let (body, sum) = filling.take().expect("it was found");
                        assert_eq!(Sum::of(body.filled()), sum, "the node's checksum");
                        answer = Some(Answer::Object(body.filled().to_vec()));
                    }
                    Some(Event::Reply { stream, reply }) => {
                        self.early.insert(stream, Answer::from(reply));
                    }
                    Some(Event::Draining) => {}
                    Some(other) => panic!("{other:?}"),
                    None => break,
                }
            }
            self.arrived = arrived[used..].to_vec();
            if let Some(answer) = answer {
                return Ok(answer);
            }
            if !self.session.wants_to_send() {
                self.read()?;
            }
        }
    }
}

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        match reply {
            Reply::Done => Self::Done,
            Reply::Present { len } => Self::Present(len),
            Reply::Absent => Self::Absent,
            Reply::Object { sum, bytes } => {
                assert_eq!(Sum::of(bytes), sum, "the node's checksum");
                Self::Object(bytes.to_vec())
            }
            Reply::Elsewhere { len } => Self::Elsewhere(len),
            Reply::Report(report) => Self::Report(
                report
                    .entries()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            ),
            Reply::Refused { refusal, text } => Self::Refused(refusal, text.to_owned()),
            Reply::Found { .. } => panic!("this is an event of its own"),
        }
    }
}

/// What an answer that refuses refuses for.
pub(crate) fn refusal(answer: io::Result<Answer>) -> (Refusal, String) {
    match answer.expect("an answer") {
        Answer::Refused(refusal, text) => (refusal, text),
        other => panic!("{other:?}"),
    }
}
