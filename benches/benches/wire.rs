//! What the sessions of nodes and their clients cost, without sockets.
//!
//! The groups have a `floor`: the same work without any of this project's code.

#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without any"
)]

use std::{
    hash::Hasher as _,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, ObjectKey, Sum, client,
    handshake::Agreed,
    message::{Reply, Request},
    server,
};
use twox_hash::XxHash3_64;

/// Requests in one buffer.
const REQUESTS: usize = 1000;

const AGREED: Agreed = Agreed {
    version: 1,
    own: limits(),
    peer: limits(),
};

const KEY: ObjectKey = ObjectKey {
    id: [1; 16],
    capability: [2; 16],
};

const fn limits() -> Limits {
    Limits {
        streams: 1 << 14,
        inline: 64 << 10,
        chunk: 256 << 10,
        credit: 1 << 20,
        window: 1 << 20,
    }
}

fn client(now: Instant) -> client::Session {
    client::Session::new(&AGREED, Duration::from_secs(10), now)
}

fn server(now: Instant) -> server::Session {
    server::Session::new(&AGREED, Duration::from_secs(10), now)
}

/// A thousand gets, one after the other, as a client sends them.
fn gets(now: Instant) -> (client::Session, Vec<u8>) {
    let mut client = client(now);
    for _ in 0..REQUESTS {
        client.get(&KEY, false, now).expect("room");
    }
    let bytes = client.outgoing().bytes.to_vec();
    client.sent(bytes.len());
    (client, bytes)
}

/// Answers everything in `wire`, and returns what a node then sends.
fn answer(server: &mut server::Session, wire: &[u8], now: Instant) -> Vec<u8> {
    let object = [7; 100];
    let sum = Sum::of(&object);
    let (mut used, mut sent) = (0, Vec::new());
    loop {
        let received = server.receive(&wire[used..], now).expect("requests");
        used += received.used;
        match received.event {
            Some(server::Event::Request { ticket, request }) => {
                black_box(matches!(request, Request::Get { .. }));
                server.respond(
                    ticket,
                    &Reply::Object {
                        sum,
                        bytes: &object,
                    },
                );
            }
            _ => break,
        }
    }
    let outgoing = server.outgoing(now).bytes;
    sent.extend_from_slice(outgoing);
    let len = outgoing.len();
    server.sent(len, now);
    sent
}

fn requests(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut group = criterion.benchmark_group("wire: 1000 gets of 100 B");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("client asks", |bencher| {
        bencher.iter(|| gets(now));
    });
    let (_, wire) = gets(now);
    group.bench_function("node understands and answers", |bencher| {
        bencher.iter_batched_ref(
            || server(now),
            |server| answer(server, &wire, now),
            BatchSize::SmallInput,
        );
    });
    let replies = answer(&mut server(now), &wire, now);
    group.bench_function("client understands", |bencher| {
        bencher.iter_batched_ref(
            || gets(now).0,
            |client| {
                let mut used = 0;
                loop {
                    let received = client.receive(&replies[used..], now).expect("replies");
                    used += received.used;
                    if black_box(received.event).is_none() {
                        return used;
                    }
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("floor: copy the replies", |bencher| {
        bencher.iter(|| black_box(replies.as_slice()).to_vec());
    });
    group.finish();
}

fn sums(criterion: &mut Criterion) {
    let chunk = vec![7; 256 << 10];
    let mut group = criterion.benchmark_group("wire: sum of a chunk");
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    let mut sum = Sum::new();
    group.bench_function("bytes", |bencher| bencher.iter(|| sum.update(&chunk)));
    group.bench_function("borrowed bytes", |bencher| {
        bencher.iter(|| sum.update_segment(Segment::from(&chunk)));
    });
    let mut floor = XxHash3_64::new();
    group.bench_function("floor: XXH3-64", |bencher| {
        bencher.iter(|| floor.write(&chunk));
    });
    group.finish();
    black_box((sum.finish(), floor.finish()));
}

criterion_group!(benches, requests, sums);
criterion_main!(benches);
