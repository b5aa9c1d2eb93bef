//! Deferred keys that workers set.

use std::sync::atomic::{AtomicU64, Ordering};

use proxystore_core::Key;

use super::WORKERS;
use crate::support::{
    Checked,
    client::{self, Client},
    contents::Contents,
    ensure,
};

/// A deferred key, and which of its sets every worker has begun and finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket(pub(super) &'static [AtomicU64]);

impl Ticket {
    pub(super) fn key(&self) -> Key {
        let [id, word] = [0, 1].map(|at: usize| self.0[at].load(Ordering::Relaxed));
        client::key([id, word])
    }

    pub(super) fn is_made(&self) -> bool {
        self.0[1].load(Ordering::Relaxed) > 0
    }

    fn begun(&self, worker: usize) -> &'static AtomicU64 {
        &self.0[2 + 2 * worker]
    }

    fn done(&self, worker: usize) -> &'static AtomicU64 {
        &self.0[3 + 2 * worker]
    }

    /// What a worker's operation of this number sets the object to; none if it evicts it.
    fn value(worker: usize, number: u64) -> Option<Contents> {
        const LENS: [u32; 4] = [100, 40_000, 9000, 150_000];

        let seed = u32::try_from(number << 4).ok()? | u32::try_from(worker).ok()?;
        let len = LENS[usize::try_from(number % 4).ok()?];
        (!number.is_multiple_of(7)).then_some(Contents::new(seed, len))
    }

    pub(super) fn change(&self, client: &Client, worker: usize) -> Checked {
        let number = self.begun(worker).load(Ordering::Relaxed) + 1;
        self.begun(worker).store(number, Ordering::SeqCst);
        match Self::value(worker, number) {
            Some(contents) => client.set(&self.key(), contents)?,
            None => client.evict(&self.key())?,
        }
        self.done(worker).store(number, Ordering::SeqCst);
        Ok(())
    }

    /// Gets the object, and wants it to be what a worker set last or has set since.
    pub(super) fn check(&self, client: &Client) -> Checked {
        let done: Vec<_> = (0..WORKERS)
            .map(|worker| self.done(worker).load(Ordering::SeqCst))
            .collect();
        let found = client.get(&self.key())?;
        let mut candidates = (0..WORKERS).flat_map(|worker| {
            let begun = self.begun(worker).load(Ordering::SeqCst);
            (done[worker].max(1)..=begun).map(move |number| Self::value(worker, number))
        });
        let Some(found) = found else {
            let never = done.iter().all(|&number| number == 0);
            ensure!(
                never || candidates.any(|value| value.is_none()),
                "nothing is at the deferred key {}",
                self.key()
            );
            return Ok(());
        };
        let mut first = [0; 4];
        found.copy_to(&mut first);
        let seed = u32::from_be_bytes(first);
        let value = candidates.flatten().find(|value| value.seed == seed);
        let Some(value) = value else {
            return Err(
                format!("the deferred key {} has {seed:x}, of {done:?}", self.key()).into(),
            );
        };
        value.check(&found)
    }
}
