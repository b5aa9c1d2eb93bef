//! Processes that are killed at every step of what they do with segments.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use super::*;
use crate::{
    namespace::Namespace,
    testing::{again, role, was_killed},
};

/// Where processes are killed, and how often each place is passed at least.
const STEPS: [(&str, u32); 15] = [
    ("segments.fresh.writing", 5),
    ("segments.fresh.created", 5),
    ("segments.fresh.written", 5),
    ("segments.recycle.writing", 5),
    ("segments.recycle.grown", 2),
    ("segments.put.written", 9),
    ("segments.put.live", 9),
    ("segments.open.pinned", 9),
    ("segments.get.mapped", 9),
    ("segments.evict.free", 9),
    ("segments.give_back.begun", 3),
    ("segments.give_back.removed", 3),
    ("segments.spill.linked", 2),
    ("segments.spill.created", 2),
    ("segments.spill.written", 2),
];

/// The same for those who adopt what the first have left.
const STEPS_OF_ADOPTERS: [(&str, u32); 3] = [
    ("segments.adopt.claimed", 2),
    ("segments.adopt.removed", 2),
    ("segments.adopt.live", 2),
];

fn spill(directory: &Path) -> PathBuf {
    directory.join("spill")
}

fn options(directory: &Path) -> Options {
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let config = Config::new()
        .with("directory", text(&directory.join("base")))
        .with("spill", text(&spill(directory)))
        .with("budget", 4_000_000_i64)
        .with("pool", 1_500_000_i64)
        .with("idle", 3600.0);
    Options::parse(&config).expect("options")
}

/// An object that says of itself what it is.
fn object(seed: u64) -> Vec<u8> {
    // Larger and larger, so that memory that is used again must grow.
    let len = 200_000 + usize::try_from(seed % 60).expect("few") * 2_000;
    let large = if seed % 11 == 10 { 5_000_000 } else { 0 };
    let mut object = bytes(len + large, u8::try_from(seed % 256).expect("a byte"));
    object[..8].copy_from_slice(&seed.to_le_bytes());
    object
}

fn is_whole(found: &[u8]) -> bool {
    found
        .first_chunk::<8>()
        .is_some_and(|seed| found == object(u64::from_le_bytes(*seed)))
}

/// Puts, gets and evicts objects of these seeds, and writes down what there is, until it is killed.
fn work(directory: &Path, seeds: impl Iterator<Item = u64>) {
    let options = options(directory);
    let namespace = Namespace::join(&options).expect("a namespace");
    let segments = &namespace.segments;
    let mut log = OpenOptions::new()
        .append(true)
        .open(directory.join("log"))
        .expect("a log");
    let mut live: Vec<(u64, u32, u32)> = Vec::new();
    for seed in seeds {
        let object = object(seed);
        let parts = [Segment::from(&object)];
        let reference = segments
            .put(&Payload::new(&parts), 0, &options)
            .expect("room");
        let Place::Segment(number) = reference.place else {
            panic!("it is in a segment");
        };
        let generation = reference.generation;
        // Written by one call, which a kill does not cut.
        let entry = format!("put {seed} {number} {generation}\n");
        log.write_all(entry.as_bytes()).expect("room");
        live.push((seed, number, generation));
        let view = segments.get(number, generation).expect("no damage");
        assert!(view.expect("an object").object.to_vec() == object);
        if live.len() > 6 {
            for (_, number, generation) in live.drain(..5) {
                let entry = format!("evict {number} {generation}\n");
                log.write_all(entry.as_bytes()).expect("room");
                segments.evict(number, generation).expect("no damage");
            }
        }
    }
}

/// The objects that are there for sure: seed, number and generation.
fn logged(directory: &Path) -> Vec<(u64, u32, u32)> {
    let mut there = Vec::new();
    for line in BufReader::new(File::open(directory.join("log")).expect("a log")).lines() {
        let line = line.expect("text");
        let mut words = line.split(' ');
        let what = words.next();
        let numbers: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
        let narrow = |number: u64| u32::try_from(number).expect("a number");
        match (what, &numbers[..]) {
            (Some("put"), &[seed, number, generation]) => {
                there.push((seed, narrow(number), narrow(generation)));
            }
            (Some("evict"), &[number, generation]) => {
                let place = (narrow(number), narrow(generation));
                there.retain(|(_, number, generation)| (*number, *generation) != place);
            }
            _ => panic!("{line}"),
        }
    }
    there
}

/// Runs a process until it is killed at a step, the `count`th time; false if it was not.
fn run(role: &str, directory: &Path, step: &str, count: u32) -> bool {
    let child = again(role, directory)
        .env("PROXYSTORE_SHM_CRASH", format!("{step}:{count}"))
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    was_killed(child)
}

/// What there is after the next process has joined is what was put, and nothing is left of the rest.
fn check(directory: &Path, step: &str) {
    let options = options(directory);
    let namespace = Namespace::join(&options).expect("a namespace");
    let segments = &namespace.segments;
    for (seed, number, generation) in logged(directory) {
        let found = segments.get(number, generation).expect("no damage");
        let found = found.unwrap_or_else(|| panic!("{step}: object {seed} is lost"));
        assert!(
            found.object.to_vec() == object(seed),
            "{step}: object {seed} is another"
        );
    }
    let control = namespace.membership.control();
    let mut files = 0;
    for number in 0..control.segments_end() {
        let record = segments.shared.record(number).expect("a record");
        let state = State::from_word(record.state.load(Ordering::Acquire)).expect("no damage");
        match state.phase {
            Phase::Live => {
                let found = segments.get(number, state.generation).expect("no damage");
                assert!(
                    is_whole(&found.expect("an object").object.to_vec()),
                    "{step}: torn"
                );
                files += 1;
            }
            phase => assert_eq!(phase, Phase::Absent, "{step}"),
        }
        assert!(
            !namespace.membership.is_pinned(number),
            "{step}: pinned by nobody"
        );
    }
    let count = |path: &Path, is: fn(&str) -> bool| {
        let entries = fs::read_dir(path).into_iter().flatten();
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .filter(|name| is(name.to_str().expect("text")))
            .count()
    };
    let is_segment = |name: &str| name.starts_with('s');
    let path = namespace.membership.path();
    assert_eq!(
        count(path, is_segment),
        files,
        "{step}: files without records"
    );
    // And it goes on: all memory is there to be used.
    let bytes_taken = namespace.membership.bytes();
    assert!(bytes_taken <= 4_000_000, "{step}: {bytes_taken}");
    segments.clear().expect("no refusal");
    segments.leave().expect("no refusal");
    assert_eq!(count(path, is_segment), 0, "{step}");
    assert_eq!(
        count(&spill(directory), |_| true),
        0,
        "{step}: a spilled file is left"
    );
    assert_eq!(namespace.membership.bytes(), 0, "{step}");
    assert_eq!(namespace.membership.reserved(), 0, "{step}");
}

fn fresh_directory() -> tempfile::TempDir {
    let directory = directory();
    File::create(directory.path().join("log")).expect("a log");
    directory
}

#[test]
fn whoever_is_killed_at_any_step_leaves_nothing_wrong() {
    if let Some((_, directory)) = role() {
        return work(&directory, 0..60);
    }
    for (step, most) in STEPS {
        for count in [1, most] {
            let directory = fresh_directory();
            assert!(
                run("worker", directory.path(), step, count),
                "{step} is not reached"
            );
            check(directory.path(), step);
        }
    }
}

#[test]
fn whoever_is_killed_at_any_instant_leaves_nothing_wrong() {
    if let Some((role, directory)) = role() {
        let first = role.parse().expect("a number");
        return work(&directory, first..);
    }
    let directory = fresh_directory();
    let log = directory.path().join("log");
    for round in 0..10_u64 {
        // Two that adopt each other, of seeds that nobody else has.
        let mut workers = [0, 1].map(|which| {
            let first = (2 * round + which) * 1_000_000;
            let mut command = again(&first.to_string(), directory.path());
            command.stdout(Stdio::null());
            command.spawn().expect("it runs")
        });
        for (worker, len) in workers.iter_mut().zip([300 + 37 * round, 900 + 91 * round]) {
            while fs::metadata(&log).expect("a log").len() < len {
                assert!(worker.try_wait().expect("a child").is_none(), "it failed");
                thread::yield_now();
            }
            worker.kill().expect("it runs");
            worker.wait().expect("it is dead");
        }
        check(directory.path(), "any instant");
        File::create(&log).expect("an empty log");
    }
}

#[test]
fn whoever_is_killed_while_adopting_is_adopted() {
    match role() {
        Some((role, directory)) if role == "worker" => return work(&directory, 0..60),
        Some((_, directory)) => {
            drop(Namespace::join(&options(&directory)));
            return;
        }
        None => {}
    }
    for (step, most) in STEPS_OF_ADOPTERS {
        for count in 1..=most {
            let directory = fresh_directory();
            // Leaves objects, what was evicted, and one that is being written.
            assert!(run(
                "worker",
                directory.path(),
                "segments.recycle.writing",
                4
            ));
            assert!(
                run("adopter", directory.path(), step, count),
                "{step} is not reached"
            );
            check(directory.path(), step);
        }
    }
}
