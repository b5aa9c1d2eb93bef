//! When an operation must have ended.

use std::time::{Duration, Instant};

/// The instant by which an operation must have ended, if there is one.
///
/// This crate reads no clock: whoever waits passes the present time in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No limit.
    #[must_use]
    pub const fn never() -> Self {
        Self(None)
    }

    /// The operation must have ended at `instant`.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(Some(instant))
    }

    /// The instant, if there is a limit.
    #[must_use]
    pub const fn instant(&self) -> Option<Instant> {
        self.0
    }

    /// How long there is left at `now`: nothing if the deadline has passed, `None` if there is no
    /// limit.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> Option<Duration> {
        self.0.map(|instant| instant.saturating_duration_since(now))
    }

    /// Whether the deadline has passed at `now`.
    #[must_use]
    pub fn is_past(&self, now: Instant) -> bool {
        self.0.is_some_and(|instant| instant <= now)
    }
}

impl From<Option<Instant>> for Deadline {
    fn from(instant: Option<Instant>) -> Self {
        Self(instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_never_negative() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(Deadline::never().remaining(now), None);
        assert!(!Deadline::never().is_past(now));
        assert_eq!(Deadline::at(now + second).remaining(now), Some(second));
        assert!(!Deadline::at(now + second).is_past(now));
        assert_eq!(
            Deadline::at(now).remaining(now + second),
            Some(Duration::ZERO)
        );
        assert!(Deadline::at(now).is_past(now));
    }
}
