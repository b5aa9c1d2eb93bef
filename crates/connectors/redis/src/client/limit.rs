//! How long an operation may take.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use proxystore_core::Deadline;
use proxystore_runtime::{allowance, sleep_until};

use crate::error::RedisError;

/// By when an operation must have ended, and whom it waits for.
pub(crate) struct Limit {
    given: Deadline,
    timeout: Duration,
    now: Mutex<(Deadline, Arc<str>)>,
}

impl Limit {
    /// That of an operation that moves so many bytes, and waits for `peer` at first.
    pub(super) fn new(given: Deadline, timeout: Duration, bytes: u64, peer: &Arc<str>) -> Self {
        let deadline = allowance(given, timeout, bytes);
        Self {
            given,
            timeout,
            now: Mutex::new((deadline, Arc::clone(peer))),
        }
    }

    /// Gives more time, as so many bytes are about to move.
    pub(crate) fn extend(&self, bytes: u64) {
        let deadline = allowance(self.given, self.timeout, bytes);
        self.update(|(current, _)| *current = deadline);
    }

    /// Gives more time, as the server is asked to wait for so long.
    pub(crate) fn delay(&self, wait: Duration) {
        let deadline = allowance(self.given, self.timeout.saturating_add(wait), 0);
        self.update(|(current, _)| *current = deadline);
    }

    pub(super) fn waits_for(&self, peer: &Arc<str>) {
        self.update(|(_, current)| current.clone_from(peer));
    }

    pub(super) fn deadline(&self) -> Deadline {
        self.update(|(deadline, _)| *deadline)
    }

    pub(super) fn peer(&self) -> Arc<str> {
        self.update(|(_, peer)| Arc::clone(peer))
    }

    fn timed_out(&self) -> RedisError {
        RedisError::TimedOut { peer: self.peer() }
    }

    fn update<T>(&self, change: impl FnOnce(&mut (Deadline, Arc<str>)) -> T) -> T {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The outcome of `future`, unless the limit passes first, which drops the future.
pub(crate) async fn within<T>(
    limit: &Limit,
    future: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        let Some(at) = limit.deadline().instant() else {
            return Poll::Pending;
        };
        // The limit may have been extended since.
        let timer = match &mut timer {
            Some((until, timer)) if *until == at => timer,
            other => &mut other.insert((at, sleep_until(at))).1,
        };
        Pin::new(timer)
            .poll(context)
            .map(|()| Err(limit.timed_out()))
    })
    .await
}
