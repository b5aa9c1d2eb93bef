//! Peers that mean no good.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use proxystore_wire::{
    Limits,
    frame::{Header, Kind},
    handshake::{Authentication, ClientHandshake, NodeHandshake},
};

use crate::{
    client::ClientConnection,
    objects::Object,
    outcome::{Plan, Shared},
    pipe::Pipe,
    random::Random,
    tally::Tally,
};

/// All that a stranger who knows the secret can do but clear the node, which is then gone for
/// everybody.
const KINDS: [Kind; 21] = [
    Kind::Put,
    Kind::Begin,
    Kind::End,
    Kind::Get,
    Kind::Exists,
    Kind::Evict,
    Kind::Status,
    Kind::Cancel,
    Kind::Done,
    Kind::Present,
    Kind::Absent,
    Kind::Object,
    Kind::Found,
    Kind::Elsewhere,
    Kind::Report,
    Kind::Refused,
    Kind::Data,
    Kind::Credit,
    Kind::Ping,
    Kind::Pong,
    Kind::Drain,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Bytes of any kind, from the first on.
    Noise,
    /// The handshake, and then frames as they come.
    Frames,
    /// The handshake, and then the same frame again and again.
    Flood,
    /// The handshake, half a frame, and nothing more.
    Silence,
}

/// A peer that says what it should not.
pub(crate) struct Attacker {
    manner: Manner,
    handshake: Option<ClientHandshake>,
    heard: Vec<u8>,
    said: Vec<u8>,
    left: usize,
    flood: Kind,
}

impl Attacker {
    /// One that connects to a node, and knows what a client knows.
    pub(crate) fn new(authentication: &Authentication<'_>, random: &mut Random) -> Self {
        let mut said = Vec::new();
        let limits = Limits::default();
        let handshake = ClientHandshake::new(limits, authentication, random.bytes(), &mut said);
        let mut attacker = Self::in_any_manner(random);
        if attacker.manner != Manner::Noise {
            attacker.said = said;
            attacker.handshake = Some(handshake.expect("a secret"));
        }
        attacker
    }

    fn in_any_manner(random: &mut Random) -> Self {
        let manner = match random.below(6) {
            0 => Manner::Noise,
            1 => Manner::Flood,
            2 => Manner::Silence,
            _ => Manner::Frames,
        };
        Self {
            manner,
            handshake: None,
            heard: Vec::new(),
            said: Vec::new(),
            left: random.between(1, 200),
            flood: KINDS[random.below(KINDS.len())],
        }
    }

    /// Whether it says more than anybody listens to.
    pub(crate) fn is_flood(&self) -> bool {
        self.manner == Manner::Flood
    }

    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn read(&mut self, pipe: &mut Pipe, random: &mut Random) {
        if random.once_in(2) {
            return;
        }
        pipe.read(&mut self.heard, 4096, random);
        if let Some(handshake) = &mut self.handshake
            && let Ok(progress) = handshake.receive(&self.heard, &mut self.said)
        {
            if progress.agreed.is_some() {
                self.handshake = None;
            }
            self.heard.drain(..progress.used);
        } else {
            self.heard.clear();
        }
    }

    pub(crate) fn write(&mut self, pipe: &mut Pipe, random: &mut Random) {
        if self.said.is_empty() && self.handshake.is_none() && self.left > 0 {
            self.left -= 1;
            match self.manner {
                Manner::Noise => {
                    let noise = random.bytes::<40>();
                    self.said.extend_from_slice(&noise[..random.below(40)]);
                }
                Manner::Frames => self.say(KINDS[random.below(KINDS.len())], random),
                Manner::Flood => {
                    for _ in 0..100 {
                        self.say(self.flood, random);
                    }
                }
                Manner::Silence if self.left > 1 => {
                    self.say(Kind::Begin, random);
                    self.said.truncate(random.below(70));
                    self.left = 0;
                }
                Manner::Silence => {}
            }
        }
        let sent = pipe.write(&self.said);
        self.said.drain(..sent);
    }

    /// A frame that could be one, with numbers that hardly could.
    fn say(&mut self, kind: Kind, random: &mut Random) {
        let mut head = random.bytes::<40>();
        let numbers = [0, 1, 5, 1000, 70_000, u64::from(u32::MAX), u64::MAX];
        let number = numbers[random.below(numbers.len())];
        let at = if kind == Kind::Begin { 32 } else { 0 };
        head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let head = &head[..kind.head()];
        let tail = match kind {
            Kind::Put | Kind::Object | Kind::Report | Kind::Refused => random.below(300),
            Kind::Data => random.between(1, 2000),
            _ => 0,
        };
        let connection = matches!(kind, Kind::Ping | Kind::Pong | Kind::Drain);
        let stream = if connection { 0 } else { random.below(8) };
        let mut header = Header {
            kind,
            flags: u8::try_from(random.below(2)).expect("small") & kind.flags(),
            stream: u32::try_from(stream).expect("small"),
            len: u32::try_from(head.len() + tail).expect("small"),
        };
        if random.once_in(100) {
            header.len = u32::MAX;
        }
        let mut bytes = header.encode(head);
        if random.once_in(100) {
            bytes[random.below(16)] ^= 1;
        }
        self.said.extend_from_slice(&bytes);
        self.said.extend_from_slice(head);
        let letter = if random.once_in(2) { b'a' } else { 0 };
        self.said.resize(self.said.len() + tail, letter);
    }
}

/// A client and a node that answers as it likes: whatever it says, the client ends, and takes no
/// more memory than it wants to.
pub(crate) fn node(seed: u64) {
    let mut random = Random::new(seed ^ 0xbad);
    let authentication = Authentication::Transport;
    let mut attacker = Attacker::in_any_manner(&mut random);
    let mut shared = Shared {
        objects: (0..6)
            .map(|index| Object::new(index * 700, &mut random))
            .collect(),
        cells: Vec::new(),
        step: 0,
        now: Instant::now(),
        tally: Tally::default(),
        is_trusting: false,
    };
    let limits = Limits {
        chunk: 2048,
        window: 8192,
        inline: 1000,
        ..Limits::default()
    };
    let (mut up, mut down) = (Pipe::new(5000), Pipe::new(5000));
    let mut client = ClientConnection::new(limits, &authentication, random.bytes());
    let mut handshake =
        NodeHandshake::new(limits, &authentication, random.bytes()).expect("no secret");
    let mut heard = Vec::new();
    let mut is_greeted = attacker.manner == Manner::Noise;
    let mut again = VecDeque::new();
    for _ in 0..random.between(50, 1000) {
        shared.step += 1;
        shared.now += Duration::from_millis(random.next() % 20);
        let object = random.below(6);
        match random.below(8) {
            0 => {
                let plan = match random.below(4) {
                    0 => Plan::Put {
                        object,
                        races: false,
                    },
                    1 => Plan::Exists { object },
                    2 => Plan::Status,
                    _ => Plan::Get {
                        object,
                        forged: false,
                        whole: random.once_in(2),
                    },
                };
                let _ = client.begin(plan, &mut shared);
            }
            1 if random.once_in(4) => client.cancel(&mut shared, &mut random),
            2 if is_greeted => {
                heard.clear();
                pipe_some(&mut up, &mut heard, &mut random);
            }
            2 => {
                pipe_some(&mut up, &mut heard, &mut random);
                let mut said = Vec::new();
                let progress = handshake.receive(&heard, &mut said).expect("a hello");
                heard.drain(..progress.used);
                attacker.said.extend(said);
                is_greeted = progress.agreed.is_some();
            }
            3 | 4 if is_greeted => attacker.write(&mut down, &mut random),
            5 => {
                client.write(&mut up, &shared, &mut random);
            }
            6 if !client.is_lost => {
                client.read(&mut down, &mut shared, &mut again, &mut random);
            }
            _ => client.handle_timeout(shared.now),
        }
        if client.is_lost {
            break;
        }
    }
    client.lose(&mut shared);
    assert!(client.has_nothing_running());
}

fn pipe_some(pipe: &mut Pipe, heard: &mut Vec<u8>, random: &mut Random) {
    pipe.read(heard, 1000, random);
}
