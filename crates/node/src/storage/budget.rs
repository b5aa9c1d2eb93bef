//! Memory that objects may take, of what their node was given.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A number of bytes, and how many of them are taken.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl Budget {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever taken at once.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Takes bytes; without an answer, so many were left, which is too few.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Result<Charge, u64> {
        let taken = self
            .used
            .try_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            });
        match taken {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(self.charge(bytes))
            }
            Err(used) => Err(self.limit.saturating_sub(used)),
        }
    }

    /// Takes bytes that are used already, and few: what is left may become less than nothing.
    pub(super) fn take_anyway(self: &Arc<Self>, bytes: u64) -> Charge {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        self.charge(bytes)
    }

    fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        Charge {
            budget: Arc::clone(self),
            bytes,
        }
    }
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let budget = Arc::new(Budget::new(100));
        let most = budget.take(60).expect("room");
        assert_eq!(budget.take(41).expect_err("too much"), 40);
        assert_eq!(budget.take(u64::MAX).expect_err("too much"), 40);
        let rest = budget.take(40).expect("room");
        assert_eq!(budget.take(1).expect_err("too much"), 0);
        let beyond = budget.take_anyway(5);
        drop((most, rest));
        assert_eq!((budget.used(), budget.peak()), (5, 100));
        drop(beyond);
        assert_eq!(budget.used(), 0);
    }
}
