//! Several objects at once.

use proxystore_core::ErrorKind;

use super::support::{Client, expect_error, expect_object};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

pub(super) fn batches_keep_their_order(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    ensure!(client.put_batch(&[])?.is_empty(), "an empty batch has keys");
    ensure!(
        client.get_batch(&[])?.is_empty(),
        "an empty batch has objects"
    );
    let objects: Vec<Vec<u8>> = (0..20_u8).map(|len| vec![len; len.into()]).collect();
    let slices: Vec<_> = objects.iter().map(Vec::as_slice).collect();
    let mut keys = client.put_batch(&slices)?;
    ensure!(keys.len() == 20, "20 objects have {} keys", keys.len());
    for (key, bytes) in keys.iter().zip(&objects) {
        client.expect(key, bytes)?;
    }
    client.evict(&keys[7])?;
    keys.reverse();
    let found = client.get_batch(&keys)?;
    ensure!(found.len() == 20, "20 keys have {} objects", found.len());
    for (index, (found, bytes)) in found.iter().zip(objects.iter().rev()).enumerate() {
        let what = format!("place {index} of a batch");
        if bytes.len() == 7 {
            ensure!(found.is_none(), "{what} holds an object that was evicted");
        } else {
            expect_object(found.as_deref(), bytes, &what)?;
        }
    }
    keys.iter().try_for_each(|key| client.evict(key))?;
    Ok(Outcome::Passed)
}

pub(super) fn failed_get_batch_names_the_key(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let good = client.put(b"good")?;
    for foreign in fixture.foreign_keys() {
        let name = foreign.to_string();
        let keys = [good.clone(), foreign, good.clone()];
        let what = format!("a batch with the key {name} in it");
        let error = expect_error(client.get_batch(&keys), ErrorKind::InvalidKey, &what)?;
        ensure!(
            error.context("key") == Some(&name),
            "the error of {what} does not name the key: {error:?}"
        );
    }
    client.evict(&good)?;
    Ok(Outcome::Passed)
}
