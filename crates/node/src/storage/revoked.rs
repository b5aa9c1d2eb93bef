//! Objects that are refused because they were evicted before they came.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::Id;

/// How many are remembered at most, so that evictions of objects that never were take little memory.
const MOST: usize = 1024;
/// How long they are remembered: longer than the minute after which the connection of a client that
/// is silent in the middle of a put is closed.
const TIME: Duration = Duration::from_mins(2);

/// The names of objects that were evicted before they were there.
///
/// A producer that lost its connection in the middle of a put evicts the object by the next one. The
/// node may read what is left of the old connection only afterwards.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    since: HashMap<Id, Instant>,
    order: VecDeque<(Id, Instant)>,
}

impl Revoked {
    pub(super) fn add(&mut self, id: Id, now: Instant) {
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

    pub(super) fn contains(&self, id: Id, now: Instant) -> bool {
        let since = self.since.get(&id);
        since.is_some_and(|&since| now.saturating_duration_since(since) < TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = [1; 16];

    #[test]
    fn names_are_remembered_for_a_while() {
        let (start, mut revoked) = (Instant::now(), Revoked::default());
        revoked.add(ID, start);
        let later = start + TIME / 2;
        revoked.add(ID, later);
        revoked.add([2; 16], start + TIME);
        assert!(revoked.contains(ID, start + TIME));
        assert!(!revoked.contains(ID, later + TIME));
        assert!(!revoked.contains([3; 16], start));
    }

    #[test]
    fn few_are_remembered() {
        let (now, mut revoked) = (Instant::now(), Revoked::default());
        for id in 0..=MOST as u128 {
            revoked.add(id.to_le_bytes(), now);
        }
        assert!(!revoked.contains(0_u128.to_le_bytes(), now));
        assert!(revoked.contains(1_u128.to_le_bytes(), now));
        assert_eq!((revoked.since.len(), revoked.order.len()), (MOST, MOST));
    }
}
