//! What ends a connection.

use std::slice;

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, Violation,
    client::Event,
    frame::{HEADER, Header, Kind, MAX_WINDOW},
    message::{Mode, Refusal, Reply},
    server,
};

use crate::pair::{Pair, SMALL, frame, key};

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
