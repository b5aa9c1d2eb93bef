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
    /// The shortest round trip that was measured. A peer that was busy, or had nobody who reads,
    /// answers late, which says nothing about the path.
    round_trip: Duration,
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
            round_trip: Duration::MAX,
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
        let passed = now.saturating_duration_since(sample.started);
        self.round_trip = self.round_trip.min(passed);
        let is_full = sample.bytes >= self.size / 3 * 2;
        if self.round_trip < SHORT || !is_full {
            self.next_sample = now.checked_add(PAUSE);
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

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 1 << 20;

    /// Lets a whole window arrive between a ping and its answer.
    fn sample(window: &mut Window, ping: u64, asked: Instant, answered: Instant) -> Option<u64> {
        assert!(window.begin_sample(ping, asked));
        for _ in 0..4 {
            window.arrives(SIZE / 4).expect("within the window");
            window.consume(u64::from(SIZE / 4));
        }
        window.answered(ping, answered)
    }

    #[test]
    fn a_long_path_widens_it_and_a_late_answer_does_not() {
        let now = Instant::now();
        let millis = |number| now + Duration::from_millis(number);
        let mut window = Window::new(SIZE);
        assert_eq!(
            sample(&mut window, 1, now, millis(20)),
            Some(u64::from(SIZE))
        );

        let mut window = Window::new(SIZE);
        let soon = now + Duration::from_micros(50);
        assert_eq!(sample(&mut window, 1, now, soon), None);
        assert!(!window.begin_sample(2, soon), "it waits for a while");
        assert_eq!(sample(&mut window, 2, millis(200), millis(900)), None);
    }

    #[test]
    fn it_grows_up_to_its_limit() {
        let start = Instant::now();
        let mut window = Window::new(SIZE);
        let mut total = u64::from(SIZE);
        for number in 0..20 {
            let now = start + Duration::from_secs(number);
            if !window.begin_sample(number, now) {
                break;
            }
            let size = window.size;
            let mut left = size;
            while left > 0 {
                let chunk = u32::try_from(left.min(u64::from(SIZE))).expect("a chunk");
                window.arrives(chunk).expect("within the window");
                window.consume(u64::from(chunk));
                left -= u64::from(chunk);
            }
            let later = now + Duration::from_millis(100);
            total += window.answered(number, later).unwrap_or(0);
        }
        assert_eq!(total, u64::from(MAX_WINDOW));
        assert_eq!(window.size, u64::from(MAX_WINDOW));
    }

    #[test]
    fn more_than_was_allowed_is_noticed() {
        let mut window = Window::new(SIZE);
        assert!(window.arrives(SIZE).is_ok());
        assert!(window.arrives(1).is_err());
        assert_eq!(window.consume(10), None);
        assert_eq!(
            window.consume(u64::from(SIZE / 4)),
            Some(u64::from(SIZE / 4) + 10)
        );
        assert!(window.arrives(SIZE / 4 + 11).is_err());
        assert!(window.arrives(SIZE / 4 + 10).is_ok());
    }
}
