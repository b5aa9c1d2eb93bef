//! Connections that are lost: what is under way fails or is asked again, and nothing is left behind.

use std::{thread, time::Duration};

use proxystore_core::{Deadline, ErrorKind, Payload, Segment};

use crate::support::{Pair, key, now, pattern};

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
