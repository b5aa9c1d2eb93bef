//! What a node keeps, in a few lines.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use proxystore_wire::{
    ObjectKey,
    message::{Mode, Refusal},
};

#[derive(Debug)]
pub(crate) struct Stored {
    capability: [u8; 16],
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) sum: u64,
}

/// All objects, within a budget.
#[derive(Debug)]
pub(crate) struct Storage {
    objects: HashMap<[u8; 16], Stored>,
    /// Ids that were evicted before they were put.
    barred: HashSet<[u8; 16]>,
    budget: usize,
    used: usize,
}

impl Storage {
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            objects: HashMap::new(),
            barred: HashSet::new(),
            budget,
            used: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        let stored = self.objects.drain();
        self.used -= stored.map(|(_, stored)| stored.bytes.len()).sum::<usize>();
    }

    pub(crate) fn reserve(&mut self, len: u64) -> bool {
        let Ok(len) = usize::try_from(len) else {
            return false;
        };
        let fits = self
            .budget
            .checked_sub(self.used)
            .is_some_and(|left| len <= left);
        self.used += if fits { len } else { 0 };
        fits
    }

    pub(crate) fn release(&mut self, len: usize) {
        self.used -= len;
    }

    /// Stores what was reserved.
    pub(crate) fn commit(
        &mut self,
        key: &ObjectKey,
        mode: Mode,
        bytes: Vec<u8>,
        sum: u64,
    ) -> Result<(), Refusal> {
        let len = bytes.len();
        let stored = Stored {
            capability: key.capability,
            bytes: Arc::new(bytes),
            sum,
        };
        let old = self.objects.get(&key.id);
        let is_free = match mode {
            Mode::New => old.is_none() && !self.barred.contains(&key.id),
            Mode::Replace => old.is_none_or(|old| old.capability == key.capability),
        };
        if !is_free {
            self.release(len);
            return Err(Refusal::Forbidden);
        }
        if let Some(old) = self.objects.insert(key.id, stored) {
            self.release(old.bytes.len());
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Stored> {
        let stored = self.objects.get(&key.id)?;
        (stored.capability == key.capability).then_some(stored)
    }

    pub(crate) fn evict(&mut self, key: &ObjectKey) {
        if !self.objects.contains_key(&key.id) {
            self.barred.insert(key.id);
        }
        if self.get(key).is_some()
            && let Some(old) = self.objects.remove(&key.id)
        {
            self.release(old.bytes.len());
        }
    }

    pub(crate) fn holds(&self, key: &ObjectKey) -> Option<&[u8]> {
        self.get(key).map(|stored| stored.bytes.as_slice())
    }

    /// What objects and reservations take together; and the objects alone.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let objects = self.objects.values().map(|stored| stored.bytes.len()).sum();
        (self.used, objects)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }
}
