//! What the cases are written in.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use proxystore_core::{
    CloseOptions, Connector, Deadline, Error, ErrorKind, Key, Memory, Operation, Payload, Result,
    Segment,
};
use proxystore_runtime::{Stopped, drive};

use crate::{
    case::{Failure, ensure},
    fixture::Fixture,
};

/// Whatever takes so long hangs.
const PATIENCE: Duration = Duration::from_mins(10);

pub(super) fn soon() -> Deadline {
    Deadline::at(Instant::now() + PATIENCE)
}

/// Carries an operation out.
pub(super) fn finish<T>(operation: Operation<'_, Result<T>>) -> Result<T> {
    finish_by(operation, soon())
}

pub(super) fn finish_by<T>(operation: Operation<'_, Result<T>>, deadline: Deadline) -> Result<T> {
    drive(operation, deadline, || Ok::<(), Infallible>(())).map_err(|stopped| match stopped {
        Stopped::Failed(error) => error,
        Stopped::Interrupted(never) => match never {},
    })
}

/// A connector, used from one thread as a program would.
pub(super) struct Client(pub(super) Arc<dyn Connector>);

impl Client {
    pub(super) fn open(fixture: &dyn Fixture) -> Result<Self> {
        fixture.open().map(Self)
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Result<Key> {
        let segments = [Segment::from(bytes)];
        finish(self.0.put(Payload::from(&segments), soon()))
    }

    pub(super) fn put_parts(&self, segments: &[Segment<'_>]) -> Result<Key> {
        finish(self.0.put(Payload::new(segments), soon()))
    }

    pub(super) fn put_batch(&self, objects: &[&[u8]]) -> Result<Vec<Key>> {
        let segments: Vec<_> = objects
            .iter()
            .map(|bytes| [Segment::from(*bytes)])
            .collect();
        let payloads: Vec<_> = segments.iter().map(Payload::from).collect();
        finish(self.0.put_batch(&payloads, soon()))
    }

    pub(super) fn memory(&self, key: &Key) -> Result<Option<Memory>> {
        finish(self.0.get(key, soon()))
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        Ok(self.memory(key)?.map(|memory| memory.to_vec()))
    }

    pub(super) fn get_batch(&self, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>> {
        let objects = finish(self.0.get_batch(keys, soon()))?;
        let objects = objects.into_iter();
        Ok(objects
            .map(|object| object.map(|memory| memory.to_vec()))
            .collect())
    }

    pub(super) fn exists(&self, key: &Key) -> Result<bool> {
        finish(self.0.exists(key, soon()))
    }

    pub(super) fn evict(&self, key: &Key) -> Result<()> {
        finish(self.0.evict(key, soon()))
    }

    pub(super) fn set(&self, key: &Key, bytes: &[u8]) -> Result<()> {
        let segments = [Segment::from(bytes)];
        finish(self.0.set(key, Payload::from(&segments), soon()))
    }

    pub(super) fn close(&self, clear: Option<bool>) -> Result<()> {
        finish(self.0.close(CloseOptions { clear }, soon()))
    }

    /// Wants the object to be exactly these bytes.
    pub(super) fn expect(&self, key: &Key, bytes: &[u8]) -> Result<(), Failure> {
        expect_object(self.get(key)?.as_deref(), bytes, &format!("get of {key}"))
    }

    /// Wants the object not to be there.
    pub(super) fn expect_none(&self, key: &Key, when: &str) -> Result<(), Failure> {
        let found = self.get(key)?;
        ensure!(
            found.is_none(),
            "get of {key} {when} returned {}",
            describe(found.as_deref())
        );
        ensure!(!self.exists(key)?, "{key} exists {when}");
        Ok(())
    }
}

pub(super) fn expect_object(found: Option<&[u8]>, bytes: &[u8], what: &str) -> Result<(), Failure> {
    if found == Some(bytes) {
        return Ok(());
    }
    let difference = found.and_then(|found| {
        let mut pairs = found.iter().zip(bytes);
        pairs.position(|(one, other)| one != other)
    });
    let difference = difference.map_or(String::new(), |index| {
        format!(", which differ first at byte {index}")
    });
    Err(Failure::new(format!(
        "{what} returned {} instead of {}{difference}",
        describe(found),
        describe(Some(bytes))
    )))
}

fn describe(object: Option<&[u8]>) -> String {
    match object {
        None => "none".to_owned(),
        Some(bytes) if bytes.len() <= 32 => format!("b\"{}\"", bytes.escape_ascii()),
        Some(bytes) => format!("{} bytes", bytes.len()),
    }
}

/// Wants an operation to fail in this way.
pub(super) fn expect_error<T>(
    result: Result<T>,
    kind: ErrorKind,
    what: &str,
) -> Result<Error, Failure> {
    match result {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(Failure::new(format!(
            "{what} failed as '{}' instead of '{kind}': {error:?}",
            error.kind()
        ))),
        Ok(_) => Err(Failure::new(format!(
            "{what} succeeded and should have failed as '{kind}'"
        ))),
    }
}

/// Bytes of which no two near each other are equal, different for every seed.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // The xorshift generator: fast, and no byte depends on chance.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
