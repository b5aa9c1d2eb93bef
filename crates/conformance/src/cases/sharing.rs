//! Threads, tasks and processes.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use proxystore_core::{Payload, Segment};

use super::support::{Client, expect_object, finish, pattern, soon};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::{Elsewhere, Fixture},
};

pub(super) fn put_is_visible_to_others(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let (one, other) = (Client::open(fixture)?, Client::open(fixture)?);
    for (seed, len) in (1..).zip([0, 100, 2_000_000]) {
        let bytes = pattern(len, seed);
        let key = one.put(&bytes)?;
        other.expect(&key, &bytes)?;
        other.evict(&key)?;
        one.expect_none(&key, "after evict by another connector")?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn put_is_visible_in_other_processes(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    elsewhere(fixture, Elsewhere::Process)
}

pub(super) fn forked_children_share_a_connector(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    elsewhere(fixture, Elsewhere::Fork)
}

fn elsewhere(fixture: &dyn Fixture, elsewhere: Elsewhere) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let mut last = None;
    for (seed, len) in (1..).zip([0, 100, 2_000_000]) {
        let bytes = pattern(len, seed);
        let key = client.put(&bytes)?;
        let Some(found) = fixture.get_elsewhere(&*client.0, &key, elsewhere) else {
            client.evict(&key)?;
            return Ok(Outcome::Untestable("get_elsewhere"));
        };
        let what = format!("get in another process ({elsewhere:?})");
        expect_object(found?.as_deref(), &bytes, &what)?;
        // The other process has taken nothing with it.
        client.expect(&key, &bytes)?;
        client.evict(&key)?;
        last = Some(key);
    }
    if let Some(key) = last {
        let found = fixture.get_elsewhere(&*client.0, &key, elsewhere);
        let found = found.transpose()?.flatten();
        ensure!(
            found.is_none(),
            "another process gets an object that was evicted"
        );
    }
    Ok(Outcome::Passed)
}

pub(super) fn configuration_opens_the_storage(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"object")?;
    let config = client.0.config();
    let other = Client(fixture.reopen(&config)?);
    other.expect(&key, b"object")?;
    let again = other.0.config();
    ensure!(
        again == config,
        "the configuration {config:?} became {again:?} when it was opened"
    );
    client.evict(&key)?;
    Ok(Outcome::Passed)
}

pub(super) fn threads_share_a_connector(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let shared = client.put(&pattern(10_000, 99))?;
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=8_u64)
            .map(|thread| {
                let (client, shared) = (&client, &shared);
                scope.spawn(move || {
                    for round in 0..20 {
                        let len = usize::try_from(thread * 1000 + round).unwrap_or(1000);
                        let bytes = pattern(len, thread * 100 + round);
                        let key = client.put(&bytes)?;
                        client.expect(&key, &bytes)?;
                        client.expect(shared, &pattern(10_000, 99))?;
                        client.evict(&key)?;
                        client.expect_none(&key, "after evict")?;
                    }
                    Ok(())
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| {
            let result = thread.join();
            result.unwrap_or_else(|_| Err(Failure::new("a thread panicked")))
        });
        results.collect::<Result<(), Failure>>()
    })?;
    client.evict(&shared)?;
    Ok(Outcome::Passed)
}

pub(super) fn tasks_share_a_connector(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let (first, second) = (pattern(1000, 1), pattern(1000, 2));
    let segments = [[Segment::from(&first)], [Segment::from(&second)]];
    let deadline = soon();
    // Begun in one order, finished in the other, on another thread.
    let one = client.0.put(Payload::from(&segments[0]), deadline);
    let other = client.0.put(Payload::from(&segments[1]), deadline);
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(move || finish(other));
        let other = other.join();
        let other = other.map_err(|_| Failure::new("a thread panicked"));
        Ok::<_, Failure>((finish(one)?, other??))
    })?;
    client.expect(&one, &first)?;
    client.expect(&other, &second)?;
    {
        // A task that is cancelled: polled once at most, and dropped.
        let runtime = proxystore_runtime::shared::handle()?;
        let _within = runtime.enter();
        let mut begun = pin!(client.0.get(&one, deadline));
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(result) = begun.as_mut().poll(&mut context) {
            result?;
        }
        drop(client.0.get(&other, deadline));
    }
    client.expect(&one, &first)?;
    client.evict(&one)?;
    client.evict(&other)?;
    Ok(Outcome::Passed)
}
