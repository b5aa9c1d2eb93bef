//! Both sides of a connection, with nothing in between.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, ObjectKey, StreamId, client,
    frame::{Header, Kind},
    handshake::{Agreed, Authentication, ClientHandshake, NodeHandshake},
    message::{Mode, Reply, Request},
    server::{self, Ticket},
};

pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// Limits that short objects reach.
pub(crate) const SMALL: Limits = Limits {
    streams: 8,
    inline: 100,
    chunk: 1024,
    credit: 2048,
    window: 4096,
};

pub(crate) fn key(number: u8) -> ObjectKey {
    ObjectKey {
        id: [number; 16],
        capability: [number ^ 0xff; 16],
    }
}

/// A whole frame.
pub(crate) fn frame(kind: Kind, stream: u32, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        flags: 0,
        stream,
        len: u32::try_from(head.len() + tail.len()).expect("a short frame"),
    };
    [&header.encode(head), head, tail].concat()
}

pub(crate) struct Pair {
    pub(crate) client: client::Session,
    pub(crate) server: server::Session,
    pub(crate) now: Instant,
}

impl Pair {
    /// Both sides after the handshake, with these limits for both.
    pub(crate) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let (at_client, at_node) = agreed(limits);
        Self {
            client: client::Session::new(&at_client, KEEP_ALIVE, now),
            server: server::Session::new(&at_node, SILENCE, now),
            now,
        }
    }

    /// All frames that the client has to send.
    pub(crate) fn client_sends(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.client.outgoing().bytes;
            if bytes.is_empty() {
                return all;
            }
            all.extend_from_slice(bytes);
            let len = bytes.len();
            self.client.sent(len);
        }
    }

    /// All frames that the node has to send.
    pub(crate) fn server_sends(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let bytes = self.server.outgoing(self.now).bytes;
            if bytes.is_empty() {
                return all;
            }
            all.extend_from_slice(bytes);
            let len = bytes.len();
            self.server.sent(len, self.now);
        }
    }

    /// The request that the client has to send.
    pub(crate) fn any_request(&mut self) -> Ticket {
        let mut wire = self.client_sends();
        let ticket = self.request_in(&mut wire);
        assert!(wire.is_empty());
        ticket
    }

    pub(crate) fn request(&mut self, expected: &Request<'_>) -> Ticket {
        let wire = self.client_sends();
        let received = self.server.receive(&wire, self.now).expect("a request");
        let Some(server::Event::Request { ticket, request }) = received.event else {
            panic!("{received:?}");
        };
        assert_eq!(request, *expected);
        ticket
    }

    /// Takes the first request off what the client sent.
    pub(crate) fn request_in(&mut self, wire: &mut Vec<u8>) -> Ticket {
        let received = self.server.receive(wire, self.now).expect("a request");
        let Some(server::Event::Request { ticket, .. }) = received.event else {
            panic!("{received:?}");
        };
        let used = received.used;
        wire.drain(..used);
        ticket
    }

    /// What the node has to send is this reply alone.
    pub(crate) fn client_hears(&mut self, stream: StreamId, reply: &Reply<'_>) {
        let wire = self.server_sends();
        let received = self.client.receive(&wire, self.now).expect("a reply");
        let reply = *reply;
        assert_eq!(received.event, Some(client::Event::Reply { stream, reply }));
        assert_eq!(received.used, wire.len());
    }
}

/// What the client and what the node agree on.
pub(crate) fn agreed(limits: Limits) -> (Agreed, Agreed) {
    let authentication = Authentication::Transport;
    let mut hello = Vec::new();
    let mut client =
        ClientHandshake::new(limits, &authentication, [1; 32], &mut hello).expect("no secret");
    let mut node = NodeHandshake::new(limits, &authentication, [2; 32]).expect("no secret");
    let mut answer = Vec::new();
    let at_node = node.receive(&hello, &mut answer).expect("a hello");
    let at_client = client.receive(&answer, &mut hello).expect("a hello");
    (
        at_client.agreed.expect("the end"),
        at_node.agreed.expect("the end"),
    )
}

/// Puts an object of `len` bytes over a path without a limit but its round trip. Returns how many
/// round trips it took, and how much was on its way at most.
pub(crate) fn transfer(len: usize, round_trip: Duration) -> (u64, u64) {
    let mut pair = Pair::new(Limits::default());
    let begun = pair.now;
    // The body is never looked at: one page stands for all of it.
    let page = vec![0; 1 << 20];
    let segments = vec![Segment::from(&page); len >> 20];
    let put = pair.client.put(&key(1), Mode::New, &segments, begun);
    let put = put.expect("room");
    let mut up: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut down: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut sent, mut received, mut widest) = (0, 0, 0);
    let mut is_over = false;
    while !is_over {
        loop {
            let outgoing = pair.client.outgoing();
            if outgoing.is_empty() {
                break;
            }
            let mut bytes = outgoing.bytes.to_vec();
            if let Some(chunk) = outgoing.chunk {
                bytes.extend_from_slice(chunk.header());
                let body = usize::try_from(chunk.body.end - chunk.body.start).expect("a chunk");
                bytes.extend_from_slice(&page[..body]);
                sent += body as u64;
            }
            if let Some(stream) = pair.client.sent(bytes.len()) {
                assert_eq!(stream, put);
                pair.client.end(stream, 0);
            }
            up.push_back((pair.now + round_trip / 2, bytes));
        }
        widest = widest.max(sent - received);
        let next = [up.front(), down.front()];
        let next = next.into_iter().flatten().map(|(at, _)| *at).min();
        pair.now = next.expect("something is on its way");
        while let Some((_, bytes)) = up.pop_front_if(|(at, _)| *at <= pair.now) {
            let mut used = 0;
            loop {
                let event = pair.server.receive(&bytes[used..], pair.now);
                let event = event.expect("what was sent");
                used += event.used;
                match event.event {
                    None => break,
                    Some(server::Event::Request { ticket, .. }) => {
                        pair.server.accept(ticket, pair.now);
                    }
                    Some(server::Event::Body { len, .. }) => {
                        used += len;
                        received += len as u64;
                        pair.server.body_received(len, pair.now);
                    }
                    Some(server::Event::Ended { .. }) => is_over = true,
                    Some(event) => panic!("{event:?}"),
                }
            }
            let answer = pair.server_sends();
            down.push_back((pair.now + round_trip / 2, answer));
        }
        while let Some((_, bytes)) = down.pop_front_if(|(at, _)| *at <= pair.now) {
            let event = pair.client.receive(&bytes, pair.now);
            assert_eq!(event.expect("credit").event, None);
        }
    }
    let passed = pair.now - begun;
    (
        u64::try_from(passed.as_nanos() / round_trip.as_nanos()).expect("few"),
        widest,
    )
}
