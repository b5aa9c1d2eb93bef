//! Processes that use cells again as fast as they can, while others read them.

use std::{
    fs::File,
    path::Path,
    process::{Child, Output, Stdio},
    sync::atomic::{
        Ordering::{Acquire, Relaxed, Release, SeqCst},
        fence,
    },
};

use proxystore_memory::Segment;

use super::{tests::cell, *};
use crate::{
    mapped::{Inheritance, Mapped},
    testing,
};

/// Objects that each writer has at a time.
const ENTRIES: usize = 3;
const WRITERS: usize = 2;
const READERS: usize = 2;
/// Objects that each writer puts.
const PUTS: u64 = 20_000;

/// What the processes tell each other.
///
/// | word | content |
/// |---|---|
/// | 0 | how many writers have ended |
/// | 1 | how many readers are ready |
/// | 2 | one if a reader has found wrong bytes |
/// | 8.. | entries of two words: the reference of an object, or zero, and its seed |
struct Board(Mapped);

impl Board {
    const ENDED: usize = 0;
    const READY: usize = 1;
    const FOUND: usize = 2;
    const LEN: usize = 4096;

    fn make(directory: &Path) -> Self {
        let file = File::create_new(directory.join("board")).expect("a file");
        file.set_len(Self::LEN as u64).expect("room");
        Self::open(directory)
    }

    fn open(directory: &Path) -> Self {
        let mut options = File::options();
        let file = options.read(true).write(true).open(directory.join("board"));
        let file = file.expect("the board");
        Self(Mapped::new(file, Self::LEN, Inheritance::Private).expect("a mapping"))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.0.words(8 * index, 1)[0]
    }

    fn entry(&self, entry: usize) -> (&AtomicU64, &AtomicU64) {
        let at = 8 + 2 * entry;
        (self.word(at), self.word(at + 1))
    }

    fn is_over(&self) -> bool {
        self.word(Self::ENDED).load(Acquire) == WRITERS as u64
            || self.word(Self::FOUND).load(Acquire) == 1
    }
}

/// The bytes that a seed stands for.
fn contents(seed: u64) -> Vec<u8> {
    // Cells of which a slab has few are used again soonest.
    let len = match seed % 4 {
        0 => 16_000,
        1 => 16_384,
        2 => 9_001,
        _ => 100,
    };
    let mut bytes = Vec::with_capacity(len + 8);
    for index in 0..=len as u64 / 8 {
        bytes.extend_from_slice(&seed.wrapping_mul(index * 2 + 1).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn write(directory: &Path, writer: usize) {
    let board = Board::open(directory);
    let options = testing::options(directory, 60.0);
    let slabs = Slabs::new(Membership::join(&options).expect("a membership"));
    while board.word(Board::READY).load(Acquire) < READERS as u64 {
        std::thread::yield_now();
    }
    let mut live: [Option<Reference>; ENTRIES] = [None; ENTRIES];
    for round in 0..PUTS {
        if board.is_over() {
            break;
        }
        let index = usize::try_from(round).expect("a number") % ENTRIES;
        let (reference, seed) = board.entry(writer * ENTRIES + index);
        if let Some(old) = live[index].take() {
            let (slab, cell, generation) = cell(old);
            slabs.evict(slab, cell, generation).expect("it is sound");
        }
        let next = (round * 2 + writer as u64) | 1 << 40;
        let bytes = contents(next);
        let segments = [Segment::from(&bytes)];
        let put = slabs.put(&Payload::from(&segments), 0, &options);
        let put = put.expect("there is room");
        reference.store(0, Relaxed);
        fence(Release);
        seed.store(next, Relaxed);
        reference.store(put.to_word(), Release);
        live[index] = Some(put);
    }
    board.word(Board::ENDED).fetch_add(1, Release);
}

fn read(directory: &Path, is_defective: bool) {
    let board = Board::open(directory);
    let options = testing::options(directory, 60.0);
    let slabs = Slabs::new(Membership::join(&options).expect("a membership"));
    board.word(Board::READY).fetch_add(1, SeqCst);
    let (mut present, mut absent) = (0_u64, 0_u64);
    while !board.is_over() {
        for entry in 0..WRITERS * ENTRIES {
            let (reference, seed) = board.entry(entry);
            let word = reference.load(Acquire);
            let wanted = seed.load(Relaxed);
            fence(Acquire);
            if word == 0 || reference.load(Relaxed) != word {
                continue;
            }
            let reference = Reference::from_word(word).expect("a reference");
            let (slab, cell, generation) = cell(reference);
            match slabs.get(slab, cell, generation) {
                Ok(Some(found)) => {
                    present += 1;
                    if found.object.to_vec() != contents(wanted) {
                        board.word(Board::FOUND).store(1, Release);
                        panic!("wrong bytes");
                    }
                }
                Ok(None) => absent += 1,
                // A header of which half belongs to the next object.
                Err(ShmError::Corrupted { .. }) if is_defective => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(
        present > 0 && absent > 0,
        "{present} present, {absent} absent"
    );
}

/// Runs the calling test's writers and readers, the readers with a defect or with none.
fn run(directory: &Path, defect: Option<&str>) -> Vec<Output> {
    Board::make(directory);
    let start = |role: String, defect: Option<&str>| -> Child {
        let mut command = testing::again(&role, directory);
        if let Some(defect) = defect {
            command.env("PROXYSTORE_SHM_MUTANT", defect);
        }
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("a process")
    };
    let writers = (0..WRITERS).map(|writer| start(format!("writer{writer}"), None));
    let readers = (0..READERS).map(|_| start("reader".to_owned(), defect));
    let children: Vec<Child> = writers.chain(readers).collect();
    let mut outputs = Vec::new();
    for child in children {
        outputs.push(child.wait_with_output().expect("a child"));
    }
    outputs.split_off(WRITERS)
}

/// Does what a child is to do; false in the process of the test itself.
fn plays_role(is_defective: bool) -> bool {
    let Some((role, directory)) = testing::role() else {
        return false;
    };
    match role.strip_prefix("writer") {
        Some(writer) => write(&directory, writer.parse().expect("a number")),
        None => read(&directory, is_defective),
    }
    true
}

#[test]
fn readers_see_no_wrong_bytes_while_cells_are_used_again() {
    if plays_role(false) {
        return;
    }
    let directory = testing::directory();
    for output in run(directory.path(), None) {
        testing::check(&output);
    }
}

#[test]
fn readers_that_do_not_look_again_see_wrong_bytes() {
    if plays_role(true) {
        return;
    }
    let directory = testing::directory();
    let outputs = run(directory.path(), Some("NoRecheck"));
    let told = |output: &Output| {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        !output.status.success() && String::from_utf8_lossy(&said).contains("wrong bytes")
    };
    assert!(outputs.iter().any(told), "the defect was not noticed");
}
