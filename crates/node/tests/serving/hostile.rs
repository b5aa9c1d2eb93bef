//! Those who mean no good, or do not know what they do.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use proxystore_node::Node;
use proxystore_wire::message::Mode;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::support::{
    Answer, MIB, Peer, SECRET, bytes, key, node, options, port, socket, status, wait,
};

/// What is answered until the end; the node closes it.
fn answer(mut socket: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Whoever is sent away with bytes unread sees the connection reset.
    let _ = socket.read_to_end(&mut bytes);
    bytes
}

fn connect(node: &Node) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port(node))).expect("it listens")
}

/// Lets this process have more descriptors, as far as it may.
fn allow_descriptors(wanted: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= wanted,
        "this test needs {wanted} descriptors: ulimit -Hn"
    );
    let current = limit.current.unwrap_or(u64::MAX);
    limit.current = Some(current.max(wanted));
    setrlimit(Resource::Nofile, limit).expect("no more than may be");
}

#[test]
fn who_does_not_know_the_secret_does_not_get_in() {
    let node = node();
    Peer::of(&node).put(&key(1), b"x").expect("an answer");
    let address = (Ipv4Addr::LOCALHOST, port(&node));
    let wrong = Peer::tcp(address, "another secret, as long").err();
    let text = wrong.expect("it is refused").to_string();
    assert!(text.contains("secret"), "{text}");
    let without = Peer::shake(
        connect(&node),
        &proxystore_wire::handshake::Authentication::Transport,
    );
    let text = without.err().expect("it is refused").to_string();
    assert!(text.contains("secret"), "{text}");
    wait(&node, "connections_rejected", |rejected| rejected == 2);
    Peer::tcp(address, SECRET).expect("the secret is right");
}

#[test]
fn a_web_browser_is_told_that_it_is_wrong_here() {
    let node = node();
    let mut socket = connect(&node);
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("room");
    let answer = String::from_utf8(answer(socket)).expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn garbage_of_any_length_disturbs_nobody() {
    let node = node();
    let mut peer = Peer::of(&node);
    peer.put(&key(1), b"x").expect("an answer");
    for len in (0..80).chain([500, 5_000, 100_000]) {
        for seed in [1, 2] {
            let garbage = bytes(len, seed * 1_000 + len as u64);
            let mut tcp = connect(&node);
            let mut unix = UnixStream::connect(socket(&node)).expect("it listens");
            // The node may have closed before all is written.
            let _ = tcp.write_all(&garbage);
            let _ = unix.write_all(&garbage);
            let _ = tcp.shutdown(std::net::Shutdown::Write);
            let _ = unix.shutdown(std::net::Shutdown::Write);
            answer(tcp);
            answer(unix);
        }
        assert_eq!(
            peer.get(&key(1)).expect("an answer"),
            Answer::Object(b"x".to_vec())
        );
    }
    wait(&node, "connections", |connections| connections == 1);
}

#[test]
fn garbage_after_the_handshake_ends_its_connection_alone() {
    let node = node();
    let mut peer = Peer::of(&node);
    peer.put(&key(1), b"x").expect("an answer");
    for len in (1..40).chain([1_000, 300_000]) {
        let mut other = Peer::of(&node);
        other
            .put(&key(1_000 + len as u128), b"y")
            .expect("an answer");
        let _ = other.write(&bytes(len, len as u64));
        drop(other);
    }
    wait(&node, "connections", |connections| connections == 1);
    assert_eq!(
        peer.get(&key(1)).expect("an answer"),
        Answer::Object(b"x".to_vec())
    );
    assert_eq!(status(&node, "reserved_bytes"), 0);
}

#[test]
fn a_thousand_who_say_nothing_keep_nobody_out() {
    allow_descriptors(2_000);
    let mut given = options();
    given.limits.connections = 100;
    given.limits.strangers = 50;
    let node = Node::start(given).expect("a node");
    let mut peer = Peer::of(&node);
    peer.put(&key(1), b"x").expect("an answer");
    let mut silent = Vec::new();
    for round in 1..=10 {
        silent.extend((0..100).map(|_| connect(&node)));
        assert_eq!(
            peer.get(&key(1)).expect("an answer"),
            Answer::Object(b"x".to_vec())
        );
        // Others get in past them; at the same time they could be the oldest of the strangers.
        wait(&node, "connections_total", |total| total == round * 101);
        let mut late = Peer::of(&node);
        assert_eq!(late.exists(&key(1)).expect("an answer"), Answer::Present(1));
    }
    wait(&node, "connections_total", |total| total == 1_011);
    assert!(status(&node, "connections_unknown") <= 50);
    // The oldest have gone, the last are still there.
    assert!(answer(silent.remove(0)).is_empty());
    drop(silent);
    wait(&node, "connections", |connections| connections == 1);
}

#[test]
fn who_does_not_introduce_itself_in_time_goes() {
    let mut given = options();
    given.limits.introduction = Duration::from_millis(20);
    let node = Node::start(given).expect("a node");
    let mut half = connect(&node);
    half.write_all(b"\x89PXN").expect("room");
    assert!(answer(half).is_empty());
    assert!(answer(UnixStream::connect(socket(&node)).expect("it listens")).is_empty());
    wait(&node, "connections", |connections| connections == 0);
}

#[test]
fn more_clients_than_there_is_room_for_are_told() {
    let mut given = options();
    given.limits.connections = 3;
    let node = Node::start(given).expect("a node");
    let mut peers: Vec<_> = (0..3).map(|_| Peer::of(&node)).collect();
    for peer in &mut peers {
        peer.exists(&key(1)).expect("an answer");
    }
    let text = Peer::unix(socket(&node))
        .err()
        .expect("it is full")
        .to_string();
    assert!(text.contains("no room"), "{text}");
    peers.pop();
    wait(&node, "connections", |connections| connections == 2);
    Peer::of(&node).exists(&key(1)).expect("an answer");
}

#[test]
fn a_put_that_breaks_off_leaves_nothing() {
    let node = node();
    for cut in [0, 1, 15, 16, 55, 56, 57, 70_000, 262_000] {
        let mut peer = Peer::of(&node);
        let object = bytes(4 * MIB, 1);
        peer.begin_put(&key(1), Mode::New, &object);
        let outgoing = peer.session.outgoing();
        let mut out = outgoing.bytes.to_vec();
        if let Some(chunk) = &outgoing.chunk {
            out.extend_from_slice(chunk.header());
        }
        out.extend_from_slice(&object[..MIB]);
        peer.write(&out[..cut]).expect("room");
        drop(peer);
        wait(&node, "connections", |connections| connections == 0);
        assert_eq!(status(&node, "memory_bytes"), 0, "after {cut} bytes");
        assert_eq!(status(&node, "objects"), 0);
    }
}

#[test]
fn who_announces_an_object_and_sends_nothing_goes_in_time() {
    let mut given = options();
    given.limits.silence = Duration::from_millis(50);
    let node = Node::start(given).expect("a node");
    let mut idle = Peer::of(&node);
    let mut peer = Peer::of(&node);
    peer.begin_put(&key(1), Mode::New, &bytes(4 * MIB, 1));
    // The time may be over before all is sent that may be.
    let _ = peer.send();
    while peer.read().is_ok() {}
    wait(&node, "reserved_bytes", |bytes| bytes == 0);
    assert_eq!(status(&node, "memory_bytes"), 0);
    assert!(status(&node, "memory_peak_bytes") > 4 << 20);
    // Who owes nothing may be silent.
    assert_eq!(idle.get(&key(1)).expect("an answer"), Answer::Absent);
}

#[test]
fn who_sends_a_little_now_and_then_does_not_keep_what_is_reserved() {
    let mut given = options();
    given.limits.silence = Duration::from_millis(100);
    let node = Node::start(given).expect("a node");
    let mut peer = Peer::of(&node);
    peer.begin_put(&key(1), Mode::New, &bytes(MIB, 1));
    let outgoing = peer.session.outgoing();
    let mut out = outgoing.bytes.to_vec();
    out.extend_from_slice(outgoing.chunk.as_ref().expect("a chunk").header());
    peer.write(&out).expect("room");
    let mut sent = 0;
    while peer.write(b"x").is_ok() {
        sent += 1;
        assert!(sent < 200_000, "it goes on for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    wait(&node, "reserved_bytes", |bytes| bytes == 0);
    assert!(status(&node, "memory_peak_bytes") > 1 << 20);
}

#[test]
fn who_does_not_read_what_it_asked_for_goes_in_time_and_holds_nobody_up() {
    let mut given = options();
    // Long enough for the put, however busy the machine is.
    given.limits.silence = Duration::from_secs(3);
    given.threads = Some(1);
    let node = Node::start(given).expect("a node");
    let mut peer = Peer::of(&node);
    peer.put(&key(1), &bytes(16 * MIB, 1)).expect("an answer");
    let mut lazy: Vec<_> = (0..4).map(|_| Peer::of(&node)).collect();
    for lazy in &mut lazy {
        for _ in 0..100 {
            let get = lazy.session.get(&key(1), true, Instant::now());
            get.expect("few requests");
        }
        lazy.send().expect("room");
    }
    wait(&node, "gets", |gets| gets == 400);
    for _ in 0..100 {
        assert_eq!(
            peer.exists(&key(1)).expect("an answer"),
            Answer::Present(16 << 20)
        );
    }
    assert!(status(&node, "memory_bytes") < 17 << 20);
    wait(&node, "connections", |connections| connections == 1);
}
