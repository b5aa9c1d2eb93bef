//! Both sides of a connection, one step at a time.

mod pair;

use std::{slice, time::Duration};

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, Sum, Violation,
    client::{Event, NotNow},
    frame::{HEADER, Header, Kind, MAX_WINDOW},
    message::{Mode, Refusal, Reply, ReportBuilder, Request},
    server,
};

use crate::pair::{KEEP_ALIVE, Pair, SILENCE, frame, key};

const SMALL: Limits = Limits {
    streams: 8,
    inline: 100,
    chunk: 1024,
    credit: 2048,
    window: 4096,
};

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
fn large_objects_take_turns_and_small_frames_go_first() {
    let mut pair = Pair::new(SMALL);
    let bytes = vec![7; 3000];
    let now = pair.now;
    let streams: Vec<_> = (0..3)
        .map(|number| {
            let segments = [Segment::from(&bytes)];
            let put = pair.client.put(&key(number), Mode::New, &segments, now);
            put.expect("room")
        })
        .collect();
    let mut order = Vec::new();
    while let Some(turn) = pair.client.turn() {
        assert!(streams.contains(&turn));
        if order.len() == 2 {
            pair.client.exists(&key(9), now).expect("room");
        }
        let outgoing = pair.client.outgoing();
        let expects_frames = matches!(order.len(), 0 | 2);
        assert_eq!(!outgoing.bytes.is_empty(), expects_frames);
        let frames = outgoing.bytes.len();
        let chunk = outgoing.chunk.expect("a chunk");
        assert_eq!(chunk.stream, turn);
        assert_eq!(chunk.header().len(), HEADER);
        let len = frames + chunk.len();
        order.push((turn, chunk.body));
        // In two parts, the first of which ends within the header.
        assert_eq!(pair.client.sent(frames + 3), None);
        assert!(pair.client.outgoing().bytes.is_empty());
        assert_eq!(pair.client.sent(len - frames - 3), None);
    }
    // The window of the connection holds four chunks; of one stream two are allowed.
    let [a, b, c] = streams[..] else {
        unreachable!("three were put");
    };
    assert_eq!(
        order,
        [(a, 0..1024), (b, 0..1024), (c, 0..1024), (a, 1024..2048)]
    );
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
fn what_is_read_slowly_fills_no_memory() {
    let mut pair = Pair::new(Limits::default());
    // However many pings come, one answer waits.
    let mut flood = Vec::new();
    for number in 0..50_000_u64 {
        flood.extend(frame(Kind::Ping, 0, &number.to_le_bytes(), &[]));
    }
    let received = pair.server.receive(&flood, pair.now).expect("pings");
    assert_eq!((received.used, received.event), (flood.len(), None));
    let answer = frame(Kind::Pong, 0, &49_999_u64.to_le_bytes(), &[]);
    assert!(pair.server.wants_to_send());
    assert_eq!(pair.server_sends(), answer);

    // Requests are not looked at while the replies to others are not read.
    let mut flood = Vec::new();
    for _ in 0..50_000 {
        flood.extend(frame(Kind::Status, 1, &[], &[]));
    }
    let mut report = ReportBuilder::new();
    report.add("objects", 1);
    let mut used = 0;
    loop {
        let received = pair
            .server
            .receive(&flood[used..], pair.now)
            .expect("requests");
        used += received.used;
        match received.event {
            Some(server::Event::Request { ticket, .. }) => {
                pair.server
                    .respond(ticket, &Reply::Report(report.as_report()));
            }
            event => {
                assert_eq!(event, Some(server::Event::Congested));
                break;
            }
        }
    }
    assert!(used < flood.len());
    let queued = pair.server.outgoing(pair.now).bytes.len();
    assert!(queued < 300 << 10, "{queued} bytes are queued");
    // It goes on when they were sent.
    pair.server.sent(queued, pair.now);
    let again = pair.server.receive(&flood[used..], pair.now);
    assert!(again.expect("requests").used > 0);

    let mut pair = Pair::new(Limits::default());
    let bytes = vec![0; 60_000];
    let put = |pair: &mut Pair| {
        let segments = [Segment::from(&bytes)];
        pair.client.put(&key(1), Mode::New, &segments, pair.now)
    };
    while put(&mut pair).is_ok() {
        assert!(pair.client.outgoing().bytes.len() < 400 << 10);
    }
    assert_eq!(put(&mut pair), Err(NotNow::Busy));
    pair.client_sends();
    assert!(put(&mut pair).is_ok());
}

#[test]
fn both_directions_may_be_full() {
    // Each direction holds little more than a frame, and both sides have much to say.
    const ROOM: usize = 70_000;
    let mut pair = Pair::new(Limits::default());
    let bytes = vec![5; 60_000];
    let (sum, segments) = (Sum::of(&bytes), [Segment::from(&bytes)]);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let (mut begun, mut ended) = (0, 0);
    while ended < 400 {
        let before = (begun, ended, up.len(), down.len());
        while begun < 400 {
            let asked = if begun % 2 == 0 {
                pair.client.put(&key(1), Mode::New, &segments, pair.now)
            } else {
                pair.client.get(&key(1), false, pair.now)
            };
            if asked == Err(NotNow::Busy) {
                break;
            }
            begun += 1;
        }
        // The client reads even while it has more to send than there is room for.
        loop {
            let received = pair.client.receive(&down, pair.now).expect("replies");
            let used = received.used;
            match received.event {
                None => break,
                Some(event) => assert!(matches!(event, Event::Reply { .. })),
            }
            ended += 1;
            down.drain(..used);
        }
        let outgoing = pair.client.outgoing().bytes;
        let len = outgoing.len().min(ROOM.saturating_sub(up.len()));
        up.extend_from_slice(&outgoing[..len]);
        pair.client.sent(len);
        // A node reads and answers as much as it can before it writes.
        loop {
            let received = pair.server.receive(&up, pair.now).expect("requests");
            let used = received.used;
            let Some(server::Event::Request { ticket, request }) = received.event else {
                break;
            };
            let reply = match request {
                Request::Put { .. } => Reply::Done,
                _ => Reply::Object { sum, bytes: &bytes },
            };
            assert!(pair.server.respond(ticket, &reply));
            up.drain(..used);
        }
        let outgoing = pair.server.outgoing(pair.now).bytes;
        let len = outgoing.len().min(ROOM.saturating_sub(down.len()));
        down.extend_from_slice(&outgoing[..len]);
        pair.server.sent(len, pair.now);
        let after = (begun, ended, up.len(), down.len());
        assert_ne!(before, after, "each waits for the other");
    }
}

#[test]
fn no_more_requests_begin_than_the_node_takes() {
    let mut pair = Pair::new(SMALL);
    for _ in 0..SMALL.streams {
        pair.client.exists(&key(1), pair.now).expect("room");
    }
    let one_more = pair.client.exists(&key(1), pair.now);
    assert_eq!(one_more, Err(NotNow::Busy));
}

#[test]
fn a_client_pings_while_it_waits_and_only_then() {
    let mut pair = Pair::new(Limits::default());
    let begun = pair.now;
    assert_eq!(pair.client.next_timeout(), None);
    let hour = Duration::from_hours(1);
    assert_eq!(pair.client.handle_timeout(begun + hour), Ok(()));
    let now = begun + hour;
    pair.client.exists(&key(1), now).expect("room");
    pair.client_sends();
    let half = now + KEEP_ALIVE / 2;
    assert_eq!(pair.client.next_timeout(), Some(half));
    assert_eq!(pair.client.handle_timeout(half), Ok(()));
    let asked = pair.client_sends();
    assert_eq!(asked[0], Kind::Ping as u8);
    // An answer is a sign of life, and so is a clock that jumped before the ping was sent.
    pair.server.receive(&asked, half).expect("a ping");
    let answered = pair.server_sends();
    pair.client.receive(&answered, half).expect("a pong");
    let much_later = half + hour;
    assert_eq!(pair.client.handle_timeout(much_later), Ok(()));
    pair.client_sends();
    let end = much_later + KEEP_ALIVE / 2;
    assert_eq!(pair.client.handle_timeout(much_later), Ok(()));
    let silent = Err(Violation::Silent(KEEP_ALIVE));
    assert_eq!(pair.client.handle_timeout(end), silent);
}

#[test]
fn a_node_waits_for_what_is_owed_and_nothing_else() {
    let mut pair = Pair::new(SMALL);
    let begun = pair.now;
    assert_eq!(pair.server.next_timeout(), None);
    let bytes = vec![7; 3000];
    let segments = [Segment::from(&bytes)];
    pair.client
        .put(&key(1), Mode::New, &segments, begun)
        .expect("room");
    let ticket = pair.any_request();
    assert_eq!(pair.server.next_timeout(), None, "there is no place yet");
    let later = begun + Duration::from_secs(100);
    pair.server.accept(ticket, later);
    assert_eq!(pair.server.next_timeout(), Some(later + SILENCE));
    assert_eq!(pair.server.handle_timeout(later), Ok(()));
    let silent = Err(Violation::Silent(SILENCE));
    assert_eq!(pair.server.handle_timeout(later + SILENCE), silent);

    // A reply that nobody takes.
    let mut pair = Pair::new(SMALL);
    pair.client.exists(&key(1), begun).expect("room");
    let ticket = pair.any_request();
    pair.server.respond(ticket, &Reply::Absent);
    assert_eq!(pair.server.next_timeout(), None);
    assert_eq!(pair.server.outgoing(later).bytes.len(), HEADER);
    assert_eq!(pair.server.next_timeout(), Some(later + SILENCE));
    pair.server.sent(1, later + SILENCE);
    assert_eq!(pair.server.handle_timeout(later + SILENCE), Ok(()));
    pair.server.sent(HEADER - 1, later + SILENCE);
    assert_eq!(pair.server.next_timeout(), None);
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

#[test]
fn a_long_path_gets_a_wider_window() {
    let (near, far) = (Duration::from_micros(100), Duration::from_millis(40));
    let len = 200 << 20;
    assert_eq!(
        pair::transfer(len, near).1,
        u64::from(Limits::default().window)
    );
    let (round_trips, widest) = pair::transfer(len, far);
    // One window at a time it would be 200.
    assert!(round_trips < 25, "{round_trips} round trips");
    assert!(
        widest <= u64::from(MAX_WINDOW) && widest >= 16 << 20,
        "{widest} bytes at once"
    );
}

/// Shows a node these frames after a handshake.
fn node_sees(frames: &[Vec<u8>]) -> Result<(), Violation> {
    let mut pair = Pair::new(SMALL);
    let wire = frames.concat();
    let mut used = 0;
    loop {
        let received = pair.server.receive(&wire[used..], pair.now)?;
        used += received.used;
        match received.event {
            None => return Ok(()),
            Some(server::Event::Request { ticket, .. }) => pair.server.accept(ticket, pair.now),
            Some(server::Event::Body { len, .. }) => {
                pair.server.body_received(len, pair.now);
                used += len;
            }
            Some(_) => {}
        }
    }
}

/// Shows a client these frames, while it waits for an object and for the end of a put.
fn client_sees(frames: &[Vec<u8>]) -> Result<(), Violation> {
    let mut pair = Pair::new(SMALL);
    let now = pair.now;
    let bytes = vec![0; 1000];
    let get = pair.client.get(&key(1), true, now).expect("room");
    let segments = [Segment::from(&bytes)];
    let put = pair.client.put(&key(2), Mode::New, &segments, now);
    assert_eq!((get.number(), put.expect("room").number()), (1, 2));
    let wire = frames.concat();
    let mut used = 0;
    loop {
        let received = pair.client.receive(&wire[used..], now)?;
        used += received.used;
        match received.event {
            None => return Ok(()),
            Some(Event::Found { stream, .. }) => pair.client.accept(stream, now),
            Some(Event::Body { len, .. }) => {
                pair.client.body_received(len, now);
                used += len;
            }
            Some(_) => {}
        }
    }
}

fn begin(stream: u32, len: u64) -> Vec<u8> {
    let mut head = [1; 40];
    head[32..].copy_from_slice(&len.to_le_bytes());
    frame(Kind::Begin, stream, &head, &[])
}

fn data(stream: u32, len: usize) -> Vec<u8> {
    frame(Kind::Data, stream, &[], &vec![0; len])
}

fn with_number(kind: Kind, stream: u32, number: u64) -> Vec<u8> {
    frame(kind, stream, &number.to_le_bytes(), &[])
}

fn found(stream: u32, len: u64) -> Vec<u8> {
    let mut head = [0; 16];
    head[..8].copy_from_slice(&len.to_le_bytes());
    frame(Kind::Found, stream, &head, &[])
}

#[test]
fn a_node_ends_connections_of_those_who_break_the_rules() {
    let unknown = |kind, stream| Err(Violation::UnknownStream { kind, stream });
    let end = with_number(Kind::End, 1, 0);
    let get = |stream| frame(Kind::Get, stream, &[1; 32], &[]);
    assert_eq!(
        node_sees(&[begin(1, 1024), data(1, 1024), end.clone()]),
        Ok(())
    );
    assert_eq!(node_sees(&[data(1, 1)]), unknown(Kind::Data, 1));
    assert_eq!(node_sees(slice::from_ref(&end)), unknown(Kind::End, 1));
    assert_eq!(node_sees(&[get(1), get(1)]), unknown(Kind::Get, 1));
    assert_eq!(node_sees(&[get(SMALL.streams)]), Ok(()));
    let one_more = SMALL.streams + 1;
    assert_eq!(node_sees(&[get(one_more)]), unknown(Kind::Get, one_more));
    let wrong_len = Err(Violation::WrongObjectLength { stream: 1 });
    assert_eq!(node_sees(&[begin(1, 10), data(1, 11)]), wrong_len);
    assert_eq!(
        node_sees(&[begin(1, 10), data(1, 9), end.clone()]),
        wrong_len
    );
    let too_long = Err(Violation::WrongLength {
        kind: Kind::Data,
        len: 1025,
    });
    assert_eq!(node_sees(&[begin(1, 2000), data(1, 1025)]), too_long);
    let too_long = Err(Violation::WrongLength {
        kind: Kind::Put,
        len: 141,
    });
    assert_eq!(
        node_sees(&[frame(Kind::Put, 1, &[0; 40], &[0; 101])]),
        too_long
    );
    let nothing = Err(Violation::WrongValue {
        kind: Kind::Begin,
        value: 0,
    });
    assert_eq!(node_sees(&[begin(1, 0)]), nothing);
    for kind in [Kind::Done, Kind::Drain, Kind::Absent] {
        let stream = u32::from(kind != Kind::Drain);
        let unexpected = Err(Violation::Unexpected { kind });
        assert_eq!(node_sees(&[frame(kind, stream, &[], &[])]), unexpected);
    }
    for value in [0, u64::from(MAX_WINDOW), u64::MAX] {
        let kind = Kind::Credit;
        let wrong = Err(Violation::WrongValue { kind, value });
        assert_eq!(node_sees(&[with_number(kind, 0, value)]), wrong);
    }
    // Late, and harmless.
    assert_eq!(node_sees(&[frame(Kind::Cancel, 5, &[], &[])]), Ok(()));
    assert_eq!(node_sees(&[with_number(Kind::Credit, 5, 1)]), Ok(()));
    let mut damaged = get(1);
    damaged[HEADER + 31] ^= 1;
    let kind = Kind::Get;
    assert_eq!(node_sees(&[damaged]), Err(Violation::Damaged { kind }));
}

#[test]
fn nobody_sends_more_than_was_asked_for() {
    let mut pair = Pair::new(SMALL);
    let wire = [begin(1, 5000), data(1, 1024), data(1, 1024), data(1, 1)].concat();
    let mut used = 0;
    let received = pair.server.receive(&wire, pair.now).expect("a request");
    used += received.used;
    let Some(server::Event::Request { ticket, .. }) = received.event else {
        panic!("{received:?}");
    };
    // Not accepted yet: what arrives is not looked at, so it cannot be too much.
    let received = pair
        .server
        .receive(&wire[used..], pair.now)
        .expect("a chunk");
    assert_eq!(received.event, Some(server::Event::Waiting { ticket }));
    assert_eq!(received.used, HEADER);
    // Refused: what was allowed may still come, and nothing beyond.
    let refusal = Refusal::Full;
    pair.server
        .respond(ticket, &Reply::Refused { refusal, text: "" });
    let received = pair.server.receive(&wire[used + HEADER..], pair.now);
    assert_eq!(received, Err(Violation::CreditExceeded { stream: 1 }));

    // Nor of all streams together.
    let limits = Limits {
        chunk: 5000,
        credit: 50_000,
        ..SMALL
    };
    for (len, expected) in [
        (4096, Ok(Some(server::Event::Waiting { ticket }))),
        (4097, Err(Violation::CreditExceeded { stream: 0 })),
    ] {
        let mut pair = Pair::new(limits);
        let mut wire = [begin(1, 5000), data(1, len)].concat();
        assert_eq!(pair.request_in(&mut wire), ticket);
        let received = pair.server.receive(&wire, pair.now);
        assert_eq!(received.map(|received| received.event), expected);
    }
}

#[test]
fn a_client_ends_connections_to_nodes_that_break_the_rules() {
    let done = |stream| frame(Kind::Done, stream, &[], &[]);
    assert_eq!(
        client_sees(&[found(1, 9), data(1, 9), with_number(Kind::End, 1, 0)]),
        Ok(())
    );
    let unknown = |kind, stream| Err(Violation::UnknownStream { kind, stream });
    assert_eq!(client_sees(&[done(3)]), unknown(Kind::Done, 3));
    assert_eq!(client_sees(&[data(1, 1)]), unknown(Kind::Data, 1));
    let unexpected = |kind| Err(Violation::Unexpected { kind });
    assert_eq!(client_sees(&[done(1)]), unexpected(Kind::Done));
    // The put has not ended yet.
    assert_eq!(client_sees(&[done(2)]), unexpected(Kind::Done));
    let refused = frame(Kind::Refused, 2, &[1], b"full");
    assert_eq!(client_sees(&[refused]), Ok(()));
    assert_eq!(
        client_sees(&[found(1, 9), found(1, 9)]),
        unexpected(Kind::Found)
    );
    assert_eq!(
        client_sees(&[found(1, 9), frame(Kind::Absent, 1, &[], &[])]),
        unexpected(Kind::Absent)
    );
    let wrong_len = Err(Violation::WrongObjectLength { stream: 1 });
    assert_eq!(client_sees(&[found(1, 9), data(1, 10)]), wrong_len);
    assert_eq!(
        client_sees(&[found(1, 9), data(1, 8), with_number(Kind::End, 1, 0)]),
        wrong_len
    );
    let text = frame(Kind::Refused, 1, &[1], b"\xff");
    let kind = Kind::Refused;
    assert_eq!(client_sees(&[text]), Err(Violation::WrongText { kind }));
    let report = frame(Kind::Report, 1, &[], b"\x05name");
    let kind = Kind::Report;
    assert_eq!(client_sees(&[report]), Err(Violation::WrongText { kind }));
    assert_eq!(
        client_sees(&[frame(Kind::Status, 1, &[], &[])]),
        unexpected(Kind::Status)
    );
}

#[test]
fn a_header_is_what_it_says() {
    let header = Header {
        kind: Kind::Get,
        flags: 1,
        stream: 5,
        len: 32,
    };
    let bytes = header.encode(&[3; 32]);
    assert_eq!(Header::decode(&bytes), Ok(header));
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes;
        bytes[at] = byte;
        Header::decode(&bytes)
    };
    let kind = Kind::Get;
    assert_eq!(with(0, 0x30), Err(Violation::UnknownKind(0x30)));
    assert_eq!(with(1, 3), Err(Violation::UnknownFlags { kind, flags: 3 }));
    assert_eq!(with(2, 1), Err(Violation::Reserved));
    assert_eq!(
        with(4, 0),
        Err(Violation::UnknownStream { kind, stream: 0 })
    );
    let stream = 5 | 1 << 16;
    assert_eq!(with(6, 1), Err(Violation::UnknownStream { kind, stream }));
    assert_eq!(with(8, 31), Err(Violation::WrongLength { kind, len: 31 }));
}
