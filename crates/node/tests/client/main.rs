//! A client and a node, over real sockets.

mod each;
mod support;

use std::{
    convert::Infallible,
    future::Future,
    io::{Read, Write},
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, ErrorKind, Memory, Operation, Payload, Segment, Value};
use proxystore_node::client::{Client, Credentials, Mode, NodeAddress, ObjectKey, Settings};
use proxystore_runtime::{Stopped, drive};
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

/// Begins a get that leads, then others that wait for it, and ends the first by `end`.
fn leader_ends(end: impl FnOnce(&Pair, &AtomicBool) + Send) {
    let (pair, network) = Pair::apart();
    pair.put(&key(1), b"object").expect("room");
    network.hold();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let before = network.sent();
        let leader = scope.spawn(|| end(&pair, &stop));
        network.wait_beyond(before);
        let followers: Vec<_> = (0..4)
            .map(|_| {
                let before = network.sent();
                let follower = scope.spawn(|| pair.get(&key(1)));
                network.wait_beyond(before);
                follower
            })
            .collect();
        stop.store(true, Ordering::Release);
        leader.join().expect("it ended as it should");
        network.release();
        for follower in followers {
            let got = follower.join().expect("no panic").expect("no error");
            assert_eq!(got.as_deref(), Some(&b"object"[..]));
        }
    });
}

#[test]
fn a_leader_that_ends_by_its_deadline_hands_over() {
    leader_ends(|pair, _| {
        // Long enough for it to lead by then, however busy the machine is.
        let deadline = Deadline::at(Instant::now() + Duration::from_secs(2));
        let error = now(pair.client.get(&pair.address, &key(1), deadline)).expect_err("late");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
        assert!(error.context("peer").is_some());
    });
}

#[test]
fn a_leader_that_a_signal_ends_hands_over() {
    leader_ends(|pair, stop| {
        let key = key(1);
        let get = Operation::pending(pair.client.get(&pair.address, &key, Deadline::never()));
        let ended = drive(get, Deadline::never(), || {
            if stop.load(Ordering::Acquire) {
                Err("signal")
            } else {
                Ok(())
            }
        });
        assert!(
            matches!(ended, Err(Stopped::Interrupted("signal"))),
            "{ended:?}"
        );
    });
}

#[test]
fn a_leader_that_panics_hands_over() {
    leader_ends(|pair, stop| {
        let key = key(1);
        let get = Operation::pending(pair.client.get(&pair.address, &key, Deadline::never()));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            drive(get, Deadline::never(), || {
                assert!(!stop.load(Ordering::Acquire), "a panic while waiting");
                Ok::<(), Infallible>(())
            })
        }));
        assert!(ended.is_err());
    });
}

#[test]
fn a_connection_that_is_cut_fails_what_is_under_way_and_is_made_anew() {
    for len in [4, 300_000] {
        let (pair, network) = Pair::apart();
        pair.put(&key(1), b"object").expect("room");
        // Connections for large objects are made, too.
        pair.put(&key(3), &pattern(len, 3)).expect("room");
        network.hold();
        let bytes = pattern(len, 1);
        thread::scope(|scope| {
            let before = network.sent();
            let put = scope.spawn(|| pair.put(&key(2), &bytes));
            network.wait_beyond(before + len as u64);
            network.cut();
            network.release();
            let error = put.join().expect("no panic").expect_err("nobody answered");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert!(error.is_retryable());
        });
        let got = pair.get(&key(1)).expect("a new connection");
        assert_eq!(got.as_deref(), Some(&b"object"[..]));
        // What was put in vain is gone, or never came.
        assert_eq!(pair.get(&key(2)).expect("no error"), None);
        assert_eq!(pair.status("objects"), 2);
    }
}

#[test]
fn a_batch_that_fails_leaves_nothing_even_if_the_node_cannot_be_reached_then() {
    let (pair, network) = Pair::apart();
    // Connections for small and large objects are there before the network closes.
    pair.put(&key(9), b"object").expect("room");
    pair.put(&key(8), &pattern(300_000, 8)).expect("room");
    let large = pattern(40_000_000, 2);
    let segments = [[Segment::from(b"small")], [Segment::from(&large)]];
    let payloads: Vec<_> = segments.iter().map(Payload::from).collect();
    let keys = [key(1), key(2)];
    thread::scope(|scope| {
        let before = network.sent();
        let put = scope.spawn(|| {
            let never = Deadline::never();
            let put = pair
                .client
                .put_batch(&pair.address, &keys, &payloads, never);
            now(async { put.await.map_err(|(_, error)| error) })
        });
        // The small one is stored by then, and known to be.
        network.wait_beyond(before + 100_000);
        network.hold();
        network.close();
        network.cut();
        network.release();
        let error = put.join().expect("no panic").expect_err("it was cut");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    });
    assert_eq!(pair.status("objects"), 3, "nobody could remove it");
    network.open();
    assert_eq!(pair.get(&key(1)).expect("a new connection"), None);
    assert_eq!(pair.get(&key(2)).expect("no error"), None);
    assert_eq!(pair.status("objects"), 2);
}

#[test]
fn requests_that_are_the_same_twice_survive_a_cut() {
    let (pair, network) = Pair::apart();
    pair.put(&key(1), b"object").expect("room");
    network.hold();
    thread::scope(|scope| {
        let before = network.sent();
        let gets: Vec<_> = (0..3).map(|_| scope.spawn(|| pair.get(&key(1)))).collect();
        network.wait_beyond(before);
        network.cut();
        network.release();
        for get in gets {
            let got = get.join().expect("no panic").expect("it was asked again");
            assert_eq!(got.as_deref(), Some(&b"object"[..]));
        }
    });
}

#[test]
fn an_idle_connection_that_was_closed_is_noticed_before_it_is_used() {
    let (pair, network) = Pair::apart();
    for round in 0..3 {
        pair.put(&key(round), b"object")
            .expect("a connection that works");
        network.cut();
        // For so long a connection counts as in use.
        thread::sleep(Duration::from_millis(120));
    }
}

#[test]
fn operations_can_be_dropped_at_any_point() {
    for way in WAYS {
        let pair = Pair::new(way);
        let bytes = pattern(3_000_000, 1);
        pair.put(&key(0), &bytes).expect("room");
        let segments = [Segment::from(&bytes)];
        for polls in 0..40 {
            let number = 1000 + polls;
            let payload = Payload::from(&segments);
            let dropped = key(number);
            // As many polls as that, then it is given up.
            let put = pair.client.put(
                &pair.address,
                &dropped,
                Mode::New,
                payload,
                Deadline::never(),
            );
            let put_ended = now(first_polls(polls, put)).expect("no error");
            let key0 = key(0);
            let get = pair.client.get(&pair.address, &key0, Deadline::never());
            if let Some(got) = now(first_polls(polls, get)).expect("no error") {
                let got = got.expect("no error").expect("it is there");
                assert!(got.to_vec() == bytes);
            }
            // The connection works on.
            pair.put(&key(number + 1000), b"small").expect("room");
            let got = pair.get(&key(0)).expect("no error");
            assert!(got.as_ref() == Some(&bytes), "{way:?} {polls}");
            if put_ended.is_none() {
                assert_eq!(
                    pair.get(&dropped).expect("no error"),
                    None,
                    "{way:?} {polls}"
                );
            }
        }
    }
}

#[test]
fn a_batch_that_is_dropped_at_any_point_leaves_nothing() {
    for way in WAYS {
        let pair = Pair::new(way);
        let objects = [pattern(100, 1), pattern(400_000, 2), pattern(400_000, 3)];
        let segments: Vec<_> = objects.iter().map(|bytes| [Segment::from(bytes)]).collect();
        let payloads: Vec<_> = segments.iter().map(Payload::from).collect();
        for polls in 0..30 {
            let keys: Vec<_> = (0..3).map(|index| key(1000 + 3 * polls + index)).collect();
            let never = Deadline::never();
            let put = pair
                .client
                .put_batch(&pair.address, &keys, &payloads, never);
            let ended = now(first_polls(polls, put)).expect("no error");
            for key in &keys {
                let found = pair.get(key).expect("no error");
                assert_eq!(found.is_some(), ended.is_some(), "{way:?} {polls}");
            }
        }
    }
}

/// The output of a future, unless it needs more polls.
async fn first_polls<T>(
    mut polls: u64,
    future: impl Future<Output = T>,
) -> Result<Option<T>, proxystore_core::Error> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(Ok(None));
        }
        polls -= 1;
        future.as_mut().poll(context).map(|output| Ok(Some(output)))
    })
    .await
}

#[test]
fn a_task_that_is_polled_once_and_dropped_harms_nobody() {
    let pair = Arc::new(Pair::new(Way::Tcp));
    pair.put(&key(0), b"object").expect("room");
    for _ in 0..100 {
        let key0 = key(0);
        let mut get = pin!(pair.client.get(&pair.address, &key0, Deadline::never()));
        let _ = get.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    let task = Arc::clone(&pair);
    let got = in_task(async move { task.get_async(&key(0)).await });
    let got = got.recv().expect("no panic").expect("no error");
    assert_eq!(got.as_deref(), Some(&b"object"[..]));
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
