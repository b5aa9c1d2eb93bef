//! The operations of a connector, each carried out at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proxystore_core::{Config, Connector, Deadline, Factory, Key, Payload, Result, Segment};
use proxystore_redis::FACTORY;

use super::{Checked, now};

/// A deadline that no operation meets unless it hangs.
pub(crate) fn soon() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_mins(1))
}

pub(crate) fn open(config: &Config) -> Checked<Arc<dyn Connector>> {
    Ok(FACTORY.open(config)?)
}

pub(crate) fn put(connector: &dyn Connector, bytes: &[u8]) -> Result<Key> {
    let segments = [Segment::from(bytes)];
    now(connector.put(Payload::from(&segments), soon()))
}

pub(crate) fn set(connector: &dyn Connector, key: &Key, bytes: &[u8]) -> Result<()> {
    let segments = [Segment::from(bytes)];
    now(connector.set(key, Payload::from(&segments), soon()))
}

pub(crate) fn get(connector: &dyn Connector, key: &Key) -> Result<Option<Vec<u8>>> {
    let object = now(connector.get(key, soon()))?;
    Ok(object.map(|memory| memory.to_vec()))
}
