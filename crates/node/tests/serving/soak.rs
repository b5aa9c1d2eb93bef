//! Everything at once: clients that do as they please, over a node with little memory.

#![expect(clippy::cast_possible_truncation, reason = "lengths are small")]

use std::{
    collections::HashMap,
    io,
    thread::{self, ScopedJoinHandle},
};

use proxystore_node::Node;
use proxystore_wire::{ObjectKey, message::Mode};

use crate::support::{Answer, MIB, Peer, bytes, key, options, status, wait};

const CLIENTS: u64 = 6;
const STEPS: u64 = 80;

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn len(&mut self) -> usize {
        let most = [1, 100, 60_000, 70_000, 300_000, 2 * MIB as u64][self.below(6) as usize];
        self.below(most) as usize
    }
}

/// One client, which knows which of its objects must be there and what they are.
struct Client<'a> {
    node: &'a Node,
    random: Random,
    peer: Peer,
    there: HashMap<u64, (usize, u64)>,
    next: u64,
    first: u64,
}

impl<'a> Client<'a> {
    fn new(node: &'a Node, number: u64) -> Self {
        Self {
            node,
            random: Random(number * 7_919 + 1),
            peer: Peer::of(node),
            there: HashMap::new(),
            next: 0,
            first: number << 32,
        }
    }

    fn key(&self, object: u64) -> ObjectKey {
        key(u128::from(self.first + object))
    }

    fn step(&mut self) -> io::Result<()> {
        let known = self.random.below(self.next.max(1));
        match self.random.below(10) {
            0..=3 => {
                let (object, len, seed) = (self.next, self.random.len(), self.random.below(9) + 1);
                self.next += 1;
                let put = self.peer.put(&self.key(object), &bytes(len, seed))?;
                self.stored(object, len, seed, put);
            }
            4 => {
                let (len, seed) = (self.random.len(), self.random.below(9) + 1);
                let set = self.peer.set(&self.key(known), &bytes(len, seed))?;
                self.next = self.next.max(known + 1);
                self.stored(known, len, seed, set);
            }
            5 | 6 => {
                let got = self.peer.get(&self.key(known))?;
                let expected = match self.there.get(&known) {
                    Some((len, seed)) => Answer::Object(bytes(*len, *seed)),
                    None => Answer::Absent,
                };
                assert!(got == expected, "object {known} of {}", self.first);
            }
            7 => {
                assert_eq!(self.peer.evict(&self.key(known))?, Answer::Done);
                self.there.remove(&known);
            }
            8 => self.give_up()?,
            _ => self.break_off(),
        }
        Ok(())
    }

    fn stored(&mut self, object: u64, len: usize, seed: u64, answer: Answer) {
        match answer {
            Answer::Done => {
                self.there.insert(object, (len, seed));
            }
            // Not even when more is on its way than there is memory: then it waits.
            other => panic!("{other:?}"),
        }
    }

    /// Cancels a put, at once or when a part of it is sent.
    fn give_up(&mut self) -> io::Result<()> {
        let object = self.next;
        self.next += 1;
        let (key, len) = (self.key(object), self.random.len());
        let put = self.peer.begin_put(&key, Mode::New, &bytes(len, 1));
        if self.random.below(2) == 0 {
            self.peer.send()?;
        }
        self.peer.session.cancel(put);
        // Whether it was stored before it was given up is for nobody to know.
        assert_eq!(self.peer.evict(&key)?, Answer::Done);
        Ok(())
    }

    /// Goes away in the middle of a put, and comes back.
    fn break_off(&mut self) {
        let object = self.next;
        self.next += 1;
        let (key, len) = (self.key(object), self.random.len());
        self.peer.begin_put(&key, Mode::New, &bytes(len, 1));
        let outgoing = self.peer.session.outgoing();
        let mut out = outgoing.bytes.to_vec();
        if let Some(chunk) = &outgoing.chunk {
            out.extend_from_slice(chunk.header());
            out.resize(out.len() + (chunk.body.end - chunk.body.start) as usize, 0);
        }
        let cut = self.random.below(out.len() as u64 + 1) as usize;
        let _ = self.peer.write(&out[..cut]);
        self.peer = Peer::of(self.node);
        // As clients do: what may have been stored is taken back.
        let evicted = self.peer.evict(&key).expect("an answer");
        assert_eq!(evicted, Answer::Done);
    }
}

#[test]
fn clients_that_do_as_they_please_leave_a_node_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut given = options();
    given.budget = Some(6 << 20);
    given.spill = Some(directory.path().to_owned());
    let node = Node::start(given).expect("a node");
    let there: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let node = &node;
                scope.spawn(move || {
                    let mut client = Client::new(node, number);
                    for _ in 0..STEPS {
                        client.step().expect("the node keeps the connection");
                    }
                    (client.first, client.there)
                })
            })
            .collect();
        let there = clients.into_iter().map(ScopedJoinHandle::join);
        there.map(|there| there.expect("no panic")).collect()
    });
    wait(&node, "connections", |connections| connections == 0);
    assert_eq!(status(&node, "reserved_bytes"), 0);
    let objects: usize = there.iter().map(|(_, there)| there.len()).sum();
    let total = there.iter().flat_map(|(_, there)| there.values());
    let total: usize = total.map(|(len, _)| len).sum();
    let mut peer = Peer::of(&node);
    for (first, there) in &there {
        for (object, (len, seed)) in there {
            let got = peer.get(&key(u128::from(first + object)));
            assert!(got.expect("an answer") == Answer::Object(bytes(*len, *seed)));
        }
    }
    assert_eq!(status(&node, "objects"), objects as u64);
    assert_eq!(status(&node, "bytes"), total as u64);
    assert!(status(&node, "memory_bytes") <= 6 << 20);
    for (first, there) in &there {
        for object in there.keys() {
            peer.evict(&key(u128::from(first + object)))
                .expect("an answer");
        }
    }
    assert_eq!(status(&node, "memory_bytes"), 0);
    assert_eq!(status(&node, "spilled_bytes"), 0);
}
