//! Tests of slabs with real files.

mod damage;
mod deaths;
mod little_room;

use std::{collections::HashSet, fs, path::PathBuf};

use proxystore_core::{Config, payload::Seal};
use proxystore_memory::Segment;
use twox_hash::XxHash3_64;

use super::*;
use crate::testing;

/// A namespace of its own.
struct Fixture {
    directory: tempfile::TempDir,
    options: Options,
    slabs: Slabs,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = testing::directory();
        let mut config = Config::new();
        config.insert("directory", directory.path().to_string_lossy().into_owned());
        change(&mut config);
        let options = Options::parse(&config).expect("options");
        let membership = Membership::join(&options).expect("a membership");
        Self {
            directory,
            options,
            slabs: Slabs::new(membership),
        }
    }

    /// What another process would use.
    fn other(&self) -> Slabs {
        Slabs::new(Membership::join(&self.options).expect("a membership"))
    }

    fn put(&self, bytes: &[u8]) -> Reference {
        self.put_for(bytes, 0)
    }

    fn put_for(&self, bytes: &[u8], ticket: u64) -> Reference {
        let segments = [Segment::from(bytes)];
        let payload = Payload::from(&segments);
        let put = self.slabs.put(&payload, ticket, &self.options);
        put.expect("there is room")
    }

    fn files(&self) -> Vec<PathBuf> {
        files(self.slabs.membership.path())
    }
}

/// The slab files in the directory of a namespace.
pub(super) fn files(directory: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory");
    let names = entries.map(|entry| entry.expect("an entry").path());
    let is_slab = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix('c'));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    names.filter(is_slab).collect()
}

pub(super) fn cell(reference: Reference) -> (u32, u32, u32) {
    match reference.place {
        Place::Cell { slab, cell } | Place::Ticket { slab, cell } => {
            (slab, cell, reference.generation)
        }
        Place::Segment(_) => panic!("it is no cell"),
    }
}

fn get(slabs: &Slabs, reference: Reference) -> Result<Option<Vec<u8>>, ShmError> {
    let (slab, cell, generation) = cell(reference);
    let found = slabs.get(slab, cell, generation)?;
    Ok(found.map(|found| found.object.to_vec()))
}

pub(super) fn found(slabs: &Slabs, reference: Reference) -> Option<Vec<u8>> {
    get(slabs, reference).expect("it is sound")
}

fn exists(slabs: &Slabs, reference: Reference) -> bool {
    let (slab, cell, generation) = cell(reference);
    slabs
        .exists(slab, cell, generation)
        .expect("it is sound")
        .is_some()
}

fn evict(slabs: &Slabs, reference: Reference) {
    let (slab, cell, generation) = cell(reference);
    slabs.evict(slab, cell, generation).expect("it is sound");
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|index| index.to_le_bytes()[0].wrapping_mul(31).wrapping_add(seed))
        .collect()
}

#[test]
fn objects_of_all_sizes_make_the_round_trip() {
    let fixture = Fixture::new();
    let other = fixture.other();
    for len in (0..300).chain([511, 512, 513, 1023, 1500, 4095, 4096, 9999, 16383, 16384]) {
        let object = bytes(len, 7);
        let reference = fixture.put(&object);
        for slabs in [&fixture.slabs, &other] {
            assert!(exists(slabs, reference));
            assert_eq!(found(slabs, reference), Some(object.clone()), "{len}");
        }
        evict(&other, reference);
        for slabs in [&fixture.slabs, &other] {
            assert!(!exists(slabs, reference));
            assert_eq!(found(slabs, reference), None);
        }
        evict(&other, reference);
    }
}

#[test]
fn parts_are_joined() {
    let fixture = Fixture::new();
    for parts in [
        vec![0, 3, 0, 5],
        vec![7, 9, 1],
        vec![1000, 24, 1, 3000],
        vec![1; 200],
    ] {
        let parts: Vec<Vec<u8>> = (0..)
            .zip(&parts)
            .map(|(seed, &len)| bytes(len, seed))
            .collect();
        let segments: Vec<Segment<'_>> = parts.iter().map(Segment::from).collect();
        let reference = fixture
            .slabs
            .put(&Payload::new(&segments), 0, &fixture.options)
            .expect("there is room");
        assert_eq!(found(&fixture.slabs, reference), Some(parts.concat()));
    }
}

struct Sums;

impl Seal for Sums {
    fn seal(&self, sums: &[u64]) -> Vec<u8> {
        sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
    }
}

#[test]
fn an_object_is_completed_by_the_sums_of_what_is_stored() {
    let fixture = Fixture::new();
    let (head, first, second) = ([0; 16], bytes(700, 1), bytes(3, 2));
    let segments = [(&head).into(), (&first).into(), (&second).into()];
    let payload = Payload::from(&segments).with_seal(&Sums);
    let put = fixture.slabs.put(&payload, 0, &fixture.options);
    let stored = found(&fixture.slabs, put.expect("there is room")).expect("it is there");
    let sums = [XxHash3_64::oneshot(&first), XxHash3_64::oneshot(&second)];
    assert_eq!(stored[..16], Sums.seal(&sums));
    assert_eq!(stored[16..], [first, second].concat());
    // One sum too few for the head.
    let segments = [(&head).into(), Segment::from(b"abc")];
    let payload = Payload::from(&segments).with_seal(&Sums);
    let put = fixture.slabs.put(&payload, 0, &fixture.options);
    put.expect_err("its head would be cut");
}

#[test]
fn cells_are_used_again_and_old_keys_find_nothing() {
    let fixture = Fixture::new();
    let mut old = Vec::new();
    for round in 0..50_000_u32 {
        let reference = fixture.put(&round.to_le_bytes());
        evict(&fixture.slabs, reference);
        old.push(reference);
    }
    assert_eq!(fixture.files().len(), 1);
    let kept = fixture.put(b"kept");
    assert_eq!(old.iter().collect::<HashSet<_>>().len(), old.len());
    for &reference in old.iter().step_by(97) {
        assert_eq!(found(&fixture.slabs, reference), None);
        evict(&fixture.slabs, reference);
    }
    assert_eq!(found(&fixture.slabs, kept), Some(b"kept".to_vec()));
}

#[test]
fn many_objects_take_little_more_than_their_bytes() {
    let fixture = Fixture::new();
    let first = fixture.put(b"one small object");
    let len = |path: &PathBuf| fs::metadata(path).expect("a file").len();
    assert!(fixture.files().iter().map(len).sum::<u64>() <= 64 << 10);
    let references: Vec<Reference> = (0..100_000_u32)
        .map(|number| fixture.put(&bytes(100, number.to_le_bytes()[0])))
        .collect();
    let taken = fixture.files().iter().map(len).sum::<u64>();
    assert!(taken < 20 << 20, "{taken}");
    let other = fixture.other();
    for (number, &reference) in (0_u32..).zip(&references) {
        assert_eq!(
            found(&other, reference),
            Some(bytes(100, number.to_le_bytes()[0]))
        );
    }
    assert_eq!(found(&other, first), Some(b"one small object".to_vec()));
    assert_eq!(fixture.slabs.membership.bytes(), taken);
    other.clear().expect("it is sound");
    assert!(
        references
            .iter()
            .all(|&reference| !exists(&fixture.slabs, reference))
    );
    fixture
        .slabs
        .trim(std::time::Duration::ZERO)
        .expect("it is its own");
    assert_eq!(fixture.files().len(), 1, "one is kept");
    fixture.slabs.leave().expect("it is its own");
    assert_eq!(fixture.files().len(), 0);
    assert_eq!(fixture.slabs.membership.bytes(), 0);
}

#[test]
fn a_slab_that_is_made_again_revives_no_key() {
    let fixture = Fixture::new();
    let other = fixture.other();
    let mut old = Vec::new();
    for round in 0..20_u8 {
        let references: Vec<Reference> = (0..5).map(|_| fixture.put(&[round; 10])).collect();
        for &reference in &references {
            // The other one keeps what it has mapped.
            assert_eq!(found(&other, reference), Some(vec![round; 10]));
            evict(&other, reference);
        }
        old.extend(references);
        fixture.slabs.leave().expect("it is its own");
        assert_eq!(fixture.files(), [] as [PathBuf; 0]);
        for &reference in &old {
            assert_eq!(found(&other, reference), None);
            assert_eq!(found(&fixture.slabs, reference), None);
        }
    }
    assert_eq!(fixture.slabs.membership.control().slabs_end(), 1);
    other.trim(std::time::Duration::ZERO).expect("it is gone");
    assert!(other.local().table.with(0, |_| ()).is_none());
}

#[test]
fn threads_of_the_owner_put_at_once() {
    let fixture = Fixture::new();
    let references: Vec<Vec<(Reference, Vec<u8>)>> = std::thread::scope(|scope| {
        let put = |thread: u8| {
            let fixture = &fixture;
            move || {
                let mut kept = Vec::new();
                for round in 0..3_000_usize {
                    let object = bytes(round % 400, thread);
                    let reference = fixture.put(&object);
                    if round % 3 == 0 {
                        evict(&fixture.slabs, reference);
                    } else {
                        kept.push((reference, object));
                    }
                }
                kept
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(put(thread))).collect();
        let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.map(|kept| kept.expect("no panic")).collect()
    });
    let all: Vec<_> = references.into_iter().flatten().collect();
    let places: HashSet<Reference> = all.iter().map(|&(reference, _)| reference).collect();
    assert_eq!(places.len(), all.len());
    for (reference, object) in all {
        assert_eq!(found(&fixture.slabs, reference), Some(object));
    }
}

#[test]
fn a_ticket_names_one_object_after_the_other() {
    let fixture = Fixture::new();
    let other = fixture.other();
    let ticket = fixture.slabs.new_ticket().expect("there is room");
    let (slab, index, generation) = cell(ticket);
    let target = |slabs: &Slabs| slabs.target(slab, index, generation).expect("it is sound");
    assert_eq!(target(&other), Some(0));
    let first = fixture.put_for(b"first", ticket.to_word());
    let second = fixture.put_for(b"second", ticket.to_word());
    let retarget = |current, new| {
        let moved = other.retarget(slab, index, generation, current, new);
        moved.expect("it is sound")
    };
    assert_eq!(retarget(0, first.to_word()), Ok(()));
    assert_eq!(retarget(0, second.to_word()), Err(Some(first.to_word())));
    assert_eq!(retarget(first.to_word(), second.to_word()), Ok(()));
    assert_eq!(target(&fixture.slabs), Some(second.to_word()));
    assert!(!other.names(ticket.to_word(), first).expect("it is sound"));
    assert!(other.names(ticket.to_word(), second).expect("it is sound"));
    // Its owner died before it freed the first one.
    other.free_replaced().expect("it is sound");
    assert_eq!(found(&fixture.slabs, first), None);
    assert_eq!(found(&fixture.slabs, second), Some(b"second".to_vec()));
    assert_eq!(retarget(second.to_word(), 0), Ok(()));
    assert_eq!(target(&fixture.slabs), Some(0));
    // One that is not named yet may be by its owner.
    let third = fixture.put_for(b"third", ticket.to_word());
    other.free_replaced().expect("it is sound");
    assert_eq!(found(&fixture.slabs, second), None);
    assert!(exists(&fixture.slabs, third));
    fixture.slabs.clear().expect("it is sound");
    assert_eq!(target(&other), None);
    assert_eq!(retarget(0, third.to_word()), Err(None));
    let again = fixture.slabs.new_ticket().expect("there is room");
    assert_ne!(again, ticket);
    // Nothing else is a ticket, and a ticket is nothing else.
    assert_eq!(found(&other, again), None);
    let object = cell(fixture.put(b"object"));
    assert_eq!(
        other
            .target(object.0, object.1, object.2)
            .expect("it is sound"),
        None
    );
}

#[test]
fn slabs_that_are_idle_are_given_back_without_a_call() {
    let fixture = Fixture::with(|config| {
        config.insert("idle", 0.0);
    });
    let references: Vec<Reference> = (0..50).map(|_| fixture.put(&[7; 16_000])).collect();
    let kept = fixture.put(b"kept");
    assert!(fixture.files().len() > 3);
    let other = fixture.other();
    for reference in references {
        evict(&other, reference);
    }
    // One for each of the two classes.
    while fixture.files().len() > 2 {
        std::thread::yield_now();
    }
    assert_eq!(found(&other, kept), Some(b"kept".to_vec()));
    let again = fixture.put(&[8; 16_000]);
    assert_eq!(found(&other, again), Some(vec![8; 16_000]));
}
