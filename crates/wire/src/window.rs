//! How much of all bodies together may be under way to this side.

use std::time::{Duration, Instant};

use crate::frame::MAX_WINDOW;

/// Round trips shorter than this are not worth a larger window: the kernel's buffers fill the time.
const SHORT: Duration = Duration::from_millis(1);

/// The least time between two measurements that changed nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// The window of the receiving side: what the peer may send before it hears that bytes were
/// consumed. It grows while a round trip takes long and everything that was allowed arrives in it.
#[derive(Debug)]
pub(crate) struct Window {
    size: u64,
    /// What the peer may still send.
    allowed: u64,
    /// Consumed, and not given back yet.
    consumed: u64,
    sample: Option<Sample>,
    next_sample: Option<Instant>,
}

#[derive(Debug)]
struct Sample {
    ping: u64,
    started: Instant,
    bytes: u64,
}

/// More bytes arrived than were allowed.
#[derive(Debug)]
pub(crate) struct Exceeded;

impl Window {
    pub(crate) fn new(size: u32) -> Self {
        let size = u64::from(size);
        Self {
            size,
            allowed: size,
            consumed: 0,
            sample: None,
            next_sample: None,
        }
    }

    /// A chunk of this length begins to arrive.
    pub(crate) fn arrives(&mut self, len: u32) -> Result<(), Exceeded> {
        self.allowed = self.allowed.checked_sub(u64::from(len)).ok_or(Exceeded)?;
        Ok(())
    }

    /// Bytes of a chunk are where they belong. Returns what to allow the peer now, if anything: it
    /// is told in quarters of the window.
    pub(crate) fn consume(&mut self, len: u64) -> Option<u64> {
        self.consumed += len;
        if let Some(sample) = &mut self.sample {
            sample.bytes += len;
        }
        (self.consumed >= self.size / 4).then(|| self.allow(self.consumed))
    }

    /// Whether a measurement should begin. The caller then sends a ping with this number.
    pub(crate) fn begin_sample(&mut self, ping: u64, now: Instant) -> bool {
        let due = self.sample.is_none()
            && self.size < u64::from(MAX_WINDOW)
            && self.next_sample.is_none_or(|next| next <= now);
        if due {
            self.sample = Some(Sample {
                ping,
                started: now,
                bytes: 0,
            });
        }
        due
    }

    /// A ping was answered, and all before it. Returns what to allow the peer on top, if the window grows.
    pub(crate) fn answered(&mut self, ping: u64, now: Instant) -> Option<u64> {
        let sample = self.sample.take_if(|sample| sample.ping <= ping)?;
        let round_trip = now.saturating_duration_since(sample.started);
        let is_full = sample.bytes >= self.size / 3 * 2;
        if round_trip < SHORT || !is_full {
            self.next_sample = now.checked_add(PAUSE.max(round_trip));
            return None;
        }
        self.next_sample = Some(now);
        let growth = self.size.min(u64::from(MAX_WINDOW) - self.size);
        self.size += growth;
        Some(self.allow(growth + self.consumed))
    }

    fn allow(&mut self, len: u64) -> u64 {
        self.consumed = 0;
        self.allowed += len;
        len
    }
}
