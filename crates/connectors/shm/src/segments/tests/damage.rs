//! What becomes of objects whose records or files somebody has damaged.

use std::{fs::OpenOptions, os::unix::fs::symlink, sync::atomic::AtomicU64};

use super::*;

const LEN: usize = 300_000;

/// The words of a segment's record, in order.
fn words(member: &Member, number: u32) -> [&AtomicU64; 7] {
    let record = member.segments.shared.record(number).expect("a record");
    [
        record.state,
        record.owner,
        record.len,
        record.capacity,
        record.details,
        record.ticket,
        record.put,
    ]
}

/// What each way of asking for an object says.
fn asked(
    member: &Member,
    (number, generation): (u32, u32),
) -> [Result<Option<Vec<u8>>, ShmError>; 3] {
    let bytes = |found: Option<Found<Memory>>| found.map(|found| found.object.to_vec());
    let segments = &member.segments;
    let exists = segments.exists(number, generation);
    [
        segments.get(number, generation).map(bytes),
        segments.get_copy(number, generation).map(bytes),
        exists.map(|found| found.map(|_| Vec::new())),
    ]
}

fn is_corrupted<T>(outcome: &Result<T, ShmError>) -> bool {
    matches!(outcome, Err(ShmError::Corrupted { .. }))
}

#[test]
fn every_flipped_byte_of_a_record_is_noticed_or_does_no_harm() {
    let directory = directory();
    let (producer, consumer) = (
        Member::join(directory.path()),
        Member::join(directory.path()),
    );
    let object = bytes(LEN, 1);
    let place = producer.put(&object);
    let words = words(&consumer, place.0);
    for (index, word) in words.iter().enumerate() {
        for (byte, flip) in (0..8).flat_map(|byte| [(byte, 0xff), (byte, 1), (byte, 0x80)]) {
            let before = word.fetch_xor(flip << (8 * byte), Ordering::SeqCst);
            let [view, copy, exists] = asked(&consumer, place);
            if index == 1 {
                // Whose it is does not change what it is.
                for found in [view, copy] {
                    assert!(found.expect("no damage").expect("an object") == object);
                }
                assert!(exists.expect("no damage").is_some());
            } else {
                assert!(
                    is_corrupted(&view),
                    "word {index}, byte {byte}: {:?}",
                    view.map(drop)
                );
                assert!(is_corrupted(&copy) && is_corrupted(&exists));
            }
            word.store(before, Ordering::SeqCst);
            assert!(consumer.get(place).expect("an object").to_vec() == object);
        }
    }
}

#[test]
fn damaged_objects_can_be_evicted_and_put_again() {
    for index in 0..7 {
        let directory = directory();
        let (producer, consumer) = (
            Member::join(directory.path()),
            Member::join(directory.path()),
        );
        let other = producer.put(&bytes(LEN, 9));
        let place = producer.put(&bytes(LEN, 1));
        words(&consumer, place.0)[index].fetch_xor(0x10, Ordering::SeqCst);
        consumer.evict(place);
        assert!(!consumer.exists(place), "word {index}");
        for seed in 2..5 {
            let object = bytes(LEN, seed);
            let again = producer.put(&object);
            assert_ne!(again, place);
            assert!(
                consumer.get(again).expect("an object").to_vec() == object,
                "word {index}"
            );
            producer.evict(again);
        }
        assert!(consumer.get(other).expect("an object").to_vec() == bytes(LEN, 9));
    }
}

#[test]
fn an_object_of_which_nothing_is_known_any_more_ends_with_the_namespace_s() {
    let directory = directory();
    let (producer, consumer) = (
        Member::join(directory.path()),
        Member::join(directory.path()),
    );
    let place = producer.put(&bytes(LEN, 1));
    for index in [0, 2] {
        words(&consumer, place.0)[index].fetch_xor(0x10, Ordering::SeqCst);
    }
    let evicted = consumer.segments.evict(place.0, place.1);
    assert!(is_corrupted(&evicted), "{evicted:?}");
    consumer.segments.clear().expect("no refusal");
    assert_eq!(producer.files().len(), 1, "its owner may be writing it");
    producer.segments.clear().expect("no refusal");
    assert!(producer.files().is_empty());
    assert_eq!(producer.membership().bytes(), 0);
    let state = words(&producer, place.0)[0].load(Ordering::SeqCst);
    assert_eq!(
        State::from_word(state),
        Ok(State::new(u32::MAX, Phase::Absent))
    );
    assert_ne!(
        producer.put(&bytes(LEN, 2)).0,
        place.0,
        "a key could name two objects"
    );
}

#[test]
fn whoever_adopts_frees_what_is_damaged() {
    let directory = directory();
    let (dead, adopter) = (
        Member::join(directory.path()),
        Member::join(directory.path()),
    );
    let places = [1, 2].map(|seed| dead.put(&bytes(LEN, seed)));
    words(&adopter, places[0].0)[0].fetch_xor(0x10, Ordering::SeqCst);
    adopter
        .segments
        .adopt(dead.membership().id())
        .expect("no refusal");
    assert_eq!(adopter.files(), [format!("s{}", places[1].0)]);
    assert!(adopter.get(places[1]).expect("an object").to_vec() == bytes(LEN, 2));
    assert!(!adopter.exists(places[0]));
}

/// What somebody does to the file at a path.
type Harm = fn(&Path);

#[test]
fn harmed_files_are_noticed() {
    let harms: [Harm; 6] = [
        |path| cut_at(path, 0),
        |path| cut_at(path, LEN as u64 - 4096),
        |path| fs::remove_file(path).expect("a file"),
        |path| {
            fs::remove_file(path).expect("a file");
            fs::create_dir(path).expect("a directory");
        },
        |path| {
            fs::remove_file(path).expect("a file");
            symlink("/etc/passwd", path).expect("a link");
        },
        |path| {
            fs::remove_file(path).expect("a file");
            fs::write(path, b"another").expect("room");
        },
    ];
    for (index, harm) in harms.into_iter().enumerate() {
        let directory = directory();
        let (producer, consumer) = (
            Member::join(directory.path()),
            Member::join(directory.path()),
        );
        // Its memory has been used before, so that the producer has it mapped.
        producer.evict(producer.put(&bytes(LEN, 1)));
        let place = producer.put(&bytes(LEN, 2));
        consumer.get_copy(place).expect("an object");
        harm(&producer.file(place));
        let [view, copy, _] = asked(&consumer, place);
        for outcome in [view, copy] {
            assert!(outcome.is_err(), "harm {index}");
        }
        consumer.evict(place);
        // The producer has the memory mapped, but does not touch what is not there.
        for seed in 3..6 {
            let object = bytes(LEN, seed);
            let again = producer.put(&object);
            assert!(
                consumer.get(again).expect("an object").to_vec() == object,
                "harm {index}"
            );
        }
    }
}

fn cut_at(path: &Path, len: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("a file");
    file.set_len(len).expect("it can be cut");
}
