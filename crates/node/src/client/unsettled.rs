//! Objects that may have been stored by puts that failed.

use std::sync::{Mutex, PoisonError};

use proxystore_wire::ObjectKey;

/// The most objects that are remembered to be removed from a node that cannot be reached.
const MOST: usize = 4096;

/// Objects that may have been stored at a node by puts that failed as their connection was lost. The
/// next connection to that node removes them, whatever it is made for.
#[derive(Debug, Default)]
pub(crate) struct Unsettled(Mutex<Vec<ObjectKey>>);

impl Unsettled {
    pub(crate) fn add(&self, keys: impl Iterator<Item = ObjectKey>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MOST.saturating_sub(known.len());
        known.extend(keys.take(room));
    }

    pub(crate) fn take(&self) -> Vec<ObjectKey> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut known)
    }
}
