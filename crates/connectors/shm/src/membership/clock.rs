//! The time, as all processes of a host have it.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the host was started, to a few: neither memory nor this clock outlives the
/// host, and nobody sets it.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}
