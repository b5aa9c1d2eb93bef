//! What connectors count.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that many threads change and nothing depends on.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Makes it as large as `value`, unless it is larger.
    pub fn raise_to(&self, value: u64) {
        if self.value() < value {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// What it is now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are at once, and the most so far.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicU64,
    peak: Counter,
}

impl Gauge {
    /// One more.
    pub fn enter(&self) {
        let before = self.now.fetch_add(1, Ordering::Relaxed);
        self.peak.raise_to(before + 1);
    }

    /// One less, for each that entered.
    pub fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// The most that there were at once.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.peak.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_remember_their_peak() {
        let gauge = Gauge::default();
        gauge.enter();
        gauge.enter();
        gauge.leave();
        assert_eq!((gauge.value(), gauge.peak()), (1, 2));
        gauge.leave();
        gauge.enter();
        assert_eq!((gauge.value(), gauge.peak()), (1, 2));
    }

    #[test]
    fn counters_are_never_lowered() {
        let counter = Counter::default();
        counter.add(2);
        counter.raise_to(1);
        assert_eq!(counter.value(), 2);
        counter.raise_to(3);
        assert_eq!(counter.value(), 3);
    }
}
