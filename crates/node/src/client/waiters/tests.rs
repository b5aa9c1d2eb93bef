//! Whoever leaves, somebody leads.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
};

use proptest::prelude::*;

use super::*;

/// Notes whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// What an operation does next, by its number among those that are there.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    Leave(usize),
    /// It looks whether it leads, and sleeps unless it does.
    Look {
        at: usize,
        writing: bool,
    },
    /// The leader reads something that concerns another.
    Wake(usize),
    /// A sender hands over to another.
    Hand(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..8_usize;
    prop_oneof![
        2 => Just(Step::Enter),
        2 => at.clone().prop_map(Step::Leave),
        6 => (at.clone(), any::<bool>()).prop_map(|(at, writing)| Step::Look { at, writing }),
        1 => at.clone().prop_map(Step::Wake),
        1 => at.prop_map(Step::Hand),
    ]
}

/// An operation, and whether it will look again by itself.
struct Operation {
    id: WaiterId,
    flag: Arc<Flag>,
    asleep: bool,
}

impl Operation {
    fn will_look(&self) -> bool {
        !self.asleep || self.flag.0.load(Ordering::Acquire)
    }
}

proptest! {
    /// Whoever sleeps has somebody who reads for it, or is about to look: leadership is never
    /// lost, whoever leaves and in whatever order.
    #[test]
    fn somebody_leads_or_is_about_to(steps in prop::collection::vec(step(), 1..80)) {
        let mut waiters = Waiters::new(false);
        let mut operations: Vec<Operation> = Vec::new();
        for step in steps {
            let mut wakers = Wakers::default();
            let count = operations.len().max(1);
            match step {
                Step::Enter => operations.push(Operation {
                    id: waiters.enter(),
                    flag: Arc::default(),
                    asleep: false,
                }),
                Step::Leave(at) if at < operations.len() => {
                    waiters.leave(operations.remove(at).id, &mut wakers);
                }
                Step::Look { at, writing } if !operations.is_empty() => {
                    let operation = &mut operations[at % count];
                    operation.flag.0.store(false, Ordering::Release);
                    let park = Park { writing, ..Park::default() };
                    let waker = Waker::from(Arc::clone(&operation.flag));
                    // A leader sleeps in the socket.
                    waiters.lead(operation.id);
                    let context = Context::from_waker(&waker);
                    operation.asleep = waiters.park(operation.id, park, &context);
                }
                Step::Wake(at) if !operations.is_empty() => {
                    let id = operations[at % count].id;
                    waiters.waiter(id).rouse(&mut wakers);
                }
                Step::Hand(at) if !operations.is_empty() && waiters.has_leader() => {
                    let id = operations[at % count].id;
                    waiters.hand_to(id, &mut wakers);
                }
                _ => {}
            }
            drop(wakers);
            let leads = |operation: &Operation| waiters.is_leader(operation.id);
            let sleeps = operations.iter().any(|operation| !operation.will_look());
            let is_read = operations.iter().any(leads);
            let is_looked = operations.iter().any(Operation::will_look);
            prop_assert!(!sleeps || is_read || is_looked);
            prop_assert!(!waiters.has_leader() || is_read, "one that has left leads");
            // Places are not shared.
            let places: HashSet<_> = operations.iter().map(|operation| operation.id.0).collect();
            prop_assert_eq!(places.len(), operations.len());
        }
    }
}

#[test]
fn those_that_a_waker_reaches_at_once_come_first() {
    let mut waiters = Waiters::new(false);
    let ids: Vec<_> = (0..3).map(|_| waiters.enter()).collect();
    assert!(waiters.lead(ids[0]));
    let flags: Vec<_> = (0..3).map(|_| Arc::<Flag>::default()).collect();
    for (index, writing) in [(1, true), (2, false)] {
        let waker = Waker::from(Arc::clone(&flags[index]));
        let park = Park {
            writing,
            ..Park::default()
        };
        assert!(waiters.park(ids[index], park, &Context::from_waker(&waker)));
    }
    let mut wakers = Wakers::default();
    waiters.leave(ids[0], &mut wakers);
    drop(wakers);
    let woken = flags.iter().map(|flag| flag.0.load(Ordering::Acquire));
    assert_eq!(woken.collect::<Vec<_>>(), [false, false, true]);
    assert!(waiters.is_leader(ids[2]));
}
