//! How a node ends.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use proxystore_core::Deadline;
use proxystore_wire::message::{Mode, Refusal};

use crate::support::{Answer, MIB, Peer, bytes, key, node, port, refusal, wait};

#[test]
fn what_is_under_way_is_finished_and_nothing_else_begun() {
    let node = node();
    let mut peer = Peer::of(&node);
    let object = bytes(4 * MIB, 1);
    // A part of it is there: as much as may be sent before the node has answered.
    let put = peer.begin_put(&key(1), Mode::New, &object);
    peer.send().expect("room");
    wait(&node, "reserved_bytes", |bytes| bytes == 4 << 20);
    wait(&node, "requests_under_way", |requests| requests == 1);
    let stopping = thread::spawn(move || node.stop(Deadline::never()));
    // The node says so once it has noticed.
    let mut number = 10;
    while refusal_of_draining(&mut peer, number).is_none() {
        number += 1;
    }
    assert_eq!(peer.answer(put).expect("an answer"), Answer::Done);
    assert!(stopping.join().expect("no panic"));
    peer.read().expect_err("it is closed");
}

fn refusal_of_draining(peer: &mut Peer, number: u128) -> Option<()> {
    match peer.session.get(&key(number), true, Instant::now()) {
        // The session knows already.
        Err(_) => Some(()),
        Ok(stream) => match peer.answer(stream).expect("an answer") {
            Answer::Absent => None,
            other => {
                assert_eq!(refusal(Ok(other)).0, Refusal::Draining);
                Some(())
            }
        },
    }
}

#[test]
fn who_does_not_finish_is_not_waited_for_longer_than_that() {
    let node = node();
    let mut peer = Peer::of(&node);
    peer.begin_put(&key(1), Mode::New, &bytes(4 * MIB, 1));
    peer.send().expect("room");
    wait(&node, "requests_under_way", |requests| requests == 1);
    let deadline = Deadline::at(Instant::now() + Duration::from_millis(20));
    assert!(!node.stop(deadline));
    while peer.read().is_ok() {}
}

#[test]
fn clients_that_are_idle_or_unknown_do_not_keep_a_node() {
    let node = node();
    let mut idle = Peer::of(&node);
    idle.put(&key(1), b"x").expect("an answer");
    let address = (Ipv4Addr::LOCALHOST, port(&node));
    let mut silent = TcpStream::connect(address).expect("it listens");
    silent.write_all(b"\x89").expect("room");
    wait(&node, "connections", |connections| connections == 2);
    assert!(node.stop(Deadline::never()));
    while idle.read().is_ok() {}
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn dropping_a_node_stops_it() {
    let node = node();
    let mut idle = Peer::of(&node);
    drop(node);
    while idle.read().is_ok() {}
}
