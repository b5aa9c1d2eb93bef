//! What fails leaves nothing behind.

use super::support::{Client, pattern};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

/// What there is no room for.
const LARGE: usize = 4 << 20;

pub(super) fn failed_put_leaves_nothing(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let bytes = pattern(LARGE, 1);
    let put = || client.put(&bytes);
    let outcome = leaves_nothing(fixture, "a put", &mut || put().map(drop))?;
    // With room it works again.
    client.evict(&put()?)?;
    Ok(outcome)
}

pub(super) fn failed_batch_leaves_nothing(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let bytes = pattern(LARGE, 1);
    let put = || client.put_batch(&[b"small", b"", &bytes]);
    let outcome = leaves_nothing(fixture, "a batch", &mut || put().map(drop))?;
    put()?.iter().try_for_each(|key| client.evict(key))?;
    Ok(outcome)
}

pub(super) fn failed_set_changes_nothing(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let bytes = pattern(LARGE, 1);
    let fresh = client.0.new_key()?;
    let set = |key| client.set(key, &bytes);
    let outcome = leaves_nothing(fixture, "a set", &mut || set(&fresh))?;
    if outcome == Outcome::Passed {
        client.expect_none(&fresh, "after a set that failed")?;
    }
    let key = client.0.new_key()?;
    client.set(&key, b"before")?;
    leaves_nothing(fixture, "a set", &mut || set(&key))?;
    client.expect(&key, b"before")?;
    set(&key)?;
    client.expect(&key, &bytes)?;
    client.evict(&key)?;
    Ok(outcome)
}

fn leaves_nothing(
    fixture: &dyn Fixture,
    what: &str,
    work: &mut dyn FnMut() -> proxystore_core::Result<()>,
) -> Result<Outcome, Failure> {
    let Some(before) = fixture.stored() else {
        return Ok(Outcome::Untestable("stored"));
    };
    let mut result = None;
    if !fixture.while_full(&mut || result = Some(work())) {
        return Ok(Outcome::Untestable("while_full"));
    }
    ensure!(
        matches!(result, Some(Err(_))),
        "{what} of {LARGE} bytes into a full storage gave {result:?}"
    );
    let after = fixture.stored().unwrap_or_default();
    let left: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    ensure!(left.is_empty(), "{what} that failed left behind: {left:?}");
    let lost: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
    ensure!(lost.is_empty(), "{what} that failed removed: {lost:?}");
    Ok(Outcome::Passed)
}
