//! The protocol under a model checker, which runs every order of its steps.
//!
//! The memory behind a segment is a cell of the checker's: it reports whoever reads what another
//! writes. Each process has a word of pins for the one segment.

use std::{
    env,
    process::Command,
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
};

use loom::{
    cell::UnsafeCell,
    model::Builder,
    sync::{Arc, Mutex, atomic::AtomicBool},
    thread,
};

use super::protocol::{self, Adopted, Fields, Recycled};
use crate::{
    control::SegmentRecord,
    membership::{MemberId, before_look, hold, is_held, let_go},
    word::{
        DamagedWord, Phase, State, Word,
        modelled::{Modelled, die_after},
    },
};

const OWNER: MemberId = MemberId(1);
const OTHER: MemberId = MemberId(2);
const THIRD: MemberId = MemberId(3);
const PROCESSES: usize = 2;
/// Files that can be behind the one record, one after the other.
const FILES: usize = 2;

/// What a process holds on to, as `Membership` counts it.
struct Process {
    /// Held while the two words change.
    standing: Mutex<()>,
    /// In the process's own memory.
    mirror: Modelled,
    /// In its pin file.
    pins: Modelled,
}

/// One segment, and all that processes know of it.
struct Shared {
    words: [Modelled; 7],
    processes: [Process; PROCESSES],
    /// What the bytes of each file say: of which generation they are.
    files: [UnsafeCell<u32>; FILES],
    /// The file that the name leads to, plus one; zero if there is none.
    name: Modelled,
    /// How many files there have been.
    made: Modelled,
    /// Who is dead, as their locks say.
    dead: [AtomicBool; 4],
    /// Written to find out who is alive.
    probe: Modelled,
}

impl Shared {
    /// A segment with an object of the first generation.
    fn new() -> Arc<Self> {
        let live = State::new(1, Phase::Live).to_word();
        Arc::new(Self {
            words: [live, OWNER.0, 1, 0, 0, 0, 0].map(Modelled::new),
            processes: [(); PROCESSES].map(|()| Process {
                standing: Mutex::new(()),
                mirror: Modelled::new(0),
                pins: Modelled::new(0),
            }),
            files: [1, 0].map(UnsafeCell::new),
            name: Modelled::new(1),
            made: Modelled::new(1),
            dead: [false; 4].map(AtomicBool::new),
            probe: Modelled::new(0),
        })
    }

    fn record(&self) -> SegmentRecord<'_, Modelled> {
        let [state, owner, len, capacity, details, ticket, put] = &self.words;
        SegmentRecord {
            state,
            owner,
            len,
            capacity,
            details,
            ticket,
            put,
        }
    }

    /// Pins as `Membership::pin` does.
    fn pin(&self, process: usize) -> Pin<'_> {
        let process = &self.processes[process];
        let _standing = process.standing.lock().expect("no defect");
        let count = process.mirror.load(Acquire) + 1;
        process.mirror.store(count, Release);
        hold(&process.pins, count);
        Pin { process }
    }

    /// Looks for pins as `Membership::is_pinned` does in the first process.
    fn is_pinned(&self) -> bool {
        before_look::<Modelled>();
        let [this, others @ ..] = &self.processes;
        this.mirror.load(Acquire) > 0 || others.iter().any(|other| is_held(&other.pins))
    }

    /// Gets the object of a generation, as a process that reads it twice.
    fn view(&self, process: usize, generation: u32) -> bool {
        let pin = || Ok::<_, DamagedWord>(self.pin(process));
        let look = |fields: &Fields| Ok((*fields, self.name.load(Acquire)));
        let found = protocol::view(&self.record(), generation, pin, look);
        let Some((pin, (fields, file))) = found.expect("no damage") else {
            return false;
        };
        assert_eq!(
            fields.len,
            u64::from(generation),
            "the fields of another object"
        );
        assert_ne!(file, 0, "the file of an object is gone");
        let file = &self.files[usize::try_from(file - 1).expect("an index")];
        for _ in 0..2 {
            // SAFETY: the checker reports a write at the same time.
            let found = file.with(|bytes| unsafe { *bytes });
            assert_eq!(found, generation, "the bytes of another object");
        }
        drop(pin);
        true
    }

    /// Writes an object into the file of the name, unless this thread's process is dead.
    fn write(&self, generation: u32) {
        let probe = self.probe.load(Acquire) + 1;
        self.probe.store(probe, Release);
        if self.probe.load(Acquire) != probe {
            return;
        }
        let file = usize::try_from(self.name.load(Relaxed) - 1).expect("an index");
        // SAFETY: the checker reports whoever else reads or writes.
        self.files[file].with_mut(|bytes| unsafe { *bytes = generation });
    }

    fn publish(&self, generation: u32) {
        let fields = Fields {
            len: u64::from(generation),
            capacity: 0,
            details: 0,
            ticket: 0,
            put: 0,
        };
        protocol::publish(&self.record(), generation, &fields);
    }

    /// Begins to use the memory of the first object again.
    fn recycle(&self) -> bool {
        let outcome = protocol::try_recycle(&self.record(), OWNER, 1, || self.is_pinned());
        outcome == Recycled::Writing(2)
    }

    fn die(&self, member: MemberId) {
        let index = usize::try_from(member.0).expect("an index");
        self.dead[index].store(true, Release);
    }

    /// Takes over what a member left, if it is dead.
    fn adopt(&self, dead: MemberId, by: MemberId) -> Option<Adopted> {
        let index = usize::try_from(dead.0).expect("an index");
        if !self.dead[index].load(Acquire) {
            return None;
        }
        let remove = || {
            self.name.store(0, Release);
            Ok::<_, DamagedWord>(())
        };
        Some(protocol::adopt(&self.record(), dead, by, remove).expect("no damage"))
    }

    fn state(&self) -> State {
        State::from_word(self.words[0].load(Acquire)).expect("no damage")
    }

    /// Puts an object into the record, if there is nothing behind it.
    fn put_fresh(&self, by: MemberId) -> bool {
        let Some(generation) = protocol::take_absent(&self.record(), by) else {
            return false;
        };
        let file = self.made.load(Acquire);
        self.made.store(file + 1, Release);
        assert_eq!(self.name.load(Acquire), 0, "there is a file already");
        self.name.store(file + 1, Release);
        self.write(generation);
        self.publish(generation);
        true
    }
}

struct Pin<'a> {
    process: &'a Process,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let _standing = self.process.standing.lock().expect("no defect");
        let count = self.process.mirror.load(Acquire) - 1;
        self.process.mirror.store(count, Release);
        let_go(&self.process.pins, count);
    }
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    check_switching(3, model);
}

/// Checks a model with at most so many switches of threads where none was due. Defects of such
/// protocols show with one or two; models that are run for every write get no more than that.
fn check_switching(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}

fn spawn<T: 'static>(
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) -> T + 'static,
) -> thread::JoinHandle<T> {
    let shared = Arc::clone(shared);
    thread::spawn(move || run(&shared))
}

#[test]
fn views_of_two_processes_and_a_recycler_in_one_of_them() {
    check(|| {
        let shared = Shared::new();
        let here = spawn(&shared, |shared| shared.view(0, 1));
        let there = spawn(&shared, |shared| shared.view(1, 1));
        assert!(protocol::evict(&shared.words[0], 1).expect("no damage"));
        if shared.recycle() {
            shared.write(2);
            shared.publish(2);
            // Nobody pins it for long who is told that the object is another.
            assert!(shared.view(0, 2));
        }
        for viewer in [here, there] {
            viewer.join().expect("no defect");
        }
    });
}

#[test]
fn two_views_in_one_process_each_keep_the_memory() {
    check(|| {
        let shared = Shared::new();
        let first = shared.pin(0);
        let state = &shared.words[0];
        assert!(protocol::is_live(state, 1).expect("no damage"));
        let second = spawn(&shared, |shared| shared.view(0, 1));
        assert!(protocol::evict(state, 1).expect("no damage"));
        // One of two views ends; the other must still count.
        assert!(!shared.recycle(), "it is pinned");
        second.join().expect("no defect");
        assert!(!shared.recycle(), "it is pinned");
        drop(first);
        assert!(shared.recycle());
    });
}

#[test]
fn one_of_many_who_evict_does() {
    check(|| {
        let shared = Shared::new();
        let evict = |shared: &Shared| protocol::evict(&shared.words[0], 1).expect("no damage");
        let other = spawn(&shared, evict);
        let here = evict(&shared);
        // Whoever it was: the object is gone, and evicting it does nothing to the next.
        assert!(shared.recycle());
        shared.write(2);
        shared.publish(2);
        assert!(here ^ other.join().expect("no defect"));
        assert!(!evict(&shared));
        assert!(shared.view(1, 2));
    });
}

#[test]
fn a_recycler_that_dies_at_any_write_is_adopted() {
    for writes in 0..=9 {
        check_switching(2, move || {
            let shared = Shared::new();
            let viewer = spawn(&shared, |shared| {
                shared.view(1, 1);
                // No half of the second object is ever seen.
                shared.view(1, 2)
            });
            let recycler = spawn(&shared, move |shared| {
                die_after(writes);
                protocol::evict(&shared.words[0], 1).expect("no damage");
                if shared.recycle() {
                    shared.write(2);
                    shared.publish(2);
                }
                shared.die(OWNER);
            });
            match shared.adopt(OWNER, OTHER) {
                None => {}
                Some(Adopted::Freed) => {
                    let last = shared.state().generation;
                    assert!(shared.put_fresh(OTHER));
                    assert!(shared.view(0, last + 1));
                }
                Some(Adopted::Live(generation)) => assert!(shared.view(0, generation)),
                Some(Adopted::NotTheirs) => panic!("nobody else adopts"),
            }
            viewer.join().expect("no defect");
            recycler.join().expect("no defect");
        });
    }
}

#[test]
fn of_two_adopters_one_frees() {
    check(|| {
        let shared = Shared::new();
        protocol::evict(&shared.words[0], 1).expect("no damage");
        shared.die(OWNER);
        let adopt = |by| {
            move |shared: &Shared| {
                let is_freed = shared.adopt(OWNER, by) == Some(Adopted::Freed);
                // Whoever is faster puts another object, whose file nobody may remove.
                let is_put = shared.put_fresh(by);
                (is_freed, is_put)
            }
        };
        let other = spawn(&shared, adopt(OTHER));
        let here = adopt(THIRD)(&shared);
        let there = other.join().expect("no defect");
        assert!(here.0 ^ there.0);
        assert!(here.1 ^ there.1);
        assert!(shared.view(0, 2));
    });
}

#[test]
fn an_adopter_that_dies_at_any_write_is_adopted() {
    for (is_evicted, writes) in (0..=4).flat_map(|writes| [(false, writes), (true, writes)]) {
        check_switching(2, move || {
            let shared = Shared::new();
            if is_evicted {
                protocol::evict(&shared.words[0], 1).expect("no damage");
            }
            shared.die(OWNER);
            let first = spawn(&shared, move |shared| {
                die_after(writes);
                shared.adopt(OWNER, OTHER);
                shared.die(OTHER);
            });
            let viewer = spawn(&shared, |shared| shared.view(1, 1));
            first.join().expect("no defect");
            // What the first did not get to is still the owner's.
            shared.adopt(OWNER, THIRD);
            shared.adopt(OTHER, THIRD);
            let owner = shared.words[1].load(Acquire);
            if is_evicted {
                assert_eq!(shared.state(), State::new(1, Phase::Absent));
                assert_eq!((owner, shared.name.load(Acquire)), (0, 0));
                assert!(shared.put_fresh(THIRD) && shared.view(0, 2));
            } else {
                assert_eq!(owner, THIRD.0);
                assert!(shared.view(0, 1));
            }
            viewer.join().expect("no defect");
        });
    }
}

#[test]
fn an_object_outlives_its_owner_and_is_evicted_meanwhile() {
    check(|| {
        let shared = Shared::new();
        shared.die(OWNER);
        let viewer = spawn(&shared, |shared| shared.view(0, 1));
        let evictor = spawn(&shared, |shared| {
            protocol::evict(&shared.words[0], 1).expect("no damage");
            shared.adopt(OWNER, THIRD);
        });
        let adopted = shared.adopt(OWNER, OTHER);
        viewer.join().expect("no defect");
        evictor.join().expect("no defect");
        match adopted {
            // It is the adopter's now, which finds it free when it looks next.
            Some(Adopted::Live(1)) => assert_eq!(shared.state().phase, Phase::Free),
            _ => assert_eq!(shared.state().phase, Phase::Absent),
        }
    });
}

/// The models that must fail with a defect of the protocol.
#[test]
fn defects_are_caught() {
    // Of the models' own, and of the checker's, when one reads what another writes.
    let complaints = ["of another object", "Causality violation"];
    for mutant in ["CheckBeforePin", "NoFence"] {
        let name = "segments::model::views_of_two_processes_and_a_recycler_in_one_of_them";
        let output = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", name, "--nocapture"])
            .env("PROXYSTORE_SHM_MUTANT", mutant)
            .output()
            .expect("it runs");
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{mutant} is not caught");
        assert!(
            complaints.iter().any(|complaint| text.contains(complaint)),
            "{mutant} fails for another reason: {text}"
        );
    }
}
