//! Processes that are killed at every step, and what the others find then.

use std::{
    fs::File,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use proxystore_memory::Segment;

use super::{
    tests::{cell, files, found},
    *,
};
use crate::{
    mapped::{Inheritance, Mapped},
    membership::MemberId,
    namespace::Namespace,
    testing,
    word::Phase,
};

/// What a process has told of what it did, for when it is dead.
struct Log(Mapped);

/// What is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Told {
    /// An object was put.
    Put = 1,
    /// An object is about to be evicted.
    Evicted = 2,
    /// A deferred key was made.
    Ticket = 3,
}

impl Log {
    const LEN: usize = 1 << 16;

    fn make(directory: &Path) -> Self {
        let file = File::create_new(directory.join("log")).expect("a file");
        file.set_len(Self::LEN as u64).expect("room");
        Self::open(directory)
    }

    fn open(directory: &Path) -> Self {
        let mut options = File::options();
        let file = options.read(true).write(true).open(directory.join("log"));
        let file = file.expect("the log");
        Self(Mapped::new(file, Self::LEN, Inheritance::Private).expect("a mapping"))
    }

    fn tell(&self, told: Told, reference: Reference, seed: u8) {
        let words = self.0.words(0, Self::LEN / 8);
        let count = words[0].load(Ordering::Relaxed);
        let at = 1 + 3 * usize::try_from(count).expect("a number");
        for (word, value) in words[at..]
            .iter()
            .zip([told as u64, reference.to_word(), seed.into()])
        {
            word.store(value, Ordering::Relaxed);
        }
        words[0].store(count + 1, Ordering::Release);
    }

    fn entries(&self, wanted: Told) -> Vec<(Reference, u8)> {
        let words = self.0.words(0, Self::LEN / 8);
        let count = words[0].load(Ordering::Acquire);
        let entries = words[1..]
            .chunks(3)
            .take(usize::try_from(count).expect("a number"));
        let of = entries.filter(|entry| entry[0].load(Ordering::Relaxed) == wanted as u64);
        let entries = of.map(|entry| {
            let reference = Reference::from_word(entry[1].load(Ordering::Relaxed));
            let seed = u8::try_from(entry[2].load(Ordering::Relaxed));
            (reference.expect("a reference"), seed.expect("a seed"))
        });
        entries.collect()
    }
}

fn contents(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![seed; len];
    if let Some(first) = bytes.first_mut() {
        *first = !seed;
    }
    bytes
}

/// The lengths of objects with these seeds.
const LENGTHS: [usize; 4] = [0, 100, 5000, 16_384];

fn object(seed: u8) -> Vec<u8> {
    contents(LENGTHS[usize::from(seed) % LENGTHS.len()], seed)
}

/// A process that does a little of everything.
struct Actor<'a> {
    slabs: &'a Slabs,
    options: Options,
    log: Log,
}

impl Actor<'_> {
    fn put_for(&self, seed: u8, ticket: u64) -> Reference {
        let bytes = object(seed);
        let segments = [Segment::from(&bytes)];
        let put = self
            .slabs
            .put(&Payload::from(&segments), ticket, &self.options);
        put.expect("there is room")
    }

    fn put(&self, seed: u8) -> Reference {
        let put = self.put_for(seed, 0);
        self.log.tell(Told::Put, put, seed);
        put
    }

    fn evict(&self, reference: Reference) {
        self.log.tell(Told::Evicted, reference, 0);
        self.remove(reference);
    }

    fn remove(&self, reference: Reference) {
        let (slab, cell, generation) = cell(reference);
        self.slabs
            .evict(slab, cell, generation)
            .expect("it is sound");
    }

    fn new_ticket(&self) -> Reference {
        let ticket = self.slabs.new_ticket().expect("there is room");
        self.log.tell(Told::Ticket, ticket, 0);
        ticket
    }

    fn set(&self, ticket: Reference, seed: u8) {
        let new = self.put_for(seed, ticket.to_word());
        self.point(ticket, new.to_word());
    }

    /// As the connector does.
    fn point(&self, ticket: Reference, new: u64) {
        let (slab, cell, generation) = cell(ticket);
        let target = self.slabs.target(slab, cell, generation);
        let mut current = target.expect("it is sound").expect("it is there");
        while let Err(other) = self
            .slabs
            .retarget(slab, cell, generation, current, new)
            .expect("it is sound")
        {
            current = other.expect("it is there");
        }
        if let Some(old) = Reference::from_word(current) {
            self.remove(old);
        }
    }

    fn act(&self) {
        let kept: Vec<Reference> = (0..8).map(|seed| self.put(seed)).collect();
        self.evict(kept[1]);
        self.evict(kept[6]);
        let tickets = [self.new_ticket(), self.new_ticket(), self.new_ticket()];
        self.set(tickets[0], 11);
        self.set(tickets[0], 12);
        self.set(tickets[1], 13);
        self.point(tickets[1], 0);
        self.set(tickets[1], 14);
        // Enough of the largest for another slab.
        let many: Vec<Reference> = (0..9).map(|_| self.put(3)).collect();
        for reference in many {
            self.evict(reference);
        }
        self.slabs.trim(Duration::ZERO).expect("it is its own");
        self.evict(kept[3]);
        self.evict(kept[7]);
        self.slabs.leave().expect("it is its own");
    }
}

/// Does what a child is to do; false in the process of the test itself.
fn plays_role() -> bool {
    let Some((role, directory)) = testing::role() else {
        return false;
    };
    let options = testing::options(&directory, 60.0);
    // An heir adopts as it joins.
    let namespace = Namespace::join(&options).expect("a namespace");
    if role == "actor" {
        let slabs = &namespace.slabs;
        let log = Log::open(&directory);
        Actor {
            slabs,
            options,
            log,
        }
        .act();
    }
    true
}

fn run(role: &str, directory: &Path, point: &str, count: u32) -> Output {
    let mut command: Command = testing::again(role, directory);
    command.env("PROXYSTORE_SHM_CRASH", format!("{point}:{count}"));
    command.output().expect("a process")
}

fn was_killed(output: &Output) -> bool {
    let killed = output.status.signal() == Some(libc::SIGKILL);
    if !killed {
        testing::check(output);
    }
    killed
}

/// Joins, which adopts, and makes sure that all is in order.
fn check(directory: &Path) {
    let options = testing::options(directory, 60.0);
    let namespace = Namespace::join(&options).expect("a namespace");
    let (slabs, control) = (&namespace.slabs, namespace.membership.control());
    let log = Log::open(directory);
    let evicted = log.entries(Told::Evicted);
    let mut known = 0;
    for (reference, seed) in log.entries(Told::Put) {
        match found(slabs, reference) {
            Some(bytes) => {
                assert_eq!(bytes, object(seed), "wrong bytes");
                known += 1;
            }
            None => assert!(evicted.contains(&(reference, 0)), "it is lost"),
        }
    }
    for (ticket, _) in log.entries(Told::Ticket) {
        let (slab, index, generation) = cell(ticket);
        let target = slabs.target(slab, index, generation).expect("it is sound");
        if let Some(object) = Reference::from_word(target.expect("it is there")) {
            let bytes = found(slabs, object).expect("what is named is there");
            assert!(
                (11..=14).any(|seed| bytes == self::object(seed)),
                "wrong bytes"
            );
            known += 1;
        }
    }
    let me = namespace.membership.id();
    let (mut live, mut files_of_slabs) = (0_usize, Vec::<PathBuf>::new());
    for number in 0..control.slabs_end() {
        let record = slabs.record(number).expect("a record");
        let state = record.state().expect("it is sound");
        let owner = record.owner();
        assert!(
            matches!(owner, MemberId::NOBODY) || owner == me,
            "{owner:?}"
        );
        assert_eq!(owner == me, state.phase == Phase::Live);
        let Some(slab) = Slab::open(&namespace.membership, number).expect("it is sound") else {
            assert_eq!(state.phase, Phase::Absent);
            continue;
        };
        files_of_slabs.push(namespace.membership.path().join(slab::name(number)));
        for index in 0..slab.cells() {
            let state = slab.state_of(index).expect("it is sound");
            assert_ne!(state.phase, Phase::Writing, "{number} {index} {state:?}");
            let described = slab.cell(index).map(|cell| cell.describe());
            live += usize::from(matches!(described, Some(Ok(Some(_)))));
        }
    }
    // At most the one whose reference nobody got to know.
    assert!(
        (known..=known + 1).contains(&live),
        "{known} known, {live} live"
    );
    let mut there = files(namespace.membership.path());
    there.sort();
    files_of_slabs.sort();
    assert_eq!(there, files_of_slabs);
    // It can be used, and leaves nothing of its own behind.
    let before = slabs.membership.bytes();
    let lens = files_of_slabs
        .iter()
        .map(|path| path.metadata().expect("a file").len());
    assert_eq!(before, lens.sum::<u64>());
    let log = Log::open(directory);
    let actor = Actor {
        slabs,
        options,
        log,
    };
    actor.act();
}

#[test]
fn whatever_step_is_the_last_of_a_process_the_others_go_on() {
    if plays_role() {
        return;
    }
    for point in [
        "cell.taken",
        "cell.written",
        "cell.described",
        "cell.published",
        "cell.freed",
        "ticket.written",
        "ticket.published",
        "ticket.looked",
        "ticket.moved",
        "object.settled",
        "slab.new",
        "slab.claimed",
        "slab.writing",
        "slab.created",
        "slab.reserved",
        "slab.made",
        "slab.published",
        "slab.based",
        "slab.withdrawn",
        "slab.removed",
        "slab.disowned",
    ] {
        let mut killed = 0;
        for count in (1..).take(if point.starts_with("cell") { 30 } else { 8 }) {
            let directory = testing::directory();
            Log::make(directory.path());
            let output = run("actor", directory.path(), point, count);
            killed += u32::from(was_killed(&output));
            check(directory.path());
            if !was_killed(&output) {
                break;
            }
        }
        assert!(killed > 0, "{point} is no step");
    }
}

#[test]
fn whatever_step_is_the_last_of_an_heir_the_next_goes_on() {
    if plays_role() {
        return;
    }
    // What the first one leaves: a cell that it was writing, a ticket, objects that no key names, a
    // slab that it was making or giving back.
    for (first, nth) in [
        ("cell.described", 3),
        ("ticket.written", 2),
        ("ticket.looked", 1),
        ("ticket.moved", 2),
        ("object.settled", 2),
        ("slab.made", 2),
        ("slab.withdrawn", 1),
    ] {
        for point in [
            "cell.abandoned",
            "orphan.found",
            "cell.freed",
            "slab.withdrawn",
            "slab.removed",
            "slab.inherited",
            "adopt.slabs",
        ] {
            for count in 1..=2 {
                let directory = testing::directory();
                Log::make(directory.path());
                assert!(
                    was_killed(&run("actor", directory.path(), first, nth)),
                    "{first}"
                );
                was_killed(&run("heir", directory.path(), point, count));
                check(directory.path());
            }
        }
    }
}
