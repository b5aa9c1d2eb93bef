//! The thread that reads for all hands over, however it ends.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, ErrorKind, Operation};
use proxystore_runtime::{Stopped, drive};

use crate::support::{Pair, key, now};

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
