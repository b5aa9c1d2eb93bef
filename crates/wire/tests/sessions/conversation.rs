//! What is asked and answered.

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, Sum,
    client::{Event, NotNow},
    frame::HEADER,
    message::{Mode, Refusal, Reply, ReportBuilder, Request},
    server,
};

use crate::pair::{Pair, SMALL, key};

#[test]
fn a_small_object_is_put_and_got() {
    let mut pair = Pair::new(Limits::default());
    let segments = [Segment::from(b"ab"), b"c".into()];
    let put = pair.client.put(&key(1), Mode::New, &segments, pair.now);
    let put = put.expect("room");
    let sent = pair.client_sends();
    let received = pair.server.receive(&sent, pair.now).expect("a frame");
    assert_eq!(received.used, sent.len());
    let Some(server::Event::Request { ticket, request }) = received.event else {
        panic!("{received:?}");
    };
    let expected = Request::Put {
        key: key(1),
        mode: Mode::New,
        sum: Sum::of(b"abc"),
        bytes: b"abc",
    };
    assert_eq!(request, expected);
    assert!(pair.server.respond(ticket, &Reply::Done));
    assert!(!pair.server.respond(ticket, &Reply::Done), "answered twice");
    pair.client_hears(put, &Reply::Done);

    let get = pair.client.get(&key(1), false, pair.now).expect("room");
    let ticket = pair.request(&Request::Get {
        key: key(1),
        whole: false,
    });
    let sum = Sum::of(b"abc");
    let bytes = b"abc";
    assert!(pair.server.respond(ticket, &Reply::Object { sum, bytes }));
    pair.client_hears(get, &Reply::Object { sum, bytes });
    assert!(pair.server.is_idle() && pair.client.under_way() == 0);
}

#[test]
fn every_reply_arrives_as_it_was_given() {
    let mut pair = Pair::new(Limits::default());
    let now = pair.now;
    let mut report = ReportBuilder::new();
    report.add("objects", 3).add("Übermaß", u64::MAX);
    let refused = Reply::Refused {
        refusal: Refusal::Full,
        text: "over the budget",
    };
    for reply in [
        Reply::Present { len: 1 << 40 },
        Reply::Absent,
        Reply::Done,
        Reply::Report(report.as_report()),
        Reply::Elsewhere { len: u64::MAX },
        refused,
    ] {
        let client = &mut pair.client;
        let stream = match reply {
            Reply::Done => client.evict(&key(1), now),
            Reply::Report(_) => client.status(now),
            Reply::Elsewhere { .. } => client.get(&key(1), false, now),
            _ => client.exists(&key(1), now),
        };
        let stream = stream.expect("room");
        let ticket = pair.any_request();
        assert!(pair.server.respond(ticket, &reply));
        pair.client_hears(stream, &reply);
    }
    let names: Vec<_> = report.as_report().entries().collect();
    assert_eq!(names, [("objects", 3), ("Übermaß", u64::MAX)]);
}

#[test]
fn a_node_is_cleared() {
    let mut pair = Pair::new(Limits::default());
    let clear = pair.client.clear(pair.now).expect("room");
    let ticket = pair.request(&Request::Clear);
    assert!(pair.server.respond(ticket, &Reply::Done));
    pair.client_hears(clear, &Reply::Done);
}

#[test]
fn what_is_abandoned_within_a_chunk_is_filled_up() {
    let mut pair = Pair::new(SMALL);
    let bytes = vec![7; 3000];
    let now = pair.now;
    let segments = [Segment::from(&bytes)];
    let put = pair.client.put(&key(1), Mode::New, &segments, now);
    let put = put.expect("room");
    let mut wire = pair.client_sends();
    let chunk = pair.client.outgoing().chunk.expect("a chunk");
    wire.extend_from_slice(chunk.header());
    wire.extend_from_slice(&bytes[..10]);
    pair.client.sent(HEADER + 10);
    pair.client.cancel(put);
    assert_eq!(pair.client.turn(), None);
    wire.extend(pair.client_sends());
    let ticket = pair.request_in(&mut wire);
    pair.server.accept(ticket, now);
    let received = pair.server.receive(&wire, now).expect("a chunk");
    let body = server::Event::Body { ticket, len: 1024 };
    assert_eq!(received.event, Some(body));
    assert_eq!(
        wire[received.used..][..12],
        [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0]
    );
    pair.server.body_received(1024, now);
    let rest = &wire[received.used + 1024..];
    let received = pair.server.receive(rest, now).expect("the end");
    assert_eq!(received.event, Some(server::Event::Cancelled { ticket }));
    assert_eq!(received.used, rest.len());
    let answer = pair.server_sends();
    let received = pair.client.receive(&answer, now).expect("the end");
    assert_eq!(received.event, None);
    assert_eq!(pair.client.under_way(), 0);
}

#[test]
fn a_chunk_on_its_way_is_not_taken_for_that_of_the_next_object() {
    let mut pair = Pair::new(SMALL);
    let now = pair.now;
    let (first, second) = (vec![7; 3000], vec![8; 900]);
    let segments = [Segment::from(&first)];
    let put = pair.client.put(&key(1), Mode::New, &segments, now);
    let put = put.expect("room");
    let ticket = pair.any_request();
    pair.server.accept(ticket, now);
    let refused = Reply::Refused {
        refusal: Refusal::Failed,
        text: "",
    };
    assert!(pair.server.respond(ticket, &refused));
    // Somebody writes the chunk while somebody else reads that the object is refused, and a third
    // puts another object.
    let outgoing = pair.client.outgoing();
    let mut wire = outgoing.bytes.to_vec();
    let chunk = outgoing.chunk.expect("a chunk");
    wire.extend_from_slice(chunk.header());
    wire.extend_from_slice(&first[..10]);
    pair.client_hears(put, &refused);
    let segments = [Segment::from(&second)];
    let next = pair.client.put(&key(2), Mode::New, &segments, now);
    let next = next.expect("room");
    assert_eq!(next, put, "the number is free");
    assert_eq!(pair.client.sent(wire.len()), None);
    wire.extend(pair.client_sends());
    let outgoing = pair.client.outgoing();
    assert_eq!(outgoing.chunk.map(|chunk| chunk.body), Some(0..900));
    assert_eq!(pair.client.sent(HEADER + 900), Some(next));

    // The node throws the first away and hears that no more of it will come.
    let ticket = pair.request_in(&mut wire);
    let received = pair.server.receive(&wire, now).expect("nothing more");
    assert_eq!((received.used, received.event), (wire.len(), None));
    pair.server.accept(ticket, now);
    assert_eq!(pair.server.under_way(), 1);
}

#[test]
fn a_put_that_was_done_before_it_was_cancelled_is_taken_back() {
    let mut pair = Pair::new(Limits::default());
    let now = pair.now;
    let put = pair.client.put(&key(1), Mode::New, &[], now).expect("room");
    let ticket = pair.any_request();
    assert!(pair.server.respond(ticket, &Reply::Done));
    pair.client.cancel(put);
    assert_eq!(pair.client.unsettled().collect::<Vec<_>>(), [key(1)]);
    let done = pair.server_sends();
    let received = pair.client.receive(&done, now).expect("a reply");
    assert_eq!(received.event, None);
    assert_eq!(pair.client.unsettled().collect::<Vec<_>>(), [key(1)]);
    let ticket = pair.request(&Request::Evict { key: key(1) });
    assert!(pair.server.respond(ticket, &Reply::Done));
    let done = pair.server_sends();
    let received = pair.client.receive(&done, now).expect("a reply");
    assert_eq!(received.event, None);
    assert_eq!(pair.client.under_way(), 0);
    assert_eq!(pair.client.unsettled().count(), 0);
}

#[test]
fn a_replacement_is_not_taken_back() {
    let mut pair = Pair::new(Limits::default());
    let now = pair.now;
    let set = pair.client.put(&key(1), Mode::Replace, &[], now);
    let ticket = pair.any_request();
    assert!(pair.server.respond(ticket, &Reply::Done));
    pair.client.cancel(set.expect("room"));
    assert_eq!(pair.client.unsettled().count(), 0);
    let done = pair.server_sends();
    pair.client.receive(&done, now).expect("a reply");
    assert_eq!(pair.client.under_way(), 0);
}

#[test]
fn an_object_that_fails_half_way_is_refused_not_ended() {
    let mut pair = Pair::new(SMALL);
    let now = pair.now;
    let get = pair.client.get(&key(1), true, now).expect("room");
    let ticket = pair.any_request();
    assert!(
        pair.server
            .respond(ticket, &Reply::Found { len: 1000, sum: 5 })
    );
    let mut wire = pair.server_sends();
    let chunk = pair.server.outgoing(now).chunk.expect("a chunk");
    wire.extend_from_slice(chunk.header());
    pair.server.sent(HEADER, now);
    let refused = Reply::Refused {
        refusal: Refusal::Damaged,
        text: "the disk",
    };
    assert!(pair.server.respond(ticket, &refused));
    wire.extend(pair.server_sends());
    let received = pair.client.receive(&wire, now).expect("a reply");
    let found = Event::Found {
        stream: get,
        len: 1000,
        sum: 5,
    };
    assert_eq!(received.event, Some(found));
    wire.drain(..received.used);
    let received = pair.client.receive(&wire, now).expect("a chunk");
    assert_eq!(received.event, Some(Event::Waiting { stream: get }));
    pair.client.accept(get, now);
    wire.drain(..received.used);
    let received = pair.client.receive(&wire, now).expect("a chunk");
    let body = Event::Body {
        stream: get,
        len: 1000,
    };
    assert_eq!(received.event, Some(body));
    pair.client.body_received(1000, now);
    let received = pair.client.receive(&wire[1000..], now).expect("a reply");
    let reply = Event::Reply {
        stream: get,
        reply: refused,
    };
    assert_eq!(received.event, Some(reply));
}

#[test]
fn a_node_that_drains_finishes_what_is_under_way() {
    let mut pair = Pair::new(SMALL);
    let now = pair.now;
    let waits = pair.client.exists(&key(1), now).expect("room");
    let ticket = pair.any_request();
    let late = pair.client.exists(&key(2), now).expect("room");
    pair.server.drain();
    pair.server.drain();
    let sent = pair.client_sends();
    let received = pair.server.receive(&sent, now).expect("a request");
    assert_eq!(received.event, None);
    assert!(pair.server.respond(ticket, &Reply::Absent));
    let mut wire = pair.server_sends();
    assert!(pair.server.is_idle());
    let mut events = Vec::new();
    loop {
        let received = pair.client.receive(&wire, now).expect("replies");
        let used = received.used;
        match received.event {
            None => break,
            Some(Event::Draining) => events.push(None),
            Some(Event::Reply { stream, reply }) => events.push(Some((
                stream,
                match reply {
                    Reply::Absent => None,
                    Reply::Refused { refusal, .. } => Some(refusal),
                    reply => panic!("{reply:?}"),
                },
            ))),
            Some(event) => panic!("{event:?}"),
        }
        wire.drain(..used);
    }
    let refused = Some((late, Some(Refusal::Draining)));
    assert_eq!(events, [None, refused, Some((waits, None))]);
    assert!(pair.client.is_draining());
    assert_eq!(pair.client.status(now), Err(NotNow::Draining));
}
