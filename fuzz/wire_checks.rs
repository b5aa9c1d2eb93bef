//! What must hold for any bytes at all; the fuzz targets and the tests of the corpus share it.

use std::time::{Duration, Instant};

use proxystore_wire::{
    Chunk, Limits, ObjectKey, client,
    frame::{HEADER, Header, Kind, is_intact},
    handshake::{Agreed, Authentication, ClientHandshake, NodeHandshake},
    message::{Mode, Reply, Request},
    server,
};

/// What a session may have waiting to be sent after it was shown bytes, in bytes.
const MOST_QUEUED: usize = 384 << 10;

/// Limits that small inputs reach.
const LIMITS: Limits = Limits {
    streams: 16,
    inline: 256,
    chunk: 1024,
    credit: 1024,
    window: 4096,
};

/// Takes a frame apart: what is understood is what was written.
pub(crate) fn frame(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_first_chunk::<HEADER>() else {
        return;
    };
    let Ok(header) = Header::decode(head) else {
        return;
    };
    let len = header.len as usize;
    let head_len = header.kind.head();
    assert!(head_len <= len);
    let Some(body) = body.get(..len) else {
        return;
    };
    let encoded = header.encode(&body[..head_len]);
    assert_eq!(encoded[..12], head[..12]);
    assert!(is_intact(&encoded, &body[..head_len]));
    assert_eq!(is_intact(head, &body[..head_len]), encoded == *head);
    let request = Request::decode(header, body);
    let reply = Reply::decode(header, body);
    assert!(!matches!((request, reply), (Ok(Some(_)), Ok(Some(_)))));
    if let Ok(Some(Reply::Report(report))) = reply {
        assert!(report.entries().count() <= 256);
    }
}

/// Introduces these bytes to both sides, which never agree with who knows no secret.
pub(crate) fn hello(bytes: &[u8]) {
    for authentication in [
        Authentication::Transport,
        Authentication::Secret {
            secret: b"nobody in the corpus knows it",
            binding: b"the channel",
        },
    ] {
        let has_secret = matches!(authentication, Authentication::Secret { .. });
        let mut out = Vec::new();
        let client = ClientHandshake::new(LIMITS, &authentication, [1; 32], &mut out);
        let node = NodeHandshake::new(LIMITS, &authentication, [2; 32]);
        let (Ok(mut client), Ok(mut node)) = (client, node) else {
            unreachable!("the secret is long enough");
        };
        let at_client = client.receive(bytes, &mut out);
        let at_node = node.receive(bytes, &mut out);
        for progress in [at_client, at_node].into_iter().flatten() {
            assert!(progress.used <= bytes.len());
            assert!(progress.agreed.is_none() || !has_secret);
            if let Some(agreed) = progress.agreed {
                assert_eq!(agreed.peer, agreed.peer.clamped());
            }
        }
        assert!(out.len() < 1000);
    }
}

/// Shows both sessions the bytes as they are, and the frames that they describe.
pub(crate) fn session(bytes: &[u8]) {
    for wire in [bytes.to_vec(), described(bytes)] {
        node(&wire);
        client(&wire);
    }
}

/// Each eight bytes as a frame whose check is right: kind, flags, stream, length, and numbers.
fn described(bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for [kind, flags, stream, len, numbers @ ..] in bytes.as_chunks::<8>().0 {
        let Some(kind) = Kind::from_number(*kind) else {
            continue;
        };
        let mut head = [*stream; 40];
        let at = if kind == Kind::Begin { 32 } else { 0 };
        head[at..at + 8].fill(0);
        head[at..at + 4].copy_from_slice(numbers);
        let head = &head[..kind.head()];
        let has_tail = matches!(
            kind,
            Kind::Put | Kind::Object | Kind::Report | Kind::Refused | Kind::Data
        );
        let tail = if has_tail { usize::from(*len) } else { 0 };
        let header = Header {
            kind,
            flags: flags & kind.flags(),
            stream: u32::from(*stream),
            len: u32::try_from(head.len() + tail).unwrap_or(0),
        };
        wire.extend_from_slice(&header.encode(head));
        wire.extend_from_slice(head);
        wire.resize(wire.len() + tail, numbers[0]);
    }
    wire
}

const AGREED: Agreed = Agreed {
    version: 1,
    own: LIMITS,
    peer: LIMITS,
};

fn node(wire: &[u8]) {
    let now = Instant::now();
    let mut session = server::Session::new(&AGREED, Duration::from_secs(1), now);
    let mut used = 0;
    while let Ok(received) = session.receive(&wire[used..], now) {
        used += received.used;
        match received.event {
            None => break,
            Some(server::Event::Congested) => drain(&mut session, now),
            Some(server::Event::Body { len, .. }) => {
                let len = len.min(wire.len() - used);
                if len == 0 {
                    break;
                }
                session.body_received(len, now);
                used += len;
            }
            Some(server::Event::Waiting { ticket }) => session.accept(ticket, now),
            Some(server::Event::Request { ticket, request }) => {
                // Some are answered, some are left open.
                let reply = match request {
                    Request::Get { whole: true, .. } => Reply::Found { len: 3000, sum: 1 },
                    Request::Get { .. } => Reply::Absent,
                    Request::Put { .. } => Reply::Done,
                    _ => continue,
                };
                assert!(session.respond(ticket, &reply));
            }
            Some(server::Event::Ended { ticket, .. }) => {
                assert!(session.respond(ticket, &Reply::Done));
            }
            Some(server::Event::Cancelled { ticket }) => {
                assert!(!session.respond(ticket, &Reply::Done));
            }
        }
        assert!(used <= wire.len());
        assert!(session.under_way() <= LIMITS.streams as usize);
        let outgoing = session.outgoing(now);
        assert!(outgoing.bytes.len() <= MOST_QUEUED);
    }
    drain(&mut session, now);
}

/// Sends all that may be sent.
fn drain(session: &mut server::Session, now: Instant) {
    loop {
        let outgoing = session.outgoing(now);
        let chunk = outgoing.chunk.as_ref().map_or(0, Chunk::len);
        let len = outgoing.bytes.len() + chunk;
        if len == 0 {
            return;
        }
        session.sent(len, now);
    }
}

fn client(wire: &[u8]) {
    let now = Instant::now();
    let mut session = client::Session::new(&AGREED, Duration::from_secs(1), now);
    let key = ObjectKey {
        id: [1; 16],
        capability: [2; 16],
    };
    let long = [0; 3000];
    // One of each kind is under way.
    let begun = [
        session.put(&key, Mode::New, &[], now),
        session.put(&key, Mode::New, &[(&long).into()], now),
        session.get(&key, true, now),
        session.get(&key, false, now),
        session.exists(&key, now),
        session.evict(&key, now),
        session.status(now),
        session.put(&key, Mode::New, &[], now),
        session.get(&key, true, now),
    ];
    if let [.., Ok(put), Ok(get)] = begun {
        session.cancel(put);
        session.cancel(get);
    }
    let mut used = 0;
    while let Ok(received) = session.receive(&wire[used..], now) {
        used += received.used;
        match received.event {
            None => break,
            Some(client::Event::Body { len, .. }) => {
                let len = len.min(wire.len() - used);
                if len == 0 {
                    break;
                }
                session.body_received(len, now);
                used += len;
            }
            Some(client::Event::Waiting { stream }) => session.accept(stream, now),
            Some(_) => {}
        }
        assert!(used <= wire.len());
        assert!(session.under_way() <= begun.len());
        assert!(session.outgoing().bytes.len() <= MOST_QUEUED);
    }
}
