//! Producers that use memory again as soon as they may, against consumers that look at it.

use std::sync::atomic::{AtomicBool, AtomicU64};

use super::*;
use crate::testing::{again, check, role};

const LEN: usize = 40_000;
/// Views that are looked at, at most.
const VIEWS: u64 = 10_000;
/// With a defect that shows once in some thousand views.
const VIEWS_WITH_DEFECT: u64 = 400_000;

/// An object of which every word says which one it is.
fn object(seed: u64) -> Vec<u8> {
    seed.to_le_bytes().repeat(LEN / 8)
}

/// The seed of an object, or none if its words say different things.
fn seed_of(view: &Memory) -> Option<u64> {
    let bytes = view.as_segment();
    let word = |at: usize| {
        let mut word = [0; 8];
        bytes.slice(at..).copy_to(&mut word);
        u64::from_le_bytes(word)
    };
    let first = word(0);
    // From the end, as producers write from the start.
    let mut places = (0..LEN / 8).step_by(64).rev().map(|index| index * 8);
    places.all(|at| word(at) == first).then_some(first)
}

/// One producer and three consumers, two of which are one process, exchange objects until a view is
/// not what its key named; how many of at most so many views were not.
fn exchange(directory: &Path, most: u64) -> u64 {
    let idle = |config: Config| config.with("idle", 3600.0);
    let producer = Member::join_with(directory, idle);
    let consumers = [(); 2].map(|()| Member::join(directory));
    // Number and generation of the newest object, and its seed.
    let newest = std::sync::Mutex::new((producer.put(&object(0)), 0));
    let (views, wrong, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let current = || *newest.lock().expect("nobody panics");
    thread::scope(|scope| {
        let consume = |member: &Member| {
            while !done.load(Ordering::Relaxed) {
                let (place, seed) = current();
                // As if the process slept before it gets what it knows of.
                thread::yield_now();
                let is_right = match member.segments.get(place.0, place.1) {
                    Ok(None) => continue,
                    Ok(Some(found)) => (0..2).all(|_| {
                        thread::yield_now();
                        seed_of(&found.object) == Some(seed)
                    }),
                    Err(_) => false,
                };
                if !is_right {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
                if !is_right || views.fetch_add(1, Ordering::Relaxed) >= most {
                    done.store(true, Ordering::Relaxed);
                }
            }
        };
        for member in [&consumers[0], &consumers[1], &consumers[1]] {
            scope.spawn(move || consume(member));
        }
        let mut seed = 0;
        while !done.load(Ordering::Relaxed) {
            seed += 1;
            let place = producer.put(&object(seed));
            let (old, _) =
                std::mem::replace(&mut *newest.lock().expect("nobody panics"), (place, seed));
            producer.evict(old);
        }
    });
    // Views held some back now and then, but memory was used again all the time.
    assert!(producer.files().len() < 12);
    wrong.into_inner()
}

#[test]
fn views_are_what_their_keys_named() {
    if let Some((_, directory)) = role() {
        assert_ne!(
            exchange(&directory, VIEWS_WITH_DEFECT),
            0,
            "the defect is not noticed"
        );
        return;
    }
    assert_eq!(exchange(directory().path(), VIEWS), 0);
    // With the defect, the same finds wrong bytes; else the above says nothing.
    let directory = directory();
    let command = &mut again("defective", directory.path());
    command.env("PROXYSTORE_SHM_MUTANT", "CheckBeforePin");
    check(&command.output().expect("it runs"));
}
