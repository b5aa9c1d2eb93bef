//! The objects of a node.
//!
//! # Layout
//!
//! * [`object`]: one object.
//! * [`reservation`]: room for an object on its way; [`refusal`]: why there is none.
//! * `budget`: memory that objects may take.
//! * `spill`: objects on a disk.
//! * `revoked`: objects that are refused because they were evicted before they came.
//! * [`statistics`]: what there is, and what happened.

mod budget;
pub mod object;
pub mod refusal;
pub mod reservation;
mod revoked;
mod spill;
pub mod statistics;

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use proxystore_wire::ObjectKey;

use self::{
    budget::{Budget, Charge},
    revoked::Revoked,
    spill::Spill,
    statistics::Counters,
};
pub use self::{
    object::Object,
    refusal::Refusal,
    reservation::Reservation,
    statistics::{Kind, Statistics},
};

/// The parts of the table of objects, each under a lock of its own.
const SHARDS: usize = 64;
/// Bytes of memory that an object takes beside its own: without them a budget would be no limit for
/// small ones.
const OVERHEAD: u64 = 256;
/// Objects smaller than this are spilled together. A larger one has a file of its own, whose room on
/// the disk is free again as soon as the object is gone.
const ALONE: usize = 1 << 20;
/// From so many bytes on a file takes no more objects.
const TOGETHER: usize = 4 << 20;

/// Which object: what its key says beside the capability.
type Id = [u8; 16];

/// The objects of a node, within a budget of memory.
#[derive(Debug)]
pub struct Storage {
    shards: [Mutex<Shard>; SHARDS],
    budget: Arc<Budget>,
    disk: Option<Disk>,
    next: AtomicU64,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
struct Shard {
    objects: HashMap<Id, Arc<Object>>,
    revoked: Revoked,
}

/// Where objects go when there is no memory for them.
#[derive(Debug)]
struct Disk {
    spill: Spill,
    /// The objects in memory, in the order in which they came. Taken under the lock of a shard, never
    /// the other way round.
    order: Mutex<BTreeMap<u64, Id>>,
    /// Held by the one who makes room.
    turn: Mutex<()>,
}

impl Storage {
    /// An empty storage with a budget in bytes, and a directory for what is beyond it.
    ///
    /// # Errors
    ///
    /// If nothing can be written into the directory.
    pub fn new(budget: u64, spill: Option<PathBuf>) -> io::Result<Self> {
        let disk = match spill {
            Some(directory) => Some(Disk {
                spill: Spill::open(directory)?,
                order: Mutex::default(),
                turn: Mutex::default(),
            }),
            None => None,
        };
        Ok(Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            budget: Arc::new(Budget::new(budget)),
            disk,
            next: AtomicU64::new(0),
            counters: Counters::default(),
        })
    }

    /// Reserves memory for an object that is about to come.
    ///
    /// # Errors
    ///
    /// If it may not come, or there is no room for it. If then it [may be spilled
    /// for](Self::may_spill), [`make_room`](Self::make_room) helps.
    pub fn reserve(
        self: &Arc<Self>,
        kind: Kind,
        key: &ObjectKey,
        len: u64,
    ) -> Result<Reservation, Refusal> {
        self.admit(kind, key, len)?;
        match self.budget.take(len.saturating_add(OVERHEAD)) {
            Ok(charge) => Ok(self.reservation(kind, key, len, charge)),
            Err(available) => Err(self.full(len, available)),
        }
    }

    /// Whether objects can be written to a disk.
    #[must_use]
    pub const fn may_spill(&self) -> bool {
        self.disk.is_some()
    }

    /// Whether there will be room for so many bytes once what is on its way is here, and what is
    /// being read has been: all of that can go to the disk.
    #[must_use]
    pub fn will_have_room(&self, len: u64) -> bool {
        let objects = self.counters.objects.load(Ordering::Relaxed);
        let stays = objects.saturating_mul(OVERHEAD);
        let needed = len.saturating_add(OVERHEAD);
        self.may_spill() && stays.saturating_add(needed) <= self.budget.limit()
    }

    /// As [`reserve`](Self::reserve); writes the oldest objects to the disk as long as there is too
    /// little memory, which blocks.
    ///
    /// # Errors
    ///
    /// If it may not come, or there is no room for it on the disk either.
    pub fn make_room(
        self: &Arc<Self>,
        kind: Kind,
        key: &ObjectKey,
        len: u64,
    ) -> Result<Reservation, Refusal> {
        self.admit(kind, key, len)?;
        let needed = len.saturating_add(OVERHEAD);
        // Whoever waits for its turn may find the room made already.
        let _turn = self.disk.as_ref().map(|disk| lock(&disk.turn));
        loop {
            let available = match self.budget.take(needed) {
                Ok(charge) => return Ok(self.reservation(kind, key, len, charge)),
                Err(available) => available,
            };
            let Some(disk) = &self.disk else {
                return Err(self.full(len, available));
            };
            match self.spill_oldest(disk) {
                Ok(true) => {}
                Ok(false) => return Err(self.full(len, available)),
                Err(reason) => {
                    return Err(Refusal::Disk {
                        len,
                        budget: self.budget.limit(),
                        directory: disk.spill.directory().display().to_string(),
                        reason,
                    });
                }
            }
        }
    }

    fn admit(&self, kind: Kind, key: &ObjectKey, len: u64) -> Result<(), Refusal> {
        self.shard(key.id).admit(kind, key)?;
        let budget = self.budget.limit();
        if len.saturating_add(OVERHEAD) > budget {
            return Err(Refusal::TooLarge { len, budget });
        }
        Ok(())
    }

    fn full(&self, len: u64, available: u64) -> Refusal {
        Refusal::Full {
            len,
            budget: self.budget.limit(),
            available: available.saturating_sub(OVERHEAD),
        }
    }

    fn reservation(
        self: &Arc<Self>,
        kind: Kind,
        key: &ObjectKey,
        len: u64,
        charge: Charge,
    ) -> Reservation {
        self.counters.reserved.fetch_add(len, Ordering::Relaxed);
        Reservation {
            storage: Arc::clone(self),
            kind,
            key: *key,
            len,
            charge: Some(charge),
        }
    }

    /// Writes the oldest object in memory to the disk, and small ones that came after it; whether
    /// there was one.
    fn spill_oldest(&self, disk: &Disk) -> io::Result<bool> {
        let mut chosen: Vec<(Id, Arc<Object>)> = Vec::new();
        let mut bytes = 0;
        while bytes < TOGETHER {
            let Some((sequence, id)) = lock(&disk.order).pop_first() else {
                break;
            };
            let object = self.shard(id).objects.get(&id).map(Arc::clone);
            let Some(object) = object.filter(|object| object.sequence == sequence) else {
                continue;
            };
            // What has no bytes takes no room.
            if object.is_empty() {
                continue;
            }
            let is_alone = object.len() >= ALONE;
            if is_alone && !chosen.is_empty() {
                lock(&disk.order).insert(sequence, id);
                break;
            }
            bytes += object.len();
            chosen.push((id, object));
            if is_alone {
                break;
            }
        }
        if chosen.is_empty() {
            return Ok(false);
        }
        let objects: Vec<_> = chosen
            .iter()
            .map(|(_, object)| Arc::clone(object))
            .collect();
        let file = match disk.spill.write(&objects) {
            Ok(file) => file,
            Err(error) => {
                let names = chosen.iter().map(|(id, object)| (object.sequence, *id));
                lock(&disk.order).extend(names);
                return Err(error);
            }
        };
        drop(objects);
        let mut offset = 0;
        for (id, object) in chosen {
            let part = offset..offset + object.len();
            offset = part.end;
            let mut shard = self.shard(id);
            if let Entry::Occupied(mut entry) = shard.objects.entry(id)
                && Arc::ptr_eq(entry.get(), &object)
            {
                let charge = self.budget.take_anyway(OVERHEAD);
                let spilled = Arc::new(object.spilled(&file, part, charge));
                self.count_in(&spilled);
                self.count_out(&entry.insert(spilled));
            }
        }
        Ok(true)
    }

    /// The object, if there is one that the key opens.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Object>> {
        self.counters.count(Kind::Get);
        let shard = self.shard(key.id);
        let object = shard.objects.get(&key.id)?;
        let object = object.is_opened_by(key).then(|| Arc::clone(object))?;
        Counters::add(&self.counters.hits, 1);
        Some(object)
    }

    /// The length of an object in bytes, if there is one that the key opens.
    #[must_use]
    pub fn len(&self, key: &ObjectKey) -> Option<u64> {
        self.counters.count(Kind::Exists);
        let shard = self.shard(key.id);
        let object = shard.objects.get(&key.id)?;
        object.is_opened_by(key).then_some(object.len() as u64)
    }

    /// Sees to it that there is no such object: one that is being put does not appear either.
    ///
    /// # Errors
    ///
    /// [`Refusal::Forbidden`] if there is one that the key does not open.
    pub fn evict(&self, key: &ObjectKey, now: Instant) -> Result<(), Refusal> {
        self.counters.count(Kind::Evict);
        let mut shard = self.shard(key.id);
        let evicted = match shard.objects.entry(key.id) {
            Entry::Occupied(entry) if entry.get().is_opened_by(key) => entry.remove(),
            Entry::Occupied(_) => return Err(Refusal::Forbidden),
            Entry::Vacant(_) => {
                shard.revoked.add(key.id, now);
                return Ok(());
            }
        };
        self.forget(&evicted);
        // The bytes are given back when nobody waits for the lock.
        drop(shard);
        drop(evicted);
        Ok(())
    }

    /// Sees to it that there are no objects.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let objects = std::mem::take(&mut shard.objects);
            for object in objects.values() {
                self.forget(object);
            }
            drop(shard);
            drop(objects);
        }
    }

    /// Notes that an object is not in the table any more.
    fn forget(&self, object: &Object) {
        self.count_out(object);
        if let Some(disk) = &self.disk {
            lock(&disk.order).remove(&object.sequence);
        }
    }

    fn count_in(&self, object: &Object) {
        let counters = &self.counters;
        Counters::add(&counters.objects, 1);
        Counters::add(&counters.bytes, object.len());
        if object.is_spilled() {
            Counters::add(&counters.spilled_objects, 1);
            Counters::add(&counters.spilled_bytes, object.len());
        }
    }

    fn count_out(&self, object: &Object) {
        let counters = &self.counters;
        Counters::subtract(&counters.objects, 1);
        Counters::subtract(&counters.bytes, object.len());
        if object.is_spilled() {
            Counters::subtract(&counters.spilled_objects, 1);
            Counters::subtract(&counters.spilled_bytes, object.len());
        }
    }

    /// Counts a request that was refused.
    pub(crate) fn count_refused(&self) {
        Counters::add(&self.counters.refused, 1);
    }

    /// Counts an object of so many bytes that leaves.
    pub(crate) fn count_sent(&self, len: usize) {
        Counters::add(&self.counters.bytes_out, len);
    }

    /// What there is, and what happened.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            objects: read(&counters.objects),
            bytes: read(&counters.bytes),
            budget: self.budget.limit(),
            memory: self.budget.used(),
            memory_peak: self.budget.peak(),
            reserved: read(&counters.reserved),
            spilled_objects: read(&counters.spilled_objects),
            spilled_bytes: read(&counters.spilled_bytes),
            refused: read(&counters.refused),
            hits: read(&counters.hits),
            bytes_in: read(&counters.bytes_in),
            bytes_out: read(&counters.bytes_out),
            operations: counters.operations().collect(),
        }
    }

    fn shard(&self, id: Id) -> MutexGuard<'_, Shard> {
        // Names are random; those that are not share a lock and nothing else.
        lock(&self.shards[usize::from(id[0]) % SHARDS])
    }
}

impl Shard {
    /// Whether such an object may come.
    fn admit(&self, kind: Kind, key: &ObjectKey) -> Result<(), Refusal> {
        match self.objects.get(&key.id) {
            Some(known) if !known.is_opened_by(key) => Err(Refusal::Forbidden),
            Some(_) if kind == Kind::Put => Err(Refusal::Taken),
            None if kind == Kind::Put && self.revoked.contains(key.id, Instant::now()) => {
                Err(Refusal::Revoked)
            }
            _ => Ok(()),
        }
    }
}

/// Nothing that is done under a lock can panic half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
