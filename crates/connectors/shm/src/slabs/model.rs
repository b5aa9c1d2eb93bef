//! The protocols of cells, tickets and records, with every interleaving and every value that a load
//! may see, on the code that runs. Processes die between any two of their writes.

use std::{
    array, env,
    process::Command,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use loom::thread;

use super::{
    cell::{Cell, Damaged, Object, Seen},
    record::Record,
    shape::Class,
    ticket::Ticket,
};
use crate::{
    membership::MemberId,
    word::{
        Phase, State, Word,
        modelled::{Modelled, die_after},
    },
};

/// A cell of two words.
struct Words {
    header: [Modelled; 4],
    payload: [Modelled; 2],
}

impl Words {
    fn free() -> Arc<Self> {
        let free = State::new(0, Phase::Free).to_word();
        let mut header = [free, 0, 0, 0].into_iter();
        Arc::new(Self {
            header: array::from_fn(|_| Modelled::new(header.next().unwrap_or(0))),
            payload: array::from_fn(|_| Modelled::new(0)),
        })
    }

    fn cell(&self) -> Cell<'_, Modelled> {
        Cell::new(&self.header, &self.payload).expect("a header")
    }

    /// Puts an object that says of which generation it is; none if the cell is not free.
    fn put(&self, ticket: u64) -> Option<u32> {
        let cell = self.cell();
        let generation = cell.take()?;
        cell.fill(generation, 16, ticket, |words| {
            for word in words {
                word.store(generation.into(), Relaxed);
            }
        });
        Some(generation)
    }

    /// Gets the object of a generation, and makes sure that it is that.
    fn get(&self, generation: u32, ticket: u64) -> bool {
        let read = self.cell().read(generation, |len, words| {
            assert_eq!(len, 16);
            [words[0].load(Relaxed), words[1].load(Relaxed)]
        });
        match read {
            Ok(Seen::Present(object)) => {
                let value = [generation.into(); 2];
                assert_eq!(object, Object { value, ticket }, "wrong bytes");
                true
            }
            Ok(Seen::Past | Seen::Future) => false,
            Err(Damaged) => panic!("wrong bytes"),
        }
    }
}

/// A cell is evicted and used for the next object while somebody copies the first one.
#[test]
fn a_cell_is_used_again_while_it_is_read() {
    loom::model(|| {
        let words = Words::free();
        assert_eq!(words.put(0), Some(1));
        let owner = thread::spawn({
            let words = Arc::clone(&words);
            move || {
                words.cell().evict(1).expect("it is sound");
                assert_eq!(words.put(0), Some(2));
            }
        });
        words.get(1, 0);
        words.get(2, 0);
        owner.join().expect("the owner");
        assert!(!words.get(1, 0));
        assert!(words.get(2, 0));
    });
}

/// Runs a test of this module in a process of its own with a defect, and makes sure that it is
/// noticed.
fn is_noticed(test: &str, mutant: &str) {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program)
        .args(["--exact", test, "--test-threads=1"])
        .env("PROXYSTORE_SHM_MUTANT", mutant)
        .output()
        .expect("a process");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("1 failed") && said.contains("wrong bytes"),
        "{mutant}: {said}"
    );
}

#[test]
fn a_reader_that_does_not_look_again_is_noticed() {
    is_noticed(
        "slabs::model::a_cell_is_used_again_while_it_is_read",
        "NoRecheck",
    );
}

#[test]
fn a_missing_fence_is_noticed() {
    is_noticed(
        "slabs::model::a_cell_is_used_again_while_it_is_read",
        "NoFence",
    );
}

/// Threads of the owner put, and somebody evicts, all at once.
#[test]
fn a_cell_is_taken_by_one_thread_at_a_time() {
    loom::model(|| {
        let words = Words::free();
        let [first, second] = array::from_fn(|_| {
            let words = Arc::clone(&words);
            thread::spawn(move || words.put(0))
        });
        let evicted = words.cell().evict(1).expect("it is sound") == Seen::Present(());
        let taken = [first, second].map(|thread| thread.join().expect("a thread"));
        let mut generations: Vec<u32> = taken.into_iter().flatten().collect();
        generations.sort_unstable();
        match generations[..] {
            [1] => assert_eq!(words.get(1, 0), !evicted),
            [1, 2] => {
                assert!(evicted && !words.get(1, 0));
                assert!(words.get(2, 0));
            }
            _ => panic!("{generations:?}"),
        }
    });
}

/// The owner dies at any step of a put; somebody adopts the slab and uses the cell, while somebody
/// else reads.
#[test]
fn a_dead_owners_cell_is_adopted_while_it_is_read() {
    // Taking, two words, three of the header, publishing.
    for writes in 0..=7 {
        loom::model(move || {
            let words = Words::free();
            let reader = thread::spawn({
                let words = Arc::clone(&words);
                move || words.get(1, 0)
            });
            let owner = thread::spawn({
                let words = Arc::clone(&words);
                move || {
                    die_after(writes);
                    words.put(0);
                }
            });
            owner.join().expect("the owner");
            // Now the lock is to be had.
            assert_eq!(words.cell().abandon(), (1..7).contains(&writes));
            let put = words.put(0);
            match writes {
                0 => assert_eq!(put, Some(1)),
                1..7 => assert_eq!(put, Some(2)),
                _ => assert_eq!(put, None),
            }
            let read = reader.join().expect("the reader");
            assert!(!read || matches!(writes, 0 | 7));
            assert_eq!(words.get(1, 0), matches!(writes, 0 | 7));
            assert_eq!(words.get(2, 0), (1..7).contains(&writes));
        });
    }
}

/// A ticket, and a cell for the object of each of two setters.
struct Deferred {
    ticket: [Modelled; 2],
    objects: [Arc<Words>; 2],
}

/// The word of the ticket, as objects carry it.
const TICKET: u64 = 77;

impl Deferred {
    fn new() -> Arc<Self> {
        let free = State::new(0, Phase::Free).to_word();
        let deferred = Self {
            ticket: [Modelled::new(free), Modelled::new(0)],
            objects: array::from_fn(|_| Words::free()),
        };
        let generation = deferred.ticket().take().expect("it is free");
        deferred.ticket().publish(generation);
        for words in &deferred.objects {
            assert_eq!(words.put(TICKET), Some(1));
        }
        Arc::new(deferred)
    }

    fn ticket(&self) -> Ticket<'_, Modelled> {
        Ticket::new(&self.ticket).expect("two words")
    }

    /// How the ticket names the object of a setter: its index and generation one.
    fn word(setter: usize) -> u64 {
        setter as u64 + 1
    }

    fn object(&self, word: u64) -> Cell<'_, Modelled> {
        let index = usize::try_from(word - 1).expect("an index");
        self.objects[index].cell()
    }

    /// Sets the key, as the connector does after it has put the object: lets the ticket name it, and
    /// frees what was there before.
    fn set(&self, setter: usize) {
        let ticket = self.ticket();
        let new = Self::word(setter);
        let Ok(Seen::Present(mut current)) = ticket.target(1) else {
            panic!("the ticket is there");
        };
        loop {
            match ticket.retarget(1, current, new) {
                Ok(Seen::Present(Ok(()))) => break,
                Ok(Seen::Present(Err(other))) => current = other,
                other => panic!("{other:?}"),
            }
        }
        self.object(new).settle(1);
        if !ticket.is_named(new) {
            self.object(new).evict(1).expect("it is sound");
        }
        if current != 0 {
            self.object(current).evict(1).expect("it is sound");
        }
    }

    /// Frees the objects that the ticket does not name, of those that `is_dead` says that their
    /// setter is, and of those that it did name.
    fn adopt(&self, is_dead: impl Fn(usize) -> bool) {
        for setter in 0..2 {
            let cell = self.objects[setter].cell();
            if is_dead(setter) {
                cell.abandon();
            }
            let Some(object) = cell.describe().expect("it is sound") else {
                continue;
            };
            assert_eq!(object.ticket, TICKET);
            if !is_dead(setter) && !object.settled {
                continue;
            }
            let word = Self::word(setter);
            if self.ticket().target(1) != Ok(Seen::Present(word)) {
                cell.evict(1).expect("it is sound");
            } else if !object.settled {
                cell.settle(1);
                if !self.ticket().is_named(word) {
                    cell.evict(1).expect("it is sound");
                }
            }
        }
    }

    /// Makes sure that there is the object that is named and no other.
    fn check(&self) -> u64 {
        let Ok(Seen::Present(target)) = self.ticket().target(1) else {
            panic!("the ticket is there");
        };
        for setter in 0..2 {
            let is_there = self.objects[setter].get(1, TICKET);
            assert_eq!(is_there, target == Self::word(setter), "one object remains");
        }
        target
    }
}

#[test]
fn of_two_setters_one_object_remains() {
    loom::model(|| {
        let deferred = Deferred::new();
        let other = thread::spawn({
            let deferred = Arc::clone(&deferred);
            move || deferred.set(1)
        });
        deferred.set(0);
        other.join().expect("the other setter");
        assert_ne!(deferred.check(), 0);
    });
}

/// One of two setters dies at any step after it has put its object; what it was at is put away while
/// the other one is at work.
#[test]
fn a_setter_that_dies_leaves_one_object() {
    // The ticket, the note, the look, and the other's object.
    for writes in 0..=4 {
        loom::model(move || {
            let deferred = Deferred::new();
            let living = thread::spawn({
                let deferred = Arc::clone(&deferred);
                move || deferred.set(1)
            });
            let dying = thread::spawn({
                let deferred = Arc::clone(&deferred);
                move || {
                    die_after(writes);
                    deferred.set(0);
                }
            });
            dying.join().expect("the dying setter");
            deferred.adopt(|setter| setter == 0);
            living.join().expect("the living setter");
            assert_ne!(deferred.check(), 0);
        });
    }
}

/// Two processes claim a slab, of which one dies at any step and is adopted by the other.
#[test]
fn a_slab_has_one_owner() {
    const DYING: MemberId = MemberId(1 << 32 | 1);
    const LIVING: MemberId = MemberId(1 << 32 | 2);

    fn claim(record: &Record<'_, Modelled>, me: MemberId) -> bool {
        let shape = Class::TICKETS.shape(0);
        let Some(claim) = record.claim(me, shape) else {
            return false;
        };
        record.publish(claim.generation);
        true
    }

    // Three to claim, one to publish, two to give back.
    for writes in 0..=6 {
        loom::model(move || {
            let words: Arc<[Modelled; 3]> = Arc::new(array::from_fn(|_| Modelled::new(0)));
            let dying = thread::spawn({
                let words = Arc::clone(&words);
                move || {
                    die_after(writes);
                    let [state, owner, made] = &*words;
                    let record = Record::new(state, owner, made);
                    if claim(&record, DYING) {
                        record.withdraw(1, None);
                        record.disown();
                    }
                }
            });
            let [state, owner, made] = &*words;
            let record = Record::new(state, owner, made);
            let claimed = claim(&record, LIVING);
            dying.join().expect("the dying owner");
            if record.owner() == DYING {
                let found = record.state().expect("it is sound");
                let heir = if found.phase == Phase::Live {
                    LIVING
                } else {
                    record.withdraw(found.generation, None);
                    MemberId::NOBODY
                };
                assert!(record.inherit(DYING, heir));
                assert!(!claimed);
            }
            let found = record.state().expect("it is sound");
            let expected = match record.owner() {
                LIVING => Phase::Live,
                MemberId::NOBODY => Phase::Absent,
                owner => panic!("{owner:?}"),
            };
            assert_eq!(found.phase, expected);
            assert!(!claimed || found.phase == Phase::Live);
        });
    }
}
