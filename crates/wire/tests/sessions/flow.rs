//! How much is on its way, and whose turn it is.

use std::time::Duration;

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, Sum,
    client::{Event, NotNow},
    frame::{HEADER, Kind, MAX_WINDOW},
    message::{Mode, Reply, ReportBuilder, Request},
    server,
};

use crate::pair::{Pair, SMALL, frame, key, transfer};

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
fn a_long_path_gets_a_wider_window() {
    let (near, far) = (Duration::from_micros(100), Duration::from_millis(40));
    let len = 200 << 20;
    assert_eq!(transfer(len, near).1, u64::from(Limits::default().window));
    let (round_trips, widest) = transfer(len, far);
    // One window at a time it would be 200.
    assert!(round_trips < 25, "{round_trips} round trips");
    assert!(
        widest <= u64::from(MAX_WINDOW) && widest >= 16 << 20,
        "{widest} bytes at once"
    );
}
