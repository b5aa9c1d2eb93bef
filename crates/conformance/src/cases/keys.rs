//! What names an object.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use proxystore_core::{ErrorKind, Key};

use super::support::{Client, expect_error};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

pub(super) fn keys_are_unique(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let (one, other) = (Client::open(fixture)?, Client::open(fixture)?);
    let mut keys = Vec::new();
    for _ in 0..50 {
        keys.push(one.put(b"same")?);
        keys.push(other.put(b"same")?);
        if one.0.capabilities().deferrable {
            keys.push(one.0.new_key()?);
        }
    }
    let unique: HashSet<_> = keys.iter().collect();
    ensure!(
        unique.len() == keys.len(),
        "{} puts made {} keys",
        keys.len(),
        unique.len()
    );
    keys.iter().try_for_each(|key| one.evict(key))?;
    Ok(Outcome::Passed)
}

pub(super) fn keys_survive_being_taken_apart(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"object")?;
    let rebuilt = Key::new(key.fields().to_vec());
    ensure!(rebuilt == key, "{rebuilt:?} differs from {key:?}");
    let hasher = RandomState::new();
    ensure!(
        hasher.hash_one(&rebuilt) == hasher.hash_one(&key),
        "equal keys {key:?} have different hashes"
    );
    client.expect(&rebuilt, b"object")?;
    client.evict(&rebuilt)?;
    client.expect_none(&key, "after evict by an equal key")?;
    Ok(Outcome::Passed)
}

pub(super) fn foreign_keys_are_refused(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let keys = fixture.foreign_keys();
    ensure!(!keys.is_empty(), "the fixture names no foreign keys");
    let before = fixture.stored();
    for key in keys {
        let refused = |result, what: &str| {
            let what = format!("{what} of the foreign key {key}");
            expect_error(result, ErrorKind::InvalidKey, &what).map(drop)
        };
        refused(client.get(&key).map(drop), "get")?;
        refused(client.exists(&key).map(drop), "exists")?;
        refused(client.evict(&key), "evict")?;
        if client.0.capabilities().deferrable {
            refused(client.set(&key, b"object"), "set")?;
        }
    }
    let after = fixture.stored();
    ensure!(
        before == after,
        "foreign keys turned {before:?} into {after:?}"
    );
    Ok(Outcome::Passed)
}
