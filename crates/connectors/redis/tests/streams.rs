//! Messages arrive once, in order, and are never lost in silence.

mod support;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use proxystore_core::{Deadline, ErrorKind, Payload, Segment};
use proxystore_redis::streams::{Publisher, Queue, Subscriber};
use proxystore_runtime::Stopped;

use crate::support::{Checked, now, operations::soon, server::Server};

fn publish(publisher: &Publisher, channel: &str, bytes: &[u8]) -> Checked<u64> {
    let segments = [Segment::from(bytes)];
    Ok(now(publisher.publish(
        channel,
        Payload::from(&segments),
        soon(),
    ))?)
}

fn push(publisher: &Publisher, queue: &str, bytes: &[u8]) -> Checked<u64> {
    let segments = [Segment::from(bytes)];
    Ok(now(publisher.push(
        queue,
        Payload::from(&segments),
        soon(),
    ))?)
}

fn next(subscriber: &Subscriber) -> Checked<(String, Vec<u8>)> {
    let message = now(subscriber.next(soon()))?.ok_or("no message in time")?;
    Ok((message.channel, message.payload.to_vec()))
}

fn pop(queue: &Queue) -> Checked<Vec<u8>> {
    let message = now(queue.pop(soon()))?.ok_or("no message in time")?;
    Ok(message.payload.to_vec())
}

#[test]
fn every_subscriber_receives_every_message_in_order() -> Checked {
    let server = Server::start(&[])?;
    let publisher = Publisher::open(&server.config())?;
    let channels: Arc<[String]> = ["one".to_owned(), "two".to_owned()].into();
    let subscribers = [
        Subscriber::open(&server.config(), Arc::clone(&channels))?,
        Subscriber::open(&server.unix_config(), channels)?,
    ];
    for subscriber in &subscribers {
        now(subscriber.subscribe(soon()))?;
    }
    let sizes = [0, 1, 100, 70_000, 3_000_000, 5];
    for (index, size) in sizes.into_iter().enumerate() {
        let channel = ["one", "two"][index % 2];
        let bytes = vec![u8::try_from(index)?; size];
        assert_eq!(publish(&publisher, channel, &bytes)?, 2);
        for subscriber in &subscribers {
            assert_eq!(next(subscriber)?, (channel.to_owned(), bytes.clone()));
        }
    }
    assert_eq!(publish(&publisher, "nobody's", b"x")?, 0);
    Ok(())
}

#[test]
fn a_wait_that_is_given_up_loses_nothing() -> Checked {
    let server = Server::start(&[])?;
    let publisher = Publisher::open(&server.config())?;
    let subscriber = Subscriber::open(&server.config(), ["c".to_owned()])?;
    now(subscriber.subscribe(soon()))?;
    let brief = || Deadline::at(Instant::now() + Duration::from_millis(1));
    assert!(now(subscriber.next(brief()))?.is_none());
    let bytes = vec![7; 20_000_000];
    // The server keeps what a connection does not take at once, so a part has arrived when it stops.
    assert_eq!(publish(&publisher, "c", &bytes)?, 1);
    server.pause()?;
    for _ in 0..3 {
        assert!(now(subscriber.next(brief()))?.is_none());
    }
    server.resume()?;
    // The rest arrives in parts again and again, and all is there in the end.
    let message = loop {
        if let Some(message) = now(subscriber.next(brief()))? {
            break message;
        }
    };
    assert_eq!(message.payload.to_vec(), bytes);
    Ok(())
}

#[test]
fn a_subscriber_that_is_dropped_says_so() -> Checked {
    let server = Server::start(&["--client-output-buffer-limit", "pubsub 1mb 1mb 1"])?;
    let publisher = Publisher::open(&server.config())?;
    let subscriber = Subscriber::open(&server.config(), ["c".to_owned()])?;
    now(subscriber.subscribe(soon()))?;
    let bytes = vec![7; 1_000_000];
    let sent = 40;
    let mut reached = 0;
    for _ in 0..sent {
        reached += publish(&publisher, "c", &bytes)?;
    }
    assert!(reached < sent, "the server has not dropped the subscriber");
    let mut received = 0;
    let error = loop {
        match now(subscriber.next(soon())) {
            Ok(message) => {
                assert_eq!(message.ok_or("no message")?.payload.to_vec(), bytes);
                received += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(received <= reached);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_retryable(), "the same subscriber cannot go on");
    assert!(
        error.message().contains("client-output-buffer-limit"),
        "{error}"
    );
    assert_eq!(error.context("operation"), Some("next"));
    // It stays lost, although the server is there.
    publish(&publisher, "c", b"later")?;
    let again = now(subscriber.next(soon())).expect_err("lost");
    assert_eq!(again.kind(), ErrorKind::Unavailable);
    Ok(())
}

#[test]
fn a_server_that_is_gone_is_noticed_without_a_word_from_it() -> Checked {
    let server = Server::start(&[])?;
    let config = server.config().with("timeout", 1.0);
    let subscriber = Subscriber::open(&config, ["c".to_owned()])?;
    now(subscriber.subscribe(soon()))?;
    // Silence alone is no reason: the server says that it is there.
    let pause = Deadline::at(Instant::now() + Duration::from_millis(2500));
    assert!(now(subscriber.next(pause))?.is_none());
    server.pause()?;
    let error = now(subscriber.next(soon())).expect_err("nobody answers");
    server.resume()?;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    Ok(())
}

#[test]
fn queues_hand_each_message_to_one() -> Checked {
    let server = Server::start(&[])?;
    let publisher = Publisher::open(&server.config())?;
    let queue = Arc::new(Queue::open(&server.config(), "q")?);
    for number in 0..5_u8 {
        assert_eq!(push(&publisher, "q", &[number])?, u64::from(number) + 1);
    }
    for number in 0..5_u8 {
        assert_eq!(pop(&queue)?, [number]);
    }
    // Whoever waits gets what comes later.
    let waiting = thread::spawn({
        let queue = Arc::clone(&queue);
        move || pop(&queue).map_err(|error| error.to_string())
    });
    while server.info("blocked_clients")? != "1" {
        thread::yield_now();
    }
    push(&publisher, "q", b"late")?;
    assert_eq!(waiting.join().map_err(|_| "a thread panicked")??, b"late");
    let now_empty = Deadline::at(Instant::now() + Duration::from_millis(20));
    assert!(now(queue.pop(now_empty))?.is_none());
    Ok(())
}

#[test]
fn a_message_for_whoever_gave_up_is_kept_or_put_back() -> Checked {
    let server = Server::start(&[])?;
    let publisher = Publisher::open(&server.config())?;
    let queue = Queue::open(&server.config(), "q")?;
    let give_up = |queue: &Queue| {
        // A signal ends the wait while the server goes on waiting for a message.
        let ended = proxystore_runtime::drive(queue.pop(soon()), soon(), || Err("signal"));
        matches!(ended, Err(Stopped::Interrupted("signal")))
    };
    assert!(give_up(&queue));
    push(&publisher, "q", b"first")?;
    assert_eq!(pop(&queue)?, b"first");
    assert!(give_up(&queue));
    push(&publisher, "q", b"second")?;
    push(&publisher, "q", b"third")?;
    now(queue.close(soon()))?;
    assert_eq!(
        now(queue.pop(soon())).expect_err("closed").kind(),
        ErrorKind::Closed
    );
    let other = Queue::open(&server.config(), "q")?;
    assert_eq!(pop(&other)?, b"second");
    assert_eq!(pop(&other)?, b"third");
    Ok(())
}

#[test]
fn a_queue_connects_again() -> Checked {
    let mut server = Server::start(&[])?;
    let publisher = Publisher::open(&server.config())?;
    let queue = Queue::open(&server.config(), "q")?;
    push(&publisher, "q", b"first")?;
    assert_eq!(pop(&queue)?, b"first");
    server.kill()?;
    let error = now(queue.pop(soon())).expect_err("no server");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    server.restart()?;
    push(&publisher, "q", b"second")?;
    assert_eq!(pop(&queue)?, b"second");
    Ok(())
}
