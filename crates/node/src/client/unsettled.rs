//! Objects that may have been stored by puts that failed, or were given up.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use proxystore_runtime::{Colour, colour, generation};
use proxystore_wire::ObjectKey;

use super::peers::Peer;

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

/// Puts of new objects that have not ended. Dropped before they have, what they stored is removed:
/// some of several may be stored already, and so may one whose answer nobody has looked at.
pub(crate) struct Unfinished<'k> {
    peer: &'k Peer,
    keys: &'k [ObjectKey],
    colour: Colour,
    generation: u64,
}

impl<'k> Unfinished<'k> {
    /// Puts of these objects, which are about to begin.
    pub(crate) fn new(peer: &'k Peer, keys: &'k [ObjectKey]) -> Self {
        Self {
            peer,
            keys,
            colour: colour(),
            generation: generation(),
        }
    }

    /// They have ended: whoever waited for them knows what is stored.
    pub(crate) fn end(mut self) {
        self.keys = &[];
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // The connections that a forked child inherits are the parent's, and so are these puts.
        if !self.keys.is_empty() && self.generation == generation() {
            self.peer.remove(self.colour, self.keys);
        }
    }
}

impl fmt::Debug for Unfinished<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Unfinished")
            .field("count", &self.keys.len())
            .finish_non_exhaustive()
    }
}
