//! What was done with each server.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use proxystore_core::{Config, Counter, Gauge};
use proxystore_fork::PerProcess;

/// What was done with each server, by its name. Every process counts for itself.
#[derive(Debug)]
pub(crate) struct Tally(PerProcess<Mutex<BTreeMap<Arc<str>, Arc<Statistics>>>>);

impl Tally {
    pub(crate) const fn new() -> Self {
        Self(PerProcess::new(Mutex::default))
    }

    /// What was done with one server.
    pub(crate) fn of(&self, server: &Arc<str>) -> Arc<Statistics> {
        let mut servers = self.0.lock();
        if let Some(statistics) = servers.get(server) {
            return Arc::clone(statistics);
        }
        Arc::clone(servers.entry(Arc::clone(server)).or_default())
    }

    /// A map for each server, by its name.
    pub(crate) fn to_config(&self) -> Config {
        let servers = self.0.lock();
        let servers = servers.iter();
        servers
            .map(|(name, statistics)| (&**name, statistics.to_config()))
            .collect()
    }
}

/// What was done with one server.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) operations: Counter,
    pub(crate) failures: Counter,
    /// Attempts that failed and were followed by another.
    pub(crate) retries: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) received_bytes: Counter,
    /// Connections that were made, the first ones included.
    pub(crate) connections: Counter,
    /// Connections that were lost while in use.
    pub(crate) losses: Counter,
    pub(crate) under_way: Gauge,
}

impl Statistics {
    fn to_config(&self) -> Config {
        let numbers = [
            ("operations", self.operations.value()),
            ("failures", self.failures.value()),
            ("retries", self.retries.value()),
            ("sent_bytes", self.sent_bytes.value()),
            ("received_bytes", self.received_bytes.value()),
            ("requests_under_way", self.under_way.value()),
            ("requests_under_way_peak", self.under_way.peak()),
            ("connections_total", self.connections.value()),
            ("connections_lost", self.losses.value()),
        ];
        let numbers = numbers.into_iter();
        numbers
            .map(|(name, number)| (name, i64::try_from(number).unwrap_or(i64::MAX)))
            .collect()
    }
}

/// One request that is under way, as long as this lives.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Statistics>);

impl UnderWay {
    pub(crate) fn new(statistics: &Arc<Statistics>) -> Self {
        statistics.under_way.enter();
        Self(Arc::clone(statistics))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.leave();
    }
}
