//! Room for an object that is on its way.

use std::sync::{Arc, atomic::Ordering};

use proxystore_memory::{Filling, Memory};
use proxystore_wire::ObjectKey;

use super::{
    Kind, Storage, budget::Charge, lock, object::Object, refusal::Refusal, statistics::Counters,
};

/// Memory that is left for an object that is on its way. Nothing of it stays if this is dropped.
#[derive(Debug)]
pub struct Reservation {
    pub(super) storage: Arc<Storage>,
    pub(super) kind: Kind,
    pub(super) key: ObjectKey,
    pub(super) len: u64,
    pub(super) charge: Option<Charge>,
}

impl Reservation {
    /// The memory for the object's bytes.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn memory(&self) -> Result<Filling, Refusal> {
        let len = usize::try_from(self.len).ok();
        let filling = len.and_then(|len| Filling::new(len).ok());
        filling.ok_or(Refusal::OutOfMemory { len: self.len })
    }

    /// Makes the object visible, in place of one that was there.
    ///
    /// # Errors
    ///
    /// If the object may not come any more.
    pub fn commit(mut self, memory: Memory, sum: u64) -> Result<(), Refusal> {
        let Some(charge) = self.charge.take() else {
            return Ok(());
        };
        let storage = &*self.storage;
        storage.counters.count(self.kind);
        Counters::add(&storage.counters.bytes_in, memory.len());
        let sequence = storage.next.fetch_add(1, Ordering::Relaxed);
        let object = Object::in_memory(self.key, sum, sequence, memory, charge);
        let mut shard = storage.shard(self.key.id);
        shard.admit(self.kind, &self.key)?;
        storage.count_in(&object);
        if let Some(disk) = &storage.disk {
            lock(&disk.order).insert(sequence, self.key.id);
        }
        let replaced = shard.objects.insert(self.key.id, Arc::new(object));
        if let Some(replaced) = &replaced {
            storage.forget(replaced);
        }
        drop(shard);
        drop(replaced);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Once nothing is reserved any more, no memory is taken for it either.
        drop(self.charge.take());
        let reserved = &self.storage.counters.reserved;
        reserved.fetch_sub(self.len, Ordering::Relaxed);
    }
}
