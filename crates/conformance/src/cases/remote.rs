//! Servers and peers.

use std::time::{Duration, Instant};

use proxystore_core::{Deadline, ErrorKind, Payload, Result, Segment};

use super::support::{Client, expect_error, finish_by};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

/// How long a stalled operation is given.
const LIMIT: Duration = Duration::from_millis(200);

/// How much later than its deadline an operation may end on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

pub(super) fn deadline_ends_operations(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"object")?;
    let mut result = Ok(());
    let stalled = fixture.while_stalled(&mut || {
        result = ended(|deadline| {
            let segments = [Segment::from(b"object")];
            let put = client.0.put(Payload::from(&segments), deadline);
            finish_by(put, later(deadline)).map(drop)
        })
        .and_then(|()| ended(|by| finish_by(client.0.get(&key, by), later(by)).map(drop)))
        .and_then(|()| ended(|by| finish_by(client.0.exists(&key, by), later(by)).map(drop)))
        .and_then(|()| ended(|by| finish_by(client.0.evict(&key, by), later(by))));
    });
    if !stalled {
        return Ok(Outcome::Untestable("while_stalled"));
    }
    result?;
    // A server that answers again is used again.
    client.evict(&key)?;
    client.expect_none(&key, "after evict")?;
    Ok(Outcome::Passed)
}

fn ended(operation: impl FnOnce(Deadline) -> Result<()>) -> Result<(), Failure> {
    let began = Instant::now();
    let result = operation(Deadline::at(began + LIMIT));
    let took = began.elapsed();
    ensure!(
        took < LIMIT + SLACK,
        "an operation with {LIMIT:?} to go took {took:?}"
    );
    let error = expect_error(result, ErrorKind::TimedOut, "an operation nobody answers")?;
    for name in ["peer", "operation"] {
        ensure!(
            error.context(name).is_some(),
            "the error of an operation nobody answers does not name the {name}: {error:?}"
        );
    }
    Ok(())
}

/// The driver's own limit, by which the connector's must have worked.
fn later(deadline: Deadline) -> Deadline {
    let later = deadline
        .instant()
        .and_then(|at| at.checked_add(SLACK + LIMIT));
    Deadline::from(later)
}

pub(super) fn lost_server_is_reconnected(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let key = client.put(b"object")?;
    if !fixture.cut_connections() {
        return Ok(Outcome::Untestable("cut_connections"));
    }
    // Whoever is in flight may fail, as whoever comes first after an idle connection was cut.
    if let Err(error) = client.get(&key) {
        ensure!(
            error.kind() == ErrorKind::Unavailable && error.is_retryable(),
            "an operation over a lost connection failed as '{}': {error:?}",
            error.kind()
        );
    }
    client.expect(&key, b"object")?;
    client.evict(&key)?;
    Ok(Outcome::Passed)
}
