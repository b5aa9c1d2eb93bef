//! What goes in comes out.

use proxystore_core::Segment;

use super::support::{Client, expect_object, pattern};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

/// Around the sizes at which connectors change from one way to another.
const SIZES: [usize; 9] = [
    1, 7, 100, 4096, 10_000, 65_536, 262_144, 1_000_000, 3_000_000,
];

pub(super) fn get_returns_what_was_put(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    for (seed, len) in (1..).zip(SIZES) {
        let bytes = pattern(len, seed);
        let key = client.put(&bytes)?;
        client.expect(&key, &bytes)?;
        // Getting does not use the object up.
        client.expect(&key, &bytes)?;
        client.evict(&key)?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn parts_are_joined(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    for lens in [
        vec![],
        vec![0, 0],
        vec![3, 0, 5],
        vec![100, 2_000_000, 1, 70_000],
        vec![2; 3000],
    ] {
        let parts: Vec<_> = (1..)
            .zip(&lens)
            .map(|(seed, len)| pattern(*len, seed))
            .collect();
        let segments: Vec<_> = parts.iter().map(Segment::from).collect();
        let key = client.put_parts(&segments)?;
        client.expect(&key, &parts.concat())?;
        client.evict(&key)?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn missing_object_is_none(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"gone soon")?;
    client.evict(&key)?;
    client.expect_none(&key, "after evict")?;
    Ok(Outcome::Passed)
}

pub(super) fn empty_object_is_an_object(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"")?;
    ensure!(client.exists(&key)?, "an empty object does not exist");
    client.expect(&key, b"")?;
    client.evict(&key)?;
    client.expect_none(&key, "after evict")?;
    Ok(Outcome::Passed)
}

pub(super) fn memory_is_private_and_writable(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    for len in [100, 2_000_000] {
        let bytes = pattern(len, 1);
        let key = client.put(&bytes)?;
        let (Some(mut mine), Some(theirs)) = (client.memory(&key)?, client.memory(&key)?) else {
            return Err(Failure::new("get of an object just put returned none"));
        };
        let mut changed = bytes.clone();
        for offset in [0, len / 2, len - 1] {
            let byte = [!changed[offset]];
            changed[offset] = byte[0];
            ensure!(mine.write_at(offset, &byte) == 1, "the memory is too short");
        }
        expect_object(Some(&mine.to_vec()), &changed, "reading what was written")?;
        expect_object(
            Some(&theirs.to_vec()),
            &bytes,
            "another get before the write",
        )?;
        client.expect(&key, &bytes)?;
        client.evict(&key)?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn memory_outlives_its_object(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let mut held = Vec::new();
    for (seed, len) in (1..).zip([100, 2_000_000]) {
        let bytes = pattern(len, seed);
        let key = client.put(&bytes)?;
        held.push((client.memory(&key)?, bytes));
        client.evict(&key)?;
        // Whoever recycles storage writes this where the object was.
        let other = client.put(&pattern(len, seed + 10))?;
        client.evict(&other)?;
    }
    client.close(Some(false))?;
    drop(client);
    for (memory, bytes) in held {
        let found = memory.map(|memory| memory.to_vec());
        expect_object(
            found.as_deref(),
            &bytes,
            "reading memory after evict and close",
        )?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn exists_agrees_with_get(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    for bytes in [&b""[..], b"x"] {
        let key = client.put(bytes)?;
        ensure!(client.exists(&key)?, "{key} does not exist after put");
        client.expect(&key, bytes)?;
        client.evict(&key)?;
        client.expect_none(&key, "after evict")?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn evict_is_idempotent(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let other = client.put(b"stays")?;
    let key = client.put(b"goes")?;
    for _ in 0..3 {
        client.evict(&key)?;
        client.expect_none(&key, "after evict")?;
    }
    client.expect(&other, b"stays")?;
    client.evict(&other)?;
    Ok(Outcome::Passed)
}
