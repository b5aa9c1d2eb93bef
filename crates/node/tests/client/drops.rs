//! Operations that are given up at any point leave nothing behind, and harm no other.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use proxystore_core::{Deadline, Payload, Segment};
use proxystore_node::client::Mode;

use crate::support::{Pair, WAYS, Way, in_task, key, now, pattern};

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
