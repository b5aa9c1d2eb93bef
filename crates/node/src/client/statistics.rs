//! What a client has done, for each node.

use proxystore_core::{Config, Counter};

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
