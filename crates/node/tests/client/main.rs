//! A client and a node, over real sockets.

mod drops;
mod each;
mod leaders;
mod losses;
mod support;

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
};

use proxystore_core::{Deadline, ErrorKind, Memory, Operation, Payload, Segment, Value};
use proxystore_node::client::{Client, Credentials, NodeAddress, ObjectKey, Settings};
use proxystore_runtime::drive;
use proxystore_stream::Secret;

use crate::support::{Pair, WAYS, Way, in_task, key, now, pattern, settings};

#[test]
fn objects_of_all_sizes_come_back() {
    for way in WAYS {
        let pair = Pair::new(way);
        for (number, len) in (0..).zip([0, 1, 100, 65_536, 65_537, 300_000, 5_000_000]) {
            let bytes = pattern(len, number);
            pair.put(&key(number), &bytes).expect("room");
            let got = pair.get(&key(number)).expect("no error");
            assert!(got.as_ref() == Some(&bytes), "{way:?} {len}");
        }
    }
}

#[test]
fn objects_of_all_sizes_come_back_to_tasks() {
    for way in WAYS {
        let pair = Arc::new(Pair::new(way));
        let task = Arc::clone(&pair);
        let done = in_task(async move {
            for (number, len) in (0..).zip([0, 1, 100, 65_536, 65_537, 300_000, 5_000_000]) {
                let bytes = pattern(len, number);
                task.put_async(&key(number), &bytes).await.expect("room");
                let got = task.get_async(&key(number)).await.expect("no error");
                assert!(got.as_ref() == Some(&bytes), "{way:?} {len}");
            }
        });
        done.recv().expect("no panic");
    }
}

#[test]
fn batches_keep_their_order() {
    let pair = Pair::new(Way::Unix);
    let objects: Vec<_> = (0..3000)
        .map(|number| pattern(if number % 500 == 7 { 200_000 } else { 50 }, number))
        .collect();
    let keys: Vec<_> = (0..3000).map(key).collect();
    let segments: Vec<_> = objects.iter().map(|bytes| [Segment::from(bytes)]).collect();
    let payloads: Vec<_> = segments.iter().map(Payload::from).collect();
    now(async {
        let put = pair
            .client
            .put_batch(&pair.address, &keys, &payloads, Deadline::never());
        put.await.map_err(|(_, error)| error)
    })
    .expect("room");
    let mut asked = keys.clone();
    asked.reverse();
    asked.insert(1, key(9999));
    let got = now(async {
        let got = pair
            .client
            .get_batch(&pair.address, &asked, Deadline::never());
        got.await.map_err(|(_, error)| error)
    });
    let got: Vec<_> = got
        .expect("no error")
        .iter()
        .map(|object| object.as_ref().map(Memory::to_vec))
        .collect();
    assert_eq!(got[0].as_ref(), objects.last());
    assert_eq!(got[1], None);
    let rest = got[2..]
        .iter()
        .map(|object| object.as_ref().expect("it is there"));
    assert!(rest.eq(objects[..2999].iter().rev()));
}

#[test]
fn a_batch_with_an_object_that_is_refused_leaves_nothing() {
    let pair = Pair::new(Way::Unix);
    let before = pair.status("objects");
    let keys = [key(1), key(2), key(1), key(3)];
    let segments = [Segment::from(b"x")];
    let payloads = [Payload::from(&segments); 4];
    let (index, error) = drive(
        Operation::pending(async {
            let put = pair
                .client
                .put_batch(&pair.address, &keys, &payloads, Deadline::never());
            Ok(put.await.expect_err("one id twice"))
        }),
        Deadline::never(),
        || Ok::<(), Infallible>(()),
    )
    .expect("an answer");
    assert_eq!((index, error.kind()), (2, ErrorKind::PermissionDenied));
    assert_eq!(pair.status("objects"), before);
}

#[test]
fn threads_and_tasks_share_a_client() {
    for way in WAYS {
        let pair = Arc::new(Pair::new(way));
        let work = |worker: u64, round: u64| {
            let len = [100, 40_000, 300_000, 1_000_000][usize::try_from(round % 4).expect("small")];
            (
                key(worker * 1000 + round),
                pattern(len, worker * 1000 + round),
            )
        };
        let tasks: Vec<_> = (10..14)
            .map(|worker| {
                let pair = Arc::clone(&pair);
                in_task(async move {
                    for round in 0..12 {
                        let (key, bytes) = work(worker, round);
                        pair.put_async(&key, &bytes).await.expect("room");
                        let got = pair.get_async(&key).await.expect("no error");
                        assert!(got.is_some_and(|got| got == bytes));
                    }
                })
            })
            .collect();
        thread::scope(|scope| {
            for worker in 0..4 {
                let pair = &pair;
                scope.spawn(move || {
                    for round in 0..12 {
                        let (key, bytes) = work(worker, round);
                        pair.put(&key, &bytes).expect("room");
                        let got = pair.get(&key).expect("no error");
                        assert!(got.is_some_and(|got| got == bytes));
                    }
                });
            }
        });
        for task in tasks {
            task.recv().expect("no panic");
        }
    }
}

#[test]
fn both_directions_can_be_full() {
    for way in WAYS {
        let pair = Arc::new(Pair::new(way));
        let bytes = Arc::new(pattern(12_000_000, 5));
        pair.put(&key(0), &bytes).expect("room");
        let (up, down) = (Arc::clone(&pair), Arc::clone(&pair));
        let (source, expected) = (Arc::clone(&bytes), Arc::clone(&bytes));
        let uploads: Vec<_> = (1..4)
            .map(|number| {
                let (up, source) = (Arc::clone(&up), Arc::clone(&source));
                in_task(async move { up.put_async(&key(number), &source).await })
            })
            .collect();
        let download = in_task(async move { down.get_async(&key(0)).await });
        thread::scope(|scope| {
            for number in 4..7 {
                let (pair, bytes) = (&pair, &bytes);
                scope.spawn(move || pair.put(&key(number), bytes).expect("room"));
                scope.spawn(move || {
                    let got = pair.get(&key(0)).expect("no error");
                    assert!(got.as_ref() == Some(&**bytes));
                });
            }
        });
        for upload in uploads {
            upload.recv().expect("no panic").expect("room");
        }
        let got = download.recv().expect("no panic").expect("no error");
        assert!(got.as_ref() == Some(&*expected));
        for number in 1..7 {
            assert!(pair.get(&key(number)).expect("no error").as_ref() == Some(&*bytes));
        }
    }
}

#[test]
fn ten_thousand_are_under_way_at_once() {
    let pair = Arc::new(Pair::new(Way::Unix));
    pair.put(&key(0), b"object").expect("room");
    let tasks: Vec<_> = (0..10_000)
        .map(|_| {
            let pair = Arc::clone(&pair);
            in_task(async move { pair.get_async(&key(0)).await })
        })
        .collect();
    for task in tasks {
        let got = task.recv().expect("no panic").expect("no error");
        assert_eq!(got.as_deref(), Some(&b"object"[..]));
    }
}

#[test]
fn another_secret_is_refused() {
    for way in [Way::Tcp, Way::Tls] {
        let pair = Pair::new(way);
        let client = Client::new(Settings {
            credentials: Credentials::Secret(Secret::parse("another secret of sixteen bytes")),
            ..settings(way)
        });
        let error = now(client.get(&pair.address, &key(0), Deadline::never())).expect_err("no");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(!error.to_string().contains("sixteen"));
    }
}

#[test]
fn whoever_answers_instead_of_a_node_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = NodeAddress::new("127.0.0.1", listener.local_addr().expect("one").port());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut hello = [0; 8];
            stream.read_exact(&mut hello).expect("a hello");
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .expect("room");
        }
    });
    let client = Client::new(settings(Way::Tcp));
    let error = now(client.get(&address, &key(0), Deadline::never())).expect_err("no node");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_retryable());
    assert!(error.message().contains("web server"), "{error}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = NodeAddress::new("127.0.0.1", free.local_addr().expect("an address").port());
    drop(free);
    let client = Client::new(settings(Way::Tcp));
    let error = now(client.get(&address, &key(0), Deadline::never())).expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.context("peer"), Some(address.to_string().as_str()));
}

#[test]
fn what_was_done_is_counted() {
    let pair = Pair::new(Way::Unix);
    pair.put(&key(0), &[1; 100]).expect("room");
    pair.get(&key(0)).expect("no error");
    let statistics = pair.client.statistics();
    let Some(Value::Map(node)) = statistics.value(&pair.address.to_string()) else {
        panic!("{statistics:?}");
    };
    let value = |name: &str| node.value(name).cloned();
    assert_eq!(value("operations"), Some(Value::Integer(2)));
    assert_eq!(value("sent_bytes"), Some(Value::Integer(100)));
    assert_eq!(value("received_bytes"), Some(Value::Integer(100)));
    assert_eq!(value("connections_total"), Some(Value::Integer(1)));
    assert_eq!(value("requests_under_way"), Some(Value::Integer(0)));
}

#[test]
fn a_key_opens_its_own_object_only() {
    let pair = Pair::new(Way::Tcp);
    pair.put(&key(0), b"object").expect("room");
    let forged = ObjectKey {
        capability: [8; 16],
        ..key(0)
    };
    assert_eq!(pair.get(&forged).expect("no error"), None);
    let error = now(pair.client.evict(&pair.address, &forged, Deadline::never()));
    assert_eq!(
        error.expect_err("forged").kind(),
        ErrorKind::PermissionDenied
    );
    assert!(pair.get(&key(0)).expect("no error").is_some());
}
