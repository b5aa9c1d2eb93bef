//! Tasks on the shared runtime use a connector together.

mod support;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use proxystore_core::{Connector, Deadline, ErrorKind, Factory, Key, Payload, Segment};
use proxystore_redis::{
    FACTORY,
    streams::{Publisher, Subscriber},
};
use proxystore_runtime::shared;

use crate::support::{Checked, now, operations::soon, server::Server};

async fn put(connector: &dyn Connector, bytes: &[u8]) -> proxystore_core::Result<Key> {
    let segments = [Segment::from(bytes)];
    connector.put(Payload::from(&segments), soon()).await
}

async fn get(connector: &dyn Connector, key: &Key) -> proxystore_core::Result<Option<Vec<u8>>> {
    let object = connector.get(key, soon()).await?;
    Ok(object.map(|memory| memory.to_vec()))
}

#[test]
fn thousands_of_tasks_share_a_few_connections() -> Checked {
    let server = Server::start(&[])?;
    let connector = FACTORY.open(&server.config())?;
    let runtime = shared::handle()?;
    let tasks: Vec<_> = (0..5000_usize)
        .map(|index| {
            let connector = Arc::clone(&connector);
            runtime.spawn(async move {
                let len = if index % 500 == 0 {
                    1_000_000
                } else {
                    index % 300
                };
                let bytes = vec![u8::try_from(index % 256).unwrap_or_default(); len];
                let key = put(&*connector, &bytes).await?;
                let found = get(&*connector, &key).await?;
                connector.evict(&key, soon()).await?;
                Ok::<_, proxystore_core::Error>(found == Some(bytes))
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            assert!(task.await??);
        }
        Checked::Ok(())
    })?;
    assert!(server.names()?.is_empty());
    let connected: u64 = server.info("connected_clients")?.parse()?;
    // Beside them those that ask, whose ends the server may not have seen yet.
    assert!(connected <= 18, "{connected} connections");
    Ok(())
}

#[test]
fn threads_and_tasks_share_a_connector() -> Checked {
    let server = Server::start(&[])?;
    let connector = FACTORY.open(&server.unix_config())?;
    let runtime = shared::handle()?;
    let key = runtime.block_on(put(&*connector, b"object"))?;
    let found = now(connector.get(&key, soon()))?;
    assert_eq!(
        found.map(|memory| memory.to_vec()).as_deref(),
        Some(&b"object"[..])
    );
    thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| now(connector.get(&key, soon())).is_ok_and(|found| found.is_some()))
            })
            .collect();
        for _ in 0..100 {
            assert!(runtime.block_on(get(&*connector, &key))?.is_some());
        }
        for thread in threads {
            assert!(thread.join().map_err(|_| "a thread panicked")?);
        }
        Checked::Ok(())
    })
}

#[test]
fn tasks_that_are_cancelled_leave_nothing_and_hold_up_nobody() -> Checked {
    let server = Server::start(&[])?;
    let connector = FACTORY.open(&server.config())?;
    let runtime = shared::handle()?;
    let key = runtime.block_on(put(&*connector, b"object"))?;
    server.pause()?;
    // More than there may be connections: some are under way and the others wait for their turn.
    let tasks: Vec<_> = (0..100_usize)
        .map(|index| {
            let connector = Arc::clone(&connector);
            runtime.spawn(async move {
                let bytes = vec![7; if index % 10 == 0 { 3_000_000 } else { 100 }];
                put(&*connector, &bytes).await.map(drop)
            })
        })
        .collect();
    let brief = Deadline::at(Instant::now() + Duration::from_millis(100));
    let error = runtime
        .block_on(connector.get(&key, brief))
        .expect_err("stalled");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
    for task in &tasks {
        task.abort();
    }
    runtime.block_on(async {
        for task in tasks {
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
        }
    });
    server.resume()?;
    assert!(runtime.block_on(get(&*connector, &key))?.is_some());
    let waited = Instant::now();
    while server.names()?.len() != 1 {
        assert!(
            waited.elapsed() < Duration::from_mins(1),
            "{:?}",
            server.names()?
        );
        thread::yield_now();
    }
    Ok(())
}

#[test]
fn a_subscriber_belongs_to_threads_or_to_tasks() -> Checked {
    let server = Server::start(&[])?;
    let runtime = shared::handle()?;
    let publisher = Publisher::open(&server.config())?;
    let subscriber = Subscriber::open(&server.config(), ["c".to_owned()])?;
    runtime.block_on(subscriber.subscribe(soon()))?;
    let segments = [Segment::from(b"message")];
    runtime.block_on(publisher.publish("c", Payload::from(&segments), soon()))?;
    let error = now(subscriber.next(soon())).expect_err("of the other colour");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    let message = runtime
        .block_on(subscriber.next(soon()))?
        .ok_or("no message")?;
    assert_eq!(message.payload.to_vec(), b"message");
    Ok(())
}
