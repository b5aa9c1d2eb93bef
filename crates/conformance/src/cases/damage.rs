//! Wrong bytes are never handed out.

use std::{
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    thread,
};

use proxystore_core::{ErrorKind, Segment};

use super::support::{Client, expect_error, pattern};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::{Damage, Fixture},
};

pub(super) fn truncated_object_is_an_error(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    damaged_object_is_an_error(fixture, Damage::Truncated)
}

pub(super) fn half_written_object_is_an_error(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    damaged_object_is_an_error(fixture, Damage::HalfWritten)
}

pub(super) fn flipped_bit_is_an_error(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    damaged_object_is_an_error(fixture, Damage::FlippedBit)
}

fn damaged_object_is_an_error(fixture: &dyn Fixture, damage: Damage) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    for len in [2, 100, 2_000_000] {
        let bytes = pattern(len, 1);
        let key = client.put(&bytes)?;
        let Some(done) = fixture.damage(&key, damage) else {
            client.evict(&key)?;
            return Ok(Outcome::Untestable("damage"));
        };
        done?;
        let what = format!("get of a damaged object ({damage:?}) of {len} bytes");
        let error = expect_error(client.get(&key), ErrorKind::Corrupted, &what)?;
        let named = error.context("key") == Some(&key.to_string());
        ensure!(
            named,
            "the error of a {what} does not name the key: {error:?}"
        );
        // It can be got rid of.
        client.evict(&key)?;
        client.expect_none(&key, "after evict of the damaged object")?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn changing_source_is_stored_whole(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let source: Vec<AtomicU8> = (0..10_000_000).map(|_| AtomicU8::new(0)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in (0..=255).cycle() {
                for byte in source.iter().step_by(64) {
                    byte.store(value, Ordering::Relaxed);
                }
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let result = [100, 300_000, 10_000_000].into_iter().try_for_each(|len| {
            let key = client.put_parts(&[Segment::from(&source[..len])])?;
            let found = client.get(&key)?.map(|bytes| bytes.len());
            ensure!(
                found == Some(len),
                "get returned {found:?} bytes, not {len}"
            );
            Ok(client.evict(&key)?)
        });
        done.store(true, Ordering::Relaxed);
        result.map(|()| Outcome::Passed)
    })
}
