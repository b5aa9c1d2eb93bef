//! Keys before their objects.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use proxystore_core::ErrorKind;

use super::support::{Client, expect_error, pattern};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

pub(super) fn deferred_object_waits_for_set(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let (client, other) = (Client::open(fixture)?, Client::open(fixture)?);
    for bytes in [&b""[..], b"object"] {
        let key = client.0.new_key()?;
        client.expect_none(&key, "before set")?;
        client.evict(&key)?;
        client.set(&key, bytes)?;
        client.expect(&key, bytes)?;
        other.expect(&key, bytes)?;
        ensure!(client.exists(&key)?, "{key} does not exist after set");
        client.evict(&key)?;
        other.expect_none(&key, "after evict")?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn set_replaces_an_object(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let (client, other) = (Client::open(fixture)?, Client::open(fixture)?);
    let key = client.0.new_key()?;
    client.set(&key, b"first")?;
    for (seed, len) in (1..).zip([100, 2_000_000, 100, 0, 5]) {
        let bytes = pattern(len, seed);
        client.set(&key, &bytes)?;
        client.expect(&key, &bytes)?;
        other.expect(&key, &bytes)?;
    }
    client.evict(&key)?;
    client.expect_none(&key, "after evict")?;
    // What was evicted can be set again.
    client.set(&key, b"again")?;
    client.expect(&key, b"again")?;
    client.evict(&key)?;
    Ok(Outcome::Passed)
}

pub(super) fn set_is_never_seen_half_done(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    const SETS: u8 = 60;

    let key = Client::open(fixture)?.0.new_key()?;
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let client = Client::open(fixture)?;
                    let mut seen = false;
                    while writing.load(Ordering::Relaxed) {
                        let found = client.get(&key)?;
                        ensure!(!seen || found.is_some(), "an object vanished during a set");
                        seen |= found.is_some();
                        whole(&found.unwrap_or_default())?;
                    }
                    Ok(())
                })
            })
            .collect();
        let writers: Vec<_> = (0..2_u8)
            .map(|writer| {
                let key = &key;
                scope.spawn(move || {
                    let client = Client::open(fixture)?;
                    for round in 0..SETS {
                        // Every object is one value, over and over, in one of three lengths.
                        let len = [1000, 70_000, 400_000][usize::from(round % 3)];
                        client.set(key, &vec![writer * SETS + round; len])?;
                    }
                    Ok(())
                })
            })
            .collect();
        let mut results: Vec<Result<(), Failure>> = Vec::new();
        let join = |result: thread::Result<_>| {
            result.unwrap_or_else(|_| Err(Failure::new("a thread panicked")))
        };
        results.extend(writers.into_iter().map(|writer| join(writer.join())));
        writing.store(false, Ordering::Relaxed);
        results.extend(readers.into_iter().map(|reader| join(reader.join())));
        results.into_iter().collect::<Result<(), _>>()
    })?;
    let client = Client::open(fixture)?;
    // However the writers raced, the last object is whole and can be had.
    whole(&client.get(&key)?.unwrap_or_default())?;
    client.evict(&key)?;
    Ok(Outcome::Passed)
}

fn whole(bytes: &[u8]) -> Result<(), Failure> {
    let first = bytes.first().copied().unwrap_or_default();
    let torn = bytes.iter().position(|byte| *byte != first);
    if let Some(index) = torn {
        return Err(Failure::new(format!(
            "an object is {first} up to byte {index} and then {}",
            bytes[index]
        )));
    }
    ensure!(
        matches!(bytes.len(), 0 | 1000 | 70_000 | 400_000),
        "an object has {} bytes, which nobody set",
        bytes.len()
    );
    Ok(())
}

pub(super) fn undeferrable_connectors_say_so(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"object")?;
    expect_error(client.0.new_key(), ErrorKind::Unsupported, "new_key")?;
    expect_error(client.set(&key, b"other"), ErrorKind::Unsupported, "set")?;
    client.expect(&key, b"object")?;
    client.evict(&key)?;
    Ok(Outcome::Passed)
}
