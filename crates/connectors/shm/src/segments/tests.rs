//! Objects in segments, of one process and of several.

mod crashes;
mod damage;
mod limits;
mod lives;
mod stress;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use proxystore_core::{Config, Memory, Payload, Seal};
use proxystore_memory::Segment;
use twox_hash::XxHash3_64;

use super::*;
use crate::testing::directory;

/// One process's segments in a namespace.
struct Member {
    segments: Segments,
    options: Options,
}

impl Member {
    /// Joins as another process would.
    fn join(directory: &Path) -> Self {
        Self::join_with(directory, |config| config)
    }

    fn join_with(directory: &Path, configure: impl FnOnce(Config) -> Config) -> Self {
        let text = directory.to_str().expect("a path that is text");
        let config = configure(Config::new().with("directory", text));
        let options = Options::parse(&config).expect("options");
        let membership = Membership::join(&options).expect("a member");
        Self {
            segments: Segments::new(membership),
            options,
        }
    }

    /// The same on another machine.
    fn on(mut self, machine: Machine) -> Self {
        let membership = Arc::clone(self.membership());
        self.segments = Segments::on(membership, machine);
        self
    }

    fn put(&self, bytes: &[u8]) -> (u32, u32) {
        self.try_put(bytes).expect("room")
    }

    fn try_put(&self, bytes: &[u8]) -> Result<(u32, u32), ShmError> {
        let segments = [Segment::from(bytes)];
        let reference = self
            .segments
            .put(&Payload::new(&segments), 0, &self.options)?;
        let Place::Segment(number) = reference.place else {
            panic!("it is in a segment");
        };
        Ok((number, reference.generation))
    }

    fn get(&self, (number, generation): (u32, u32)) -> Option<Memory> {
        let found = self.segments.get(number, generation).expect("no damage");
        found.map(|found| found.object)
    }

    fn get_copy(&self, (number, generation): (u32, u32)) -> Option<Memory> {
        let found = self.segments.get_copy(number, generation);
        found.expect("no damage").map(|found| found.object)
    }

    fn exists(&self, (number, generation): (u32, u32)) -> bool {
        let found = self.segments.exists(number, generation);
        found.expect("no damage").is_some()
    }

    fn evict(&self, (number, generation): (u32, u32)) {
        self.segments.evict(number, generation).expect("no damage");
    }

    fn membership(&self) -> &Arc<Membership> {
        &self.segments.shared.membership
    }

    fn file(&self, (number, _): (u32, u32)) -> PathBuf {
        self.membership().path().join(format!("s{number}"))
    }

    /// Names of the files of segments.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.membership().path()).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("text"));
        names
            .filter(|name| name.starts_with('s') && name[1..].parse::<u32>().is_ok())
            .collect()
    }
}

/// Lets other threads work until `condition`.
fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that differ from those of other seeds nearly everywhere.
fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64)
        .map(|index| (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (u64::from(seed) << 3)));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(len);
    bytes
}

#[test]
fn objects_of_all_sizes_make_the_round_trip() {
    let directory = directory();
    let (producer, consumer) = (
        Member::join(directory.path()),
        Member::join(directory.path()),
    );
    for (seed, len) in [
        1,
        4095,
        4096,
        16 << 10,
        (256 << 10) - 1,
        256 << 10,
        (5 << 20) + 3,
    ]
    .into_iter()
    .enumerate()
    {
        let object = bytes(len, u8::try_from(seed).expect("few"));
        let place = producer.put(&object);
        for member in [&producer, &consumer] {
            assert!(member.exists(place));
            let view = member.get(place).expect("an object");
            assert!(
                view.is_mapped() && view.is_guarded() && view.to_vec() == object,
                "{len}"
            );
            let copy = member.get_copy(place).expect("an object");
            assert!(!copy.is_mapped() && copy.to_vec() == object, "{len}");
        }
        consumer.evict(place);
        consumer.evict(place);
        for member in [&producer, &consumer] {
            assert!(!member.exists(place));
            assert!(member.get(place).is_none() && member.get_copy(place).is_none());
        }
    }
    let never = (7_000, 1);
    assert!(!consumer.exists(never) && consumer.get(never).is_none());
    consumer.evict(never);
}

#[test]
fn objects_of_many_parts_and_their_tickets_are_kept() {
    let directory = directory();
    let member = Member::join(directory.path());
    let parts: Vec<Vec<u8>> = (0..500).map(|index| bytes(index * 7, 1)).collect();
    let parts: Vec<Segment<'_>> = parts.iter().map(Segment::from).collect();
    let payload = Payload::new(&parts);
    let mut whole = vec![0; payload.len()];
    payload.cursor().fill(&mut whole);
    for _ in 0..3 {
        let reference = member
            .segments
            .put(&payload, 77, &member.options)
            .expect("room");
        let Place::Segment(number) = reference.place else {
            panic!("it is in a segment");
        };
        let generation = reference.generation;
        let found = member
            .segments
            .get(number, generation)
            .expect("no damage")
            .expect("there");
        assert_eq!(found.ticket, 77);
        assert!(found.object.to_vec() == whole);
        let found = member
            .segments
            .exists(number, generation)
            .expect("no damage");
        assert_eq!(found.expect("there").ticket, 77);
        let me = member.membership().id();
        assert_eq!(member.segments.tickets(me), [(reference, 77)]);
        assert!(member.segments.tickets(MemberId(me.0 + 1)).is_empty());
        member.evict((number, generation));
        assert!(member.segments.tickets(me).is_empty());
    }
}

#[test]
fn memory_is_used_again_unless_somebody_looks_at_it() {
    let directory = directory();
    let (producer, consumer) = (
        Member::join(directory.path()),
        Member::join(directory.path()),
    );
    let (first, second, third) = (bytes(300_000, 1), bytes(299_000, 2), bytes(300_001, 3));
    let one = producer.put(&first);
    let inode = fs::metadata(producer.file(one)).expect("a file").ino();
    let mut view = consumer.get(one).expect("an object");
    consumer.evict(one);
    let two = producer.put(&second);
    assert_ne!(two.0, one.0, "somebody looks at the first");
    assert!(view.to_vec() == first);
    assert_eq!(view.write_at(5, b"mine"), 4);
    assert!(producer.get(one).is_none());
    let other = consumer.get(two).expect("an object");
    assert!(other.to_vec() == second);
    drop(view);
    let three = producer.put(&third);
    assert_eq!(
        three,
        (one.0, one.1 + 1),
        "nobody looks at the first any more"
    );
    assert_eq!(
        fs::metadata(producer.file(three)).expect("a file").ino(),
        inode
    );
    assert!(consumer.get(three).expect("an object").to_vec() == third);
    assert!(consumer.get(one).is_none());
    // The last pages of its memory were not written to by the object before.
    assert!(other.to_vec() == second);
    assert_eq!(producer.files().len(), 2);
}

#[test]
fn views_in_the_recyclers_own_process_count() {
    let directory = directory();
    let member = Member::join(directory.path());
    let object = bytes(100_000, 1);
    let place = member.put(&object);
    let [first, second] = [(); 2].map(|()| member.get(place).expect("an object"));
    member.evict(place);
    drop(first);
    assert_ne!(member.put(&bytes(100_000, 2)).0, place.0);
    assert!(second.to_vec() == object);
    drop(second);
    assert_eq!(member.put(&bytes(100_000, 3)).0, place.0);
}

#[test]
fn objects_of_about_one_size_share_memory() {
    let directory = directory();
    let member = Member::join(directory.path());
    let put = |len: usize| {
        let object = bytes(len, u8::try_from(len % 251).expect("a byte"));
        let place = member.put(&object);
        assert!(
            member.get(place).expect("an object").to_vec() == object,
            "{len}"
        );
        assert!(
            member.get_copy(place).expect("an object").to_vec() == object,
            "{len}"
        );
        member.evict(place);
        place.0
    };
    let first = put(1_000_000);
    assert_eq!(put(900_000), first);
    assert_eq!(put(600_000), first, "more than half of it");
    assert_eq!(put(1_100_000), first, "a little more than there is");
    assert_eq!(put(1_150_000), first, "more than was mapped");
    assert_eq!(put(1_000_001), first);
    let bytes_used = member.membership().bytes();
    assert_ne!(put(400_000), first, "less than half of it");
    assert!(member.membership().bytes() >= bytes_used + 400_000);
    assert_ne!(put(1_500_000), first, "much more than there is");
}

/// Completes an object with the sums of its parts.
struct Sums;

impl Seal for Sums {
    fn seal(&self, sums: &[u64]) -> Vec<u8> {
        sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
    }
}

#[test]
fn sealed_objects_say_what_was_stored() {
    let directory = directory();
    let member = Member::join(directory.path());
    let mut numbers = Vec::new();
    // Into fresh memory, into memory that is there, and beyond its end.
    for len in [700_000, 700_000, 740_000] {
        let parts = [bytes(len, 1), bytes(3, 2), Vec::new(), bytes(100_001, 3)];
        let head = [0; 32];
        let mut segments = vec![Segment::from(&head)];
        segments.extend(parts.iter().map(Segment::from));
        let payload = Payload::new(&segments).with_seal(&Sums);
        let reference = member
            .segments
            .put(&payload, 0, &member.options)
            .expect("room");
        let Place::Segment(number) = reference.place else {
            panic!("it is in a segment");
        };
        let sums = parts
            .iter()
            .flat_map(|part| XxHash3_64::oneshot(part).to_le_bytes());
        let expected: Vec<u8> = sums.chain(parts.concat()).collect();
        let place = (number, reference.generation);
        assert!(member.get(place).expect("an object").to_vec() == expected);
        member.evict(place);
        numbers.push(number);
    }
    assert_eq!(numbers, [numbers[0]; 3]);
}

#[test]
fn idle_memory_is_given_back_whoever_evicted() {
    let directory = directory();
    let idle = |config: Config| config.with("idle", 0.05);
    let producer = Member::join_with(directory.path(), idle);
    let consumer = Member::join(directory.path());
    let object = bytes(1 << 20, 1);
    let kept = producer.put(&bytes(50_000, 2));
    let [one, two] = [(); 2].map(|()| producer.put(&object));
    let view = consumer.get(two).expect("an object");
    producer.evict(one);
    consumer.evict(two);
    wait_until(|| producer.files().len() == 1);
    assert!(view.to_vec() == object, "a view outlives its file");
    assert!(consumer.exists(kept));
    wait_until(|| producer.membership().bytes() < 100_000);
    consumer.evict(kept);
    // Whoever owns nothing needs no thread, until it owns something again.
    let is_trimmed = || producer.segments.shared.kept.lock().is_trimmed;
    wait_until(|| !is_trimmed());
    assert!(producer.files().is_empty());
    assert_eq!(producer.membership().bytes(), 0);
    let again = producer.put(&object);
    assert!(again.0 <= two.0, "records are used again");
    consumer.evict(again);
    wait_until(|| producer.files().is_empty() && !is_trimmed());
}

#[test]
fn no_more_is_kept_than_the_pool_takes() {
    let directory = directory();
    let pool = |config: Config| config.with("pool", 2_500_000_i64).with("idle", 3600.0);
    let member = Member::join_with(directory.path(), pool);
    let places: Vec<_> = (0..4)
        .map(|seed| member.put(&bytes(1_000_000, seed)))
        .collect();
    let consumer = Member::join(directory.path());
    for place in &places[..2] {
        member.evict(*place);
    }
    assert_eq!(member.files().len(), 4);
    member.evict(places[2]);
    assert_eq!(member.files().len(), 3);
    // The next put notices what others evict.
    consumer.evict(places[3]);
    let large = member.put(&bytes(9_000_000, 9));
    member.evict(large);
    assert!(
        !member.files().contains(&format!("s{}", large.0)),
        "it is larger than the pool"
    );
    assert!(member.membership().bytes() <= 2_600_000);
}

#[test]
fn threads_share_a_process_s_segments() {
    let directory = directory();
    let (producer, consumer) = (
        Member::join(directory.path()),
        Member::join(directory.path()),
    );
    thread::scope(|scope| {
        for seed in 0..6_u8 {
            let (producer, consumer) = (&producer, &consumer);
            scope.spawn(move || {
                for round in 0..60 {
                    let object = bytes(20_000 + 1_000 * round, seed * 7 + 1);
                    let place = producer.put(&object);
                    let view = consumer.get(place).expect("an object");
                    assert!(producer.get_copy(place).expect("an object").to_vec() == object);
                    [producer, consumer][round % 2].evict(place);
                    thread::yield_now();
                    assert!(view.to_vec() == object);
                }
            });
        }
    });
    producer.segments.leave().expect("no refusal");
    assert!(producer.files().is_empty());
    assert_eq!(producer.membership().bytes(), 0);
    assert_eq!(producer.membership().reserved(), 0);
}
