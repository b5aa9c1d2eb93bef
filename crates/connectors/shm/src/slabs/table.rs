//! The slabs that a process has mapped.

use std::sync::{
    OnceLock, PoisonError, RwLock, RwLockWriteGuard,
    atomic::{AtomicUsize, Ordering},
};

use super::slab::Slab;
use crate::control::SLABS;

/// The most slabs of others that a process keeps mapped: what a process may map has a limit, and
/// views need it more.
const MOST: usize = 4096;

/// The slabs that a process has mapped, by number.
///
/// A read takes the lock of one slab, shared, and no other. Mappings are only changed when a slab
/// is seen for the first time, made anew, or gone.
#[derive(Debug)]
pub(crate) struct Table {
    /// How many slabs are mapped at most, not counting those that may not go.
    most: usize,
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    /// How many slabs are mapped.
    mapped: AtomicUsize,
    /// Where to look for one that can be given up.
    next: AtomicUsize,
}

type Slot = RwLock<Option<Slab>>;

/// Slots that are made at a time.
const CHUNK: usize = 64;

impl Default for Table {
    fn default() -> Self {
        Self::of_at_most(MOST)
    }
}

impl Table {
    fn of_at_most(most: usize) -> Self {
        let chunks = (SLABS as usize).div_ceil(CHUNK);
        Self {
            most,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            mapped: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
        }
    }

    /// What `look` answers about a slab, if it is mapped. It stays mapped meanwhile.
    pub(crate) fn with<T>(&self, number: u32, look: impl FnOnce(&Slab) -> T) -> Option<T> {
        let slot = self.slot(number)?;
        let slab = slot.read().unwrap_or_else(PoisonError::into_inner);
        slab.as_ref().map(look)
    }

    /// Keeps a slab that was mapped, unless somebody else has mapped it meanwhile.
    pub(crate) fn insert(&self, slab: Slab, may_go: impl Fn(&Slab) -> bool) {
        let Some(slot) = self.chunk(slab.number()) else {
            return;
        };
        let mut place = Self::write(slot);
        if (place.as_ref()).is_none_or(|other| other.generation() < slab.generation())
            && place.replace(slab).is_none()
        {
            self.mapped.fetch_add(1, Ordering::Relaxed);
        }
        drop(place);
        if self.mapped.load(Ordering::Relaxed) > self.most {
            self.give_up_one(may_go);
        }
    }

    /// Gives up a slab's mapping, if it is mapped as of this generation.
    pub(crate) fn remove(&self, number: u32, generation: u32) {
        if let Some(slot) = self.slot(number) {
            self.remove_if(slot, |slab| slab.generation() == generation);
        }
    }

    /// Gives up the mappings of all slabs but those that are to be kept.
    pub(crate) fn retain(&self, is_kept: impl Fn(&Slab) -> bool) {
        for slot in self.chunks.iter().filter_map(OnceLock::get).flatten() {
            let goes = |slab: &Slab| !is_kept(slab);
            let read = slot.read().unwrap_or_else(PoisonError::into_inner);
            if read.as_ref().is_some_and(goes) {
                drop(read);
                self.remove_if(slot, goes);
            }
        }
    }

    /// Gives up the next mapping that may go.
    fn give_up_one(&self, may_go: impl Fn(&Slab) -> bool) {
        for _ in 0..SLABS {
            let next = self.next.fetch_add(1, Ordering::Relaxed) % SLABS as usize;
            let slot = u32::try_from(next).ok().and_then(|next| self.slot(next));
            if slot.is_some_and(|slot| self.remove_if(slot, &may_go)) {
                return;
            }
        }
    }

    fn remove_if(&self, slot: &Slot, goes: impl Fn(&Slab) -> bool) -> bool {
        let mut place = Self::write(slot);
        let removed = place.take_if(|slab| goes(slab));
        drop(place);
        if removed.is_some() {
            self.mapped.fetch_sub(1, Ordering::Relaxed);
        }
        removed.is_some()
    }

    fn write(slot: &Slot) -> RwLockWriteGuard<'_, Option<Slab>> {
        slot.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, number: u32) -> Option<&Slot> {
        let number = number as usize;
        self.chunks.get(number / CHUNK)?.get()?.get(number % CHUNK)
    }

    /// The slot of a number, which is made if need be; none if it is no slab's.
    fn chunk(&self, number: u32) -> Option<&Slot> {
        let number = number as usize;
        let chunk = self.chunks.get(number / CHUNK)?;
        let slots = || (0..CHUNK).map(|_| Slot::default()).collect();
        chunk.get_or_init(slots).get(number % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            record::{Claim, Made},
            shape::Class,
        },
        *,
    };
    use crate::{membership::Membership, testing};

    fn slab(membership: &Membership, number: u32, generation: u32) -> Slab {
        let shape = Class::TICKETS.shape(0);
        let made = Made { shape, base: 0 };
        Slab::make(membership, number, Claim { generation, made }).expect("room")
    }

    fn mapped(table: &Table) -> Vec<(u32, u32)> {
        let as_mapped = |slab: &Slab| (slab.number(), slab.generation());
        (0..200)
            .filter_map(|number| table.with(number, as_mapped))
            .collect()
    }

    #[test]
    fn newer_slabs_replace_older_ones() {
        let directory = testing::directory();
        let options = testing::options(directory.path(), 60.0);
        let membership = Membership::join(&options).expect("a membership");
        let table = Table::default();
        for generation in [2, 1, 3, 3, 2] {
            table.insert(slab(&membership, 7, generation), |_| true);
        }
        assert_eq!(mapped(&table), [(7, 3)]);
        table.remove(7, 2);
        table.remove(8, 3);
        assert_eq!(mapped(&table), [(7, 3)]);
        table.remove(7, 3);
        assert_eq!(mapped(&table), []);
        assert_eq!(table.with(SLABS, |_| ()), None);
    }

    #[test]
    fn no_more_than_so_many_stay_mapped() {
        let directory = testing::directory();
        let options = testing::options(directory.path(), 60.0);
        let membership = Membership::join(&options).expect("a membership");
        let table = Table::of_at_most(3);
        // Those of this process stay.
        let may_go = |slab: &Slab| slab.number() >= 100;
        for number in (0..2).chain(100..150) {
            table.insert(slab(&membership, number, 1), may_go);
            assert!(mapped(&table).len() <= 3);
        }
        assert_eq!(mapped(&table)[..2], [(0, 1), (1, 1)]);
        assert_eq!(mapped(&table).len(), 3);
        table.retain(|slab| slab.number() == 1);
        assert_eq!(mapped(&table), [(1, 1)]);
        assert_eq!(table.mapped.load(Ordering::Relaxed), 1);
    }
}
