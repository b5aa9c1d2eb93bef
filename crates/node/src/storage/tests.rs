use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize},
    thread,
};

use proxystore_memory::{Memory, Segment};

use super::*;

const MIB: u64 = 1 << 20;

/// The key of whoever put the object.
fn ours(id: u128) -> ObjectKey {
    ObjectKey {
        id: id.to_le_bytes(),
        capability: [7; 16],
    }
}

/// A key of the same object that does not open it.
fn theirs(id: u128) -> ObjectKey {
    ObjectKey {
        capability: [8; 16],
        ..ours(id)
    }
}

fn storage(budget: u64) -> Arc<Storage> {
    Arc::new(Storage::new(budget, None).expect("no directory"))
}

fn spilling(budget: u64, directory: &Path) -> Arc<Storage> {
    Arc::new(Storage::new(budget, Some(directory.to_owned())).expect("a directory"))
}

fn memory(len: u64, byte: u8) -> Memory {
    let bytes = vec![byte; usize::try_from(len).expect("a length")];
    Memory::copied_from(&[Segment::from(&bytes)]).expect("memory")
}

fn put(storage: &Arc<Storage>, id: u128, len: u64, byte: u8) -> Result<(), Refusal> {
    let (kind, key) = (Kind::Put, ours(id));
    let reservation = match storage.reserve(kind, &key, len) {
        Err(Refusal::Full { .. }) if storage.may_spill() => storage.make_room(kind, &key, len)?,
        reservation => reservation?,
    };
    reservation.commit(memory(len, byte), u64::from(byte))
}

fn bytes(storage: &Storage, id: u128) -> Option<Vec<u8>> {
    let object = storage.get(&ours(id))?;
    object.load().expect("the disk works");
    Some(object.segment().to_vec())
}

#[test]
fn objects_are_there_for_who_can_open_them() {
    let storage = storage(MIB);
    put(&storage, 1, 3, 9).expect("room");
    assert_eq!(bytes(&storage, 1), Some(vec![9; 3]));
    assert_eq!(storage.get(&ours(1)).map(|object| object.sum()), Some(9));
    assert_eq!(storage.len(&ours(1)), Some(3));
    assert_eq!(storage.len(&theirs(1)), None);
    assert!(storage.get(&theirs(1)).is_none());
    let refusal = storage.evict(&theirs(1), Instant::now());
    assert!(matches!(refusal, Err(Refusal::Forbidden)));
    for kind in [Kind::Put, Kind::Set] {
        let refusal = storage.reserve(kind, &theirs(1), 1);
        assert!(matches!(refusal, Err(Refusal::Forbidden)));
    }
    storage.evict(&ours(1), Instant::now()).expect("it opens");
    storage.evict(&ours(1), Instant::now()).expect("it is gone");
    assert_eq!(storage.len(&ours(1)), None);
    let statistics = storage.statistics();
    assert_eq!((statistics.objects, statistics.bytes), (0, 0));
    assert_eq!((statistics.memory, statistics.reserved), (0, 0));
    assert_eq!(statistics.hits, 2);
}

#[test]
fn a_new_object_has_a_new_name() {
    let storage = storage(MIB);
    put(&storage, 1, 1, 5).expect("room");
    assert!(matches!(put(&storage, 1, 1, 6), Err(Refusal::Taken)));
    assert_eq!(bytes(&storage, 1), Some(vec![5]));
}

#[test]
fn what_is_cleared_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = spilling(3 * MIB, directory.path());
    for id in 0..8 {
        put(&storage, id, MIB, 1).expect("room on the disk");
    }
    storage.clear();
    let statistics = storage.statistics();
    assert_eq!((statistics.objects, statistics.bytes), (0, 0));
    assert_eq!((statistics.memory, statistics.spilled_bytes), (0, 0));
    put(&storage, 1, MIB, 2).expect("its name is free");
}

#[test]
fn a_name_that_somebody_took_meanwhile_stays_theirs() {
    let storage = storage(MIB);
    let late = storage.reserve(Kind::Put, &theirs(1), 1);
    let late = late.expect("room");
    put(&storage, 1, 1, 5).expect("room");
    let refusal = late.commit(memory(1, 6), 6);
    assert!(matches!(refusal, Err(Refusal::Forbidden)));
    assert_eq!(bytes(&storage, 1), Some(vec![5]));
}

#[test]
fn readers_keep_what_is_replaced_and_it_counts() {
    let storage = storage(MIB);
    put(&storage, 1, 300 << 10, 1).expect("room");
    let old = storage.get(&ours(1)).expect("it is there");
    let set = storage.reserve(Kind::Set, &ours(1), 300 << 10);
    set.expect("room")
        .commit(memory(300 << 10, 2), 2)
        .expect("it opens");
    assert_eq!(old.segment().slice(..1).to_vec(), [1]);
    let new = storage.get(&ours(1)).expect("it is there");
    assert_eq!(new.segment().slice(..1).to_vec(), [2]);
    assert_eq!(storage.statistics().memory, (600 << 10) + 2 * OVERHEAD);
    drop(old);
    assert_eq!(storage.statistics().memory, (300 << 10) + OVERHEAD);
    assert_eq!(storage.statistics().bytes, 300 << 10);
}

#[test]
fn announcements_are_kept_within_the_budget() {
    let storage = storage(MIB);
    let reserve = |id, len| storage.reserve(Kind::Put, &ours(id), len);
    let first = reserve(1, 700 << 10).expect("room");
    match reserve(2, 400 << 10) {
        Err(Refusal::Full { available, .. }) => {
            assert_eq!(available, (324 << 10) - 2 * OVERHEAD);
            reserve(2, available).expect("that much is left");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(storage.statistics().reserved, 700 << 10);
    drop(first);
    assert_eq!(
        (storage.statistics().memory, storage.statistics().reserved),
        (0, 0)
    );
    for len in [MIB, u64::MAX] {
        let refusal = reserve(3, len);
        assert!(
            matches!(refusal, Err(Refusal::TooLarge { .. })),
            "{refusal:?}"
        );
    }
    reserve(4, MIB - OVERHEAD).expect("exactly that much");
}

#[test]
fn objects_without_bytes_fill_a_budget_as_well() {
    let storage = storage(100 * OVERHEAD);
    for id in 0..100 {
        put(&storage, id, 0, 0).expect("room");
    }
    assert!(matches!(
        put(&storage, 100, 0, 0),
        Err(Refusal::Full { .. })
    ));
    assert_eq!(bytes(&storage, 99), Some(Vec::new()));
}

#[test]
fn a_put_that_was_taken_back_does_not_appear_but_a_set_does() {
    let storage = storage(MIB);
    let reserve = |kind, id| {
        let reservation = storage.reserve(kind, &ours(id), 1);
        reservation.expect("room")
    };
    let (put, set) = (reserve(Kind::Put, 1), reserve(Kind::Set, 2));
    for id in 1..=3 {
        storage
            .evict(&ours(id), Instant::now())
            .expect("nothing is there");
    }
    let refusal = put.commit(memory(1, 1), 1);
    assert!(matches!(refusal, Err(Refusal::Revoked)));
    set.commit(memory(1, 2), 2).expect("its name is known");
    let late = storage.reserve(Kind::Put, &ours(3), 1);
    assert!(matches!(late, Err(Refusal::Revoked)));
    assert_eq!(
        (bytes(&storage, 1), bytes(&storage, 2)),
        (None, Some(vec![2]))
    );
    assert_eq!(storage.statistics().memory, 1 + OVERHEAD);
}

#[test]
fn the_oldest_objects_go_to_the_disk_and_are_read_from_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = spilling(10 * MIB, directory.path());
    for id in 0..40_u8 {
        put(&storage, u128::from(id), MIB, id).expect("room on the disk");
    }
    let statistics = storage.statistics();
    assert!(statistics.memory <= 10 * MIB, "{statistics:?}");
    assert_eq!((statistics.objects, statistics.bytes), (40, 40 * MIB));
    assert!(statistics.spilled_objects >= 31, "{statistics:?}");
    let newest = storage.get(&ours(39)).expect("it is there");
    assert!(!newest.is_spilled());
    for id in 0..40_u8 {
        let found = bytes(&storage, u128::from(id)).expect("it is there");
        assert!(found.iter().all(|&byte| byte == id) && found.len() as u64 == MIB);
        let object = storage.get(&ours(u128::from(id)));
        assert_eq!(object.map(|object| object.sum()), Some(u64::from(id)));
    }
    assert_eq!(files(directory.path()), 0, "they have no names");
    for id in 0..40 {
        storage.evict(&ours(id), Instant::now()).expect("it opens");
    }
    drop(newest);
    let statistics = storage.statistics();
    assert_eq!((statistics.memory, statistics.spilled_bytes), (0, 0));
    assert_eq!((statistics.objects, statistics.spilled_objects), (0, 0));
}

#[test]
fn small_objects_are_spilled_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = spilling(MIB, directory.path());
    for id in 0..3_000 {
        put(&storage, id, 1_000, (id % 251) as u8).expect("room on the disk");
    }
    for id in (0..3_000).rev() {
        let byte = (id % 251) as u8;
        assert_eq!(bytes(&storage, id), Some(vec![byte; 1_000]));
    }
    // What an object takes beside its bytes is never spilled.
    let refused = (3_000..).find_map(|id| put(&storage, id, 0, 0).err());
    assert!(matches!(refused, Some(Refusal::Full { .. })));
}

#[test]
fn what_is_spilled_can_be_replaced_evicted_and_still_be_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = spilling(3 * MIB, directory.path());
    for id in 0..8 {
        put(&storage, id, MIB, 1).expect("room on the disk");
    }
    let held = storage.get(&ours(0)).expect("it is there");
    assert!(held.is_spilled());
    let set = storage.make_room(Kind::Set, &ours(0), MIB).expect("room");
    set.commit(memory(MIB, 2), 2).expect("it opens");
    storage.evict(&ours(0), Instant::now()).expect("it opens");
    held.load().expect("the disk works");
    assert_eq!(held.segment().slice((1 << 20) - 1..).to_vec(), [1]);
    assert_eq!(storage.len(&ours(0)), None);
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("a directory").count()
}

#[test]
fn a_directory_that_takes_no_files_is_an_error() {
    let error = Storage::new(MIB, Some("/nowhere".into())).expect_err("it does not exist");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let file = tempfile::NamedTempFile::new().expect("a file");
    Storage::new(MIB, Some(file.path().to_owned())).expect_err("it is no directory");
}

/// A memory file system with so little room, mounted for as long as this lives.
struct Small(tempfile::TempDir);

impl Small {
    /// None where this process may not mount: without root, and in most containers.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .status()
            .expect("mount(8)");
        mounted.success().then_some(Self(directory))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_a_refusal_that_leaves_everything_as_it_was() {
    let Some(small) = Small::mount("6m") else {
        eprintln!("nothing can be mounted here: only root can try a full disk");
        return;
    };
    let storage = spilling(4 * MIB, small.0.path());
    let mut kept = 0_u8;
    let refusal = loop {
        match put(&storage, kept.into(), MIB, kept) {
            Ok(()) => kept += 1,
            Err(refusal) => break refusal,
        }
    };
    match &refusal {
        Refusal::Disk { reason, .. } => assert_eq!(reason.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
    let text = refusal.to_string();
    assert!(
        text.contains(&small.0.path().display().to_string()),
        "{text}"
    );
    assert!((4..=9).contains(&kept), "{kept}");
    assert_eq!(storage.len(&ours(kept.into())), None);
    for id in 0..kept {
        let found = bytes(&storage, id.into()).expect("it is there");
        assert!(found.iter().all(|&byte| byte == id));
    }
    assert_eq!(storage.statistics().reserved, 0);
    // What is evicted makes room again, on the disk and in memory.
    for id in 0..kept {
        storage
            .evict(&ours(id.into()), Instant::now())
            .expect("it opens");
    }
    assert_eq!(storage.statistics().memory, 0);
    for id in 100..106 {
        put(&storage, id, MIB, 3).expect("room");
    }
}

#[test]
fn a_disk_without_nameless_files_has_no_names_either() {
    // Overlay file systems refuse O_TMPFILE on old kernels; here the fallback is called itself.
    let directory = tempfile::tempdir().expect("a directory");
    let spill = Spill::open(directory.path().to_owned()).expect("a directory");
    let file = spill.unlinked().expect("a file");
    assert_eq!(files(directory.path()), 0);
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().expect("its data"));
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn many_threads_put_spill_get_and_evict_at_once() {
    const THREADS: u128 = 4;
    const EACH: u128 = 200;
    let directory = tempfile::tempdir().expect("a directory");
    let storage = spilling(8 * MIB, directory.path());
    let (stop, read) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for id in 0..THREADS * EACH {
                    if let Some(found) = bytes(&storage, id) {
                        let byte = (id % 251) as u8;
                        assert!(found.iter().all(|&found| found == byte), "{id}");
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let storage = &storage;
                scope.spawn(move || {
                    for id in thread * EACH..(thread + 1) * EACH {
                        put(storage, id, 200 << 10, (id % 251) as u8).expect("room");
                        if id % 3 == 0 {
                            let evicted = storage.evict(&ours(id), Instant::now());
                            evicted.expect("it opens");
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("no panic");
        }
        while read.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().expect("no panic");
    });
    let there = (0..THREADS * EACH).filter(|id| id % 3 != 0).count() as u64;
    let statistics = storage.statistics();
    assert_eq!(statistics.objects, there);
    assert_eq!(statistics.bytes, there * (200 << 10));
    // Objects that were read while they were spilled count twice for that long.
    assert!(statistics.memory <= 8 * MIB, "{statistics:?}");
    for id in 0..THREADS * EACH {
        assert_eq!(bytes(&storage, id).is_some(), id % 3 != 0);
    }
}
