//! What a client has done, for each node.

use std::sync::atomic::{AtomicU64, Ordering};

use proxystore_core::Config;

/// What was done with one node.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    pub(crate) operations: Counter,
    pub(crate) failures: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) received_bytes: Counter,
    /// Connections that were made, the first ones included.
    pub(crate) connections: Counter,
    /// Connections that were lost while in use.
    pub(crate) losses: Counter,
    /// The most requests that were under way at once on one connection.
    pub(crate) most_under_way: Counter,
}

/// A number that many threads change and nothing depends on.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn raise_to(&self, value: u64) {
        if self.value() < value {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Statistics {
    pub(crate) fn to_config(&self) -> Config {
        let counters = [
            ("operations", &self.operations),
            ("failures", &self.failures),
            ("sent_bytes", &self.sent_bytes),
            ("received_bytes", &self.received_bytes),
            ("connections_total", &self.connections),
            ("connections_lost", &self.losses),
            ("requests_under_way_peak", &self.most_under_way),
        ];
        let counters = counters.into_iter();
        counters
            .map(|(name, counter)| (name, i64::try_from(counter.value()).unwrap_or(i64::MAX)))
            .collect()
    }
}
