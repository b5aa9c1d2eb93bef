//! Objects that shall not come any more.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::object::ObjectId;

/// How many are remembered at most.
const MOST: usize = 1024;
/// How long they are remembered: whoever sends one has given up by then.
const TIME: Duration = Duration::from_mins(2);

/// The names of objects that were evicted before they were there.
///
/// A producer that lost its connection in the middle of a put evicts the object by the next one. The
/// node may read what is left of the old connection only afterwards.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    since: HashMap<ObjectId, Instant>,
    order: VecDeque<(ObjectId, Instant)>,
}

impl Revoked {
    pub(super) fn add(&mut self, id: ObjectId, now: Instant) {
        while let Some(&(oldest, since)) = self.order.front() {
            if self.order.len() < MOST && now.saturating_duration_since(since) < TIME {
                break;
            }
            self.order.pop_front();
            // It may have been added again meanwhile.
            if self.since.get(&oldest) == Some(&since) {
                self.since.remove(&oldest);
            }
        }
        self.since.insert(id, now);
        self.order.push_back((id, now));
    }

    pub(super) fn contains(&self, id: ObjectId, now: Instant) -> bool {
        let since = self.since.get(&id);
        since.is_some_and(|&since| now.saturating_duration_since(since) < TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_remembered_for_a_while() {
        let (start, mut revoked) = (Instant::now(), Revoked::default());
        revoked.add(ObjectId(1), start);
        let later = start + TIME / 2;
        revoked.add(ObjectId(1), later);
        revoked.add(ObjectId(2), start + TIME);
        assert!(revoked.contains(ObjectId(1), start + TIME));
        assert!(!revoked.contains(ObjectId(1), later + TIME));
        assert!(!revoked.contains(ObjectId(3), start));
    }

    #[test]
    fn few_are_remembered() {
        let (now, mut revoked) = (Instant::now(), Revoked::default());
        for id in 0..=MOST as u128 {
            revoked.add(ObjectId(id), now);
        }
        assert!(!revoked.contains(ObjectId(0), now));
        assert!(revoked.contains(ObjectId(1), now));
        assert_eq!((revoked.since.len(), revoked.order.len()), (MOST, MOST));
    }
}
