//! Both sides of a connection, byte by byte and by the thousand.

use std::time::{Duration, Instant};

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, ObjectKey, Sum, client,
    handshake::{Agreed, Authentication, ClientHandshake, NodeHandshake},
    message::{Mode, Reply, Request},
    server,
};

const KEEP_ALIVE: Duration = Duration::from_secs(10);

fn key(number: u8) -> ObjectKey {
    ObjectKey {
        id: [number; 16],
        capability: [number ^ 0xff; 16],
    }
}

fn secret() -> Authentication<'static> {
    Authentication::Secret {
        secret: b"sixteen bytes or more",
        binding: b"the channel",
    }
}

/// Shakes hands and returns what the client and what the node agreed on.
fn agreed() -> (Agreed, Agreed) {
    let (mut to_node, mut to_client) = (Vec::new(), Vec::new());
    let mut client = ClientHandshake::new(Limits::default(), &secret(), [1; 32], &mut to_node)
        .expect("a secret");
    let mut node = NodeHandshake::new(Limits::default(), &secret(), [2; 32]).expect("a secret");
    let progress = node.receive(&to_node, &mut to_client).expect("a hello");
    assert_eq!((progress.used, progress.agreed), (to_node.len(), None));
    to_node.clear();
    let progress = client.receive(&to_client, &mut to_node).expect("a hello");
    assert_eq!((progress.used, progress.agreed), (to_client.len(), None));
    to_client.clear();
    let at_node = node.receive(&to_node, &mut to_client).expect("a proof");
    let at_client = client.receive(&to_client, &mut to_node).expect("a proof");
    (
        at_client.agreed.expect("the end"),
        at_node.agreed.expect("the end"),
    )
}

fn sessions(now: Instant) -> (client::Session, server::Session) {
    let (at_client, at_node) = agreed();
    (
        client::Session::new(&at_client, KEEP_ALIVE, now),
        server::Session::new(&at_node, KEEP_ALIVE, now),
    )
}

fn take(client: &mut client::Session) -> Vec<u8> {
    let bytes = client.outgoing().bytes.to_vec();
    client.sent(bytes.len());
    bytes
}

#[test]
fn a_small_object_is_put_and_got() {
    let now = Instant::now();
    let (mut client, mut server) = sessions(now);
    let put = client
        .put(
            &key(1),
            Mode::New,
            &[Segment::from(b"ab"), b"c".into()],
            now,
        )
        .expect("room");
    let sent = take(&mut client);
    let received = server.receive(&sent, now).expect("a frame");
    assert_eq!(received.used, sent.len());
    let Some(server::Event::Request {
        ticket,
        request:
            Request::Put {
                key: got,
                mode: Mode::New,
                sum,
                bytes: b"abc",
            },
    }) = received.event
    else {
        panic!("{received:?}");
    };
    assert_eq!((got, sum), (key(1), Sum::of(b"abc")));
    assert!(server.respond(ticket, &Reply::Done));
    assert!(!server.respond(ticket, &Reply::Done));
    let sent = server.outgoing(now).bytes.to_vec();
    assert_eq!(server.sent(sent.len(), now), None);
    let received = client.receive(&sent, now).expect("a frame");
    let reply = client::Event::Reply {
        stream: put,
        reply: Reply::Done,
    };
    assert_eq!(received.event, Some(reply));
    assert!(server.is_idle() && client.under_way() == 0);
}
