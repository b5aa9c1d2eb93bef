//! How a connector ends.

use proxystore_core::ErrorKind;

use super::support::{Client, expect_error};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

pub(super) fn close_is_idempotent(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let (client, other) = (Client::open(fixture)?, Client::open(fixture)?);
    client.close(Some(false))?;
    client.close(Some(false))?;
    // The second time, what came after the first is not the connector's any more.
    let key = other.put(b"object")?;
    client.close(None)?;
    other.expect(&key, b"object")?;
    other.evict(&key)?;
    Ok(Outcome::Passed)
}

pub(super) fn closed_connectors_refuse(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let (client, other) = (Client::open(fixture)?, Client::open(fixture)?);
    let key = other.put(b"object")?;
    client.close(Some(false))?;
    let refused = |result, what: &str| {
        let what = format!("{what} after close");
        expect_error(result, ErrorKind::Closed, &what).map(drop)
    };
    refused(client.put(b"object").map(drop), "put")?;
    refused(client.put_batch(&[b"object"]).map(drop), "put_batch")?;
    refused(client.get(&key).map(drop), "get")?;
    let keys = std::slice::from_ref(&key);
    refused(client.get_batch(keys).map(drop), "get_batch")?;
    refused(client.exists(&key).map(drop), "exists")?;
    refused(client.evict(&key), "evict")?;
    if client.0.capabilities().deferrable {
        refused(client.0.new_key().map(drop), "new_key")?;
        refused(client.set(&key, b"other"), "set")?;
    }
    other.expect(&key, b"object")?;
    other.evict(&key)?;
    Ok(Outcome::Passed)
}

pub(super) fn close_without_clear_keeps_objects(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"object")?;
    client.close(Some(false))?;
    drop(client);
    let other = Client::open(fixture)?;
    other.expect(&key, b"object")?;
    other.evict(&key)?;
    Ok(Outcome::Passed)
}

pub(super) fn close_with_clear_removes_objects(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let keys = [client.put(b"object")?, client.put(b"")?];
    client.close(Some(true))?;
    let other = Client::open(fixture)?;
    for key in &keys {
        other.expect_none(key, "after close with clear")?;
    }
    // The storage can be used again.
    let key = other.put(b"object")?;
    other.expect(&key, b"object")?;
    other.evict(&key)?;
    Ok(Outcome::Passed)
}

pub(super) fn dropping_removes_nothing(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"object")?;
    drop(client);
    let other = Client::open(fixture)?;
    other.expect(&key, b"object")?;
    other.evict(&key)?;
    Ok(Outcome::Passed)
}

pub(super) fn close_spares_what_is_not_owned(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    client.put(b"object")?;
    let Some(still_there) = fixture.plant() else {
        return Ok(Outcome::Untestable("plant"));
    };
    ensure!(still_there(), "what the fixture planted is not there");
    client.close(Some(true))?;
    ensure!(
        still_there(),
        "close destroyed what the connector does not own"
    );
    Ok(Outcome::Passed)
}
