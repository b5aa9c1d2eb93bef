//! What is in the directory, and what comes of it when somebody else was there.

mod support;

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use proxystore_conformance::program::now;
use proxystore_core::{
    CloseOptions, Config, Connector, Deadline, Error, ErrorKind, Factory, Key, Memory, Payload,
    Result, Segment, Value, When,
};
use proxystore_file::{
    FACTORY,
    marker::{Decoded, Entry, Marker},
};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use twox_hash::XxHash3_64;

use crate::support::{directories, directory_in_memory, directory_on_disk};

const NAME: &str = "977218f4-d6ac-460a-85a8-99950957b5dc";
const LARGE: usize = 2_000_000;

struct Store {
    _parent: TempDir,
    path: PathBuf,
    connector: Arc<dyn Connector>,
}

impl Store {
    fn new(parent: TempDir) -> Self {
        let path = parent.path().join("objects");
        let connector = FACTORY.open(&config(&path)).expect("it opens");
        Self {
            _parent: parent,
            path,
            connector,
        }
    }

    fn in_memory() -> Self {
        Self::new(directory_in_memory().expect("a directory"))
    }

    fn on_disk() -> Self {
        Self::new(directory_on_disk().expect("a directory"))
    }

    fn put(&self, bytes: &[u8]) -> Key {
        let segments = [Segment::from(bytes)];
        now(self
            .connector
            .put(Payload::from(&segments), Deadline::never()))
        .expect("room")
    }

    fn set(&self, key: &Key, bytes: &[u8]) -> Result<()> {
        let segments = [Segment::from(bytes)];
        let payload = Payload::from(&segments);
        now(self.connector.set(key, payload, Deadline::never()))
    }

    fn get(&self, key: &Key) -> Result<Option<Memory>> {
        now(self.connector.get(key, Deadline::never()))
    }

    fn bytes(&self, key: &Key) -> Option<Vec<u8>> {
        let memory = self.get(key).expect("no error");
        memory.map(|memory| memory.to_vec())
    }

    fn exists(&self, key: &Key) -> bool {
        now(self.connector.exists(key, Deadline::never())).expect("no error")
    }

    fn evict(&self, key: &Key) -> Result<()> {
        now(self.connector.evict(key, Deadline::never()))
    }

    fn close(&self, clear: Option<bool>) -> Result<()> {
        now(self
            .connector
            .close(CloseOptions { clear }, Deadline::never()))
    }

    fn data(&self, key: &Key) -> PathBuf {
        self.path.join(key.as_text().expect("a file name"))
    }

    fn marker(&self, key: &Key) -> PathBuf {
        let name = key.as_text().expect("a file name");
        self.path.join(format!("{name}.ready"))
    }

    /// Puts an object as ProxyStore 1.1.0 does.
    fn put_as_upstream(&self, bytes: &[u8]) -> Key {
        let key = Key::text(NAME);
        fs::write(self.data(&key), bytes).expect("room");
        fs::write(self.marker(&key), b"").expect("room");
        key
    }

    fn names(&self) -> Vec<String> {
        let listing = fs::read_dir(&self.path).expect("a listing");
        let names = listing.map(|entry| entry.expect("an entry").file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

fn config(path: &Path) -> Config {
    Config::new().with("store_dir", path.to_string_lossy().into_owned())
}

fn corrupted(result: Result<Option<Memory>>, path: &Path, says: &str) {
    let error = result.expect_err("the object is damaged");
    assert_eq!(error.kind(), ErrorKind::Corrupted, "{error:?}");
    assert_eq!(error.path(), Some(path), "{error:?}");
    assert!(error.context("key").is_some(), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn upstream_finds_what_it_expects() {
    for parent in directories().expect("directories") {
        let store = Store::new(parent);
        for bytes in [&b""[..], b"object", &vec![7; LARGE]] {
            let key = store.put(bytes);
            assert_eq!(fs::read(store.data(&key)).expect("a file"), bytes);
            assert!(store.marker(&key).exists());
            for path in [store.data(&key), store.marker(&key)] {
                let mode = fs::metadata(&path).expect("a file").permissions().mode();
                assert_eq!(mode & 0o333, 0, "{} can be written to", path.display());
            }
            let mut names = store.names();
            names.sort();
            let name = key.as_text().expect("a name").to_owned();
            assert_eq!(names, [name.clone(), format!("{name}.ready")]);
            store.evict(&key).expect("it is there");
            assert!(store.names().is_empty());
        }
    }
}

#[test]
fn upstreams_objects_are_read_and_removed() {
    for parent in directories().expect("directories") {
        let store = Store::new(parent);
        for bytes in [&b""[..], b"object", &vec![7; LARGE]] {
            let key = store.put_as_upstream(bytes);
            assert!(store.exists(&key));
            let memory = store.get(&key).expect("no error").expect("an object");
            assert!(!memory.is_mapped(), "upstream changes files in place");
            assert_eq!(memory.to_vec(), bytes);
            store.evict(&key).expect("it is there");
            assert!(store.names().is_empty());
        }
    }
}

#[test]
fn an_object_that_upstream_changes_in_place_stays_what_it_was_to_those_who_have_it() {
    let store = Store::in_memory();
    let key = store.put_as_upstream(&vec![1; LARGE]);
    let held = store.get(&key).expect("no error").expect("an object");
    fs::write(store.data(&key), b"shorter").expect("room");
    assert_eq!(held.to_vec(), vec![1; LARGE]);
    assert_eq!(store.bytes(&key).as_deref(), Some(&b"shorter"[..]));
}

#[test]
fn an_object_of_upstreams_becomes_ours_when_it_is_set() {
    for parent in directories().expect("directories") {
        let store = Store::new(parent);
        let key = store.put_as_upstream(b"theirs");
        store.set(&key, &vec![2; LARGE]).expect("room");
        let memory = store.get(&key).expect("no error").expect("an object");
        assert!(memory.is_mapped());
        assert_eq!(memory.to_vec(), vec![2; LARGE]);
        assert_eq!(store.names().len(), 2);
    }
}

#[test]
fn large_objects_are_mapped_and_small_ones_are_not() {
    for parent in directories().expect("directories") {
        let store = Store::new(parent);
        let (small, large) = (store.put(&[1; 1000]), store.put(&vec![1; LARGE]));
        let small = store.get(&small).expect("no error").expect("an object");
        let large = store.get(&large).expect("no error").expect("an object");
        assert!(!small.is_mapped());
        assert!(large.is_mapped());
    }
}

#[test]
fn a_view_stays_valid_when_its_object_is_replaced_and_the_directory_removed() {
    let store = Store::in_memory();
    let key = store.put(&vec![1; LARGE]);
    let before = store.get(&key).expect("no error").expect("an object");
    store.set(&key, &[2; 100]).expect("room");
    store.set(&key, &vec![3; LARGE]).expect("room");
    let after = store.get(&key).expect("no error").expect("an object");
    store.close(None).expect("it is open");
    assert!(!store.path.exists());
    assert_eq!(before.to_vec(), vec![1; LARGE]);
    assert_eq!(after.to_vec(), vec![3; LARGE]);
}

#[test]
fn memory_is_trusted_and_disks_are_not() {
    let verifies = |store: &Store| store.connector.capabilities().verifies;
    assert_eq!(verifies(&Store::in_memory()), When::Never);
    assert_eq!(verifies(&Store::on_disk()), When::Always);
}

#[test]
fn a_set_object_has_a_marker_that_tells_both_objects() {
    let store = Store::on_disk();
    let key = store.put(b"first");
    store.set(&key, b"second").expect("room");
    let record = fs::read(store.marker(&key)).expect("a marker");
    let Ok(Decoded::Ours(marker)) = Marker::decode(&record) else {
        panic!("no marker of ours: {record:?}");
    };
    let inode = fs::metadata(store.data(&key)).expect("a file").ino();
    assert_eq!(marker.object.inode, Some(inode));
    assert_eq!(marker.object.length, 6);
    assert_eq!(marker.object.checksum, Some(XxHash3_64::oneshot(b"second")));
    let previous = marker.previous.expect("the object before");
    assert_eq!(previous.length, 5);
    assert_eq!(previous.checksum, Some(XxHash3_64::oneshot(b"first")));
}

#[test]
fn a_set_that_stopped_before_the_change_shows_the_object_before() {
    for parent in directories().expect("directories") {
        let store = Store::new(parent);
        let key = store.put(b"first");
        let saved = store.path.join("saved");
        // The old data keeps its inode under another name, and comes back.
        fs::hard_link(store.data(&key), &saved).expect("a name");
        store.set(&key, b"another").expect("room");
        fs::rename(&saved, store.data(&key)).expect("a name");
        assert_eq!(store.bytes(&key).as_deref(), Some(&b"first"[..]));
        store.set(&key, b"third").expect("room");
        assert_eq!(store.bytes(&key).as_deref(), Some(&b"third"[..]));
    }
}

#[test]
fn a_data_file_from_elsewhere_is_noticed() {
    let store = Store::in_memory();
    let bytes = vec![7; 10_000];
    let key = store.put(&bytes);
    fs::remove_file(store.data(&key)).expect("it is there");
    let _keeps_the_inode_number = File::create(store.path.join("other")).expect("room");
    fs::write(store.data(&key), &bytes).expect("room");
    corrupted(store.get(&key), &store.data(&key), "replaced from outside");
    // Setting it anew mends it.
    store.set(&key, b"new").expect("room");
    assert_eq!(store.bytes(&key).as_deref(), Some(&b"new"[..]));
}

#[test]
fn small_objects_have_a_checksum_even_in_memory() {
    let store = Store::in_memory();
    for len in [1, 100, 4095] {
        let key = store.put(&vec![7; len]);
        fs::set_permissions(store.data(&key), fs::Permissions::from_mode(0o644))
            .expect("it is ours");
        let mut changed = vec![7; len];
        changed[len / 2] = 8;
        fs::write(store.data(&key), changed).expect("room");
        corrupted(
            store.get(&key),
            &store.data(&key),
            "changed since it was put",
        );
    }
}

#[test]
fn a_marker_without_data_is_an_error_until_it_is_evicted() {
    let store = Store::in_memory();
    for key in [store.put(b"object"), store.put_as_upstream(b"object")] {
        fs::remove_file(store.data(&key)).expect("it is there");
        corrupted(store.get(&key), &store.data(&key), "its file is gone");
        store.evict(&key).expect("no error");
        assert!(!store.exists(&key));
        assert!(store.bytes(&key).is_none());
    }
}

#[test]
fn data_without_a_marker_is_not_there() {
    let store = Store::in_memory();
    let key = Key::text(NAME);
    fs::write(store.data(&key), b"half an obj").expect("room");
    assert!(!store.exists(&key));
    assert!(store.bytes(&key).is_none());
    store.set(&key, b"object").expect("room");
    assert_eq!(store.bytes(&key).as_deref(), Some(&b"object"[..]));
}

#[test]
fn a_damaged_marker_is_an_error_that_names_it() {
    let store = Store::on_disk();
    let key = store.put(b"object");
    let good = fs::read(store.marker(&key)).expect("a marker");
    for (record, says) in [
        (&b"rubbish"[..], "neither empty nor a record"),
        (&good[..good.len() - 1], "its marker is damaged"),
        (&[&good[..], b"x"].concat(), "its marker is damaged"),
        (&vec![b'P'; 100_000], "neither empty nor a record"),
    ] {
        fs::remove_file(store.marker(&key)).expect("it is there");
        fs::write(store.marker(&key), record).expect("room");
        corrupted(store.get(&key), &store.marker(&key), says);
    }
}

#[test]
fn markers_of_newer_releases_are_understood_as_far_as_they_allow() {
    let store = Store::on_disk();
    let key = store.put(b"object");
    let record = fs::read(store.marker(&key)).expect("a marker");
    let newer = |oldest_reader| {
        let mut record = record[..record.len() - 8].to_vec();
        record.extend(b"a new field");
        (record[4], record[5]) = (9, oldest_reader);
        let len = u16::try_from(record.len() + 8).expect("small");
        record[8..10].copy_from_slice(&len.to_le_bytes());
        let checksum = XxHash3_64::oneshot(&record);
        record.extend(checksum.to_le_bytes());
        fs::remove_file(store.marker(&key)).expect("it is there");
        fs::write(store.marker(&key), &record).expect("room");
    };
    newer(1);
    assert_eq!(store.bytes(&key).as_deref(), Some(&b"object"[..]));
    newer(9);
    let error = store.get(&key).expect_err("it is too new");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("version 9"), "{error}");
    store.evict(&key).expect("no error");
}

#[test]
fn what_is_no_file_is_an_error_and_not_a_trap() {
    let store = Store::in_memory();
    let key = store.put(b"object");
    let secret = store.path.join("secret");
    fs::write(&secret, b"secret").expect("room");
    let replace = || fs::remove_file(store.data(&key)).expect("it is there");
    replace();
    symlink(&secret, store.data(&key)).expect("a link");
    let error = store.get(&key).expect_err("a link");
    assert_eq!(error.kind(), ErrorKind::Os, "{error:?}");
    replace();
    let status = std::process::Command::new("mkfifo")
        .arg(store.data(&key))
        .status();
    assert!(status.expect("mkfifo").success());
    corrupted(store.get(&key), &store.data(&key), "not a regular file");
    replace();
    fs::create_dir(store.data(&key)).expect("room");
    corrupted(store.get(&key), &store.data(&key), "not a regular file");
}

#[test]
fn the_directory_is_created_with_its_parents() {
    let parent = directory_in_memory().expect("a directory");
    let path = parent.path().join("a/b/c");
    let connector = FACTORY.open(&config(&path)).expect("it opens");
    assert!(path.is_dir());
    drop(connector);
    assert!(path.is_dir(), "only close removes it");
}

#[test]
fn a_directory_that_cannot_be_created_is_an_error_that_names_it() {
    let parent = directory_in_memory().expect("a directory");
    let file = parent.path().join("file");
    fs::write(&file, b"").expect("room");
    for path in [
        file.join("objects"),
        file.clone(),
        PathBuf::from("/proc/no/such"),
    ] {
        let error = FACTORY.open(&config(&path)).expect_err("no directory");
        assert_eq!(error.path(), Some(path.as_path()), "{error:?}");
        assert!(error.os_error().is_some(), "{error:?}");
    }
}

#[test]
fn a_directory_that_was_removed_holds_nothing() {
    let store = Store::in_memory();
    let key = store.put(b"object");
    fs::remove_dir_all(&store.path).expect("it is there");
    assert!(!store.exists(&key));
    assert!(store.bytes(&key).is_none());
    store.evict(&key).expect("nothing to do");
    for error in [
        put_error(&store),
        store.set(&key, b"x").expect_err("no directory"),
    ] {
        assert_eq!(error.os_error(), Some(2), "{error:?}");
        assert!(error.message().contains("the directory is gone"), "{error}");
        assert!(error.context("operation").is_some(), "{error:?}");
        assert!(
            error
                .path()
                .is_some_and(|path| path.starts_with(&store.path))
        );
    }
    // Made again by somebody else, it is used again.
    fs::create_dir(&store.path).expect("room");
    let key = store.put(b"object");
    assert!(store.exists(&key));
}

fn put_error(store: &Store) -> Error {
    let segments = [Segment::from(b"object")];
    let put = store
        .connector
        .put(Payload::from(&segments), Deadline::never());
    now(put).expect_err("it cannot be put")
}

#[test]
fn a_lock_that_is_never_given_back_ends_a_set_at_its_deadline() {
    let store = Store::in_memory();
    let key = store.put(b"object");
    let directory = File::open(&store.path).expect("a directory");
    flock(&directory, FlockOperation::LockExclusive).expect("a lock");
    let deadline = || Deadline::at(Instant::now() + Duration::from_millis(20));
    let segments = [Segment::from(b"other")];
    let payload = Payload::from(&segments);
    for result in [
        now(store.connector.set(&key, payload, deadline())),
        now(store.connector.evict(&key, deadline())),
    ] {
        let error = result.expect_err("the lock is taken");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
        assert_eq!(error.path(), Some(store.path.as_path()));
    }
    assert_eq!(store.names().len(), 2);
    // Nobody else waits for it.
    assert_eq!(store.bytes(&key).as_deref(), Some(&b"object"[..]));
}

#[test]
fn clearing_spares_the_files_of_others_and_removes_leftovers() {
    let store = Store::on_disk();
    let key = store.put(b"object");
    store.put_as_upstream(b"object");
    let name = key.as_text().expect("a name");
    for leftover in [
        format!("{name}.0123456789abcdef.tmp"),
        format!("{name}.ready.0123456789abcdef.tmp"),
        "00000000-0000-4000-8000-000000000000".to_owned(),
    ] {
        fs::write(store.path.join(leftover), b"").expect("room");
    }
    fs::write(store.path.join("notes.txt"), b"mine").expect("room");
    store.close(None).expect("it is open");
    assert_eq!(store.names(), ["notes.txt"]);
    // Asked once more, explicitly, it clears what came since.
    fs::remove_file(store.path.join("notes.txt")).expect("it is there");
    store.close(None).expect("nothing to do");
    assert!(store.path.exists());
    store.close(Some(true)).expect("it can be removed");
    assert!(!store.path.exists());
    store.close(Some(true)).expect("nothing to do");
}

#[test]
fn clearing_goes_on_past_what_cannot_be_removed() {
    let store = Store::on_disk();
    let keys = [store.put(b"first"), store.put(b"kept"), store.put(b"last")];
    let marker = store.marker(&keys[1]);
    fs::remove_file(&marker).expect("it is there");
    fs::create_dir(&marker).expect("room");
    let error = store.close(None).expect_err("a directory is no file");
    assert_eq!(error.path(), Some(marker.as_path()));
    let name = keys[1].as_text().expect("a name");
    // Its data stays with the marker.
    let mut names = store.names();
    names.sort();
    assert_eq!(names, [name.to_owned(), format!("{name}.ready")]);
}

#[test]
fn a_directory_that_is_a_link_is_emptied_and_stays() {
    let parent = directory_on_disk().expect("a directory");
    let target = parent.path().join("target");
    fs::create_dir(&target).expect("room");
    symlink(&target, parent.path().join("objects")).expect("room");
    let store = Store::new(parent);
    store.put(b"object");
    store.close(None).expect("the objects are removed");
    assert!(store.names().is_empty());
    assert!(store.path.is_symlink());
}

#[test]
fn options_are_kept_and_only_those_that_differ_are_told() {
    let parent = directory_in_memory().expect("a directory");
    let told = |config: &Config| FACTORY.open(config).expect("it opens").config();
    let plain = config(&parent.path().join("objects"));
    let defaults = plain.clone().with("clear", true).with("buffering", -1_i64);
    assert_eq!(told(&defaults), plain);
    let other = plain
        .with("clear", false)
        .with("buffering", 0_i64)
        .with("fsync", true);
    assert_eq!(told(&other), other);
}

#[test]
fn objects_are_stored_the_same_with_fsync() {
    let parent = directory_on_disk().expect("a directory");
    let config = config(&parent.path().join("objects")).with("fsync", Value::Bool(true));
    let connector = FACTORY.open(&config).expect("it opens");
    let segments = [Segment::from(b"object")];
    let payload = Payload::from(&segments);
    let key = now(connector.put(payload, Deadline::never())).expect("room");
    for _ in 0..2 {
        now(connector.set(&key, payload, Deadline::never())).expect("room");
    }
    let memory = now(connector.get(&key, Deadline::never())).expect("no error");
    assert_eq!(memory.expect("an object").to_vec(), b"object");
}

#[test]
fn an_object_that_is_written_to_while_it_is_read_is_read_again() {
    let store = Store::on_disk();
    let key = store.put_as_upstream(&vec![0; LARGE]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for value in 1..=40 {
                let file = OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(store.data(&key));
                let mut file = file.expect("a file");
                file.write_all(&vec![value; LARGE]).expect("room");
            }
        });
        while !writer.is_finished() {
            // Never a mixture in length: whole, or refused as being in use.
            match store.get(&key) {
                Ok(memory) => drop(memory.expect("its marker is there")),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupted, "{error:?}"),
            }
        }
    });
    assert_eq!(store.bytes(&key), Some(vec![40; LARGE]));
}

#[test]
fn sets_and_evicts_that_race_leave_an_object_or_none() {
    for parent in directories().expect("directories") {
        let store = Store::new(parent);
        let key = store.put(b"start");
        std::thread::scope(|scope| {
            let writers: Vec<_> = (1..=2_u8)
                .map(|writer| {
                    let (store, key) = (&store, &key);
                    scope.spawn(move || {
                        for _ in 0..200 {
                            store.set(key, &vec![writer; 300 * 1024]).expect("room");
                        }
                    })
                })
                .collect();
            let evicter = scope.spawn(|| {
                for _ in 0..200 {
                    store.evict(&key).expect("no error");
                }
            });
            let at_work = || {
                let mut threads = writers.iter().chain([&evicter]);
                threads.any(|thread| !thread.is_finished())
            };
            while at_work() {
                if let Some(bytes) = store.bytes(&key) {
                    let whole = bytes == b"start" || bytes.iter().all(|byte| *byte == bytes[0]);
                    assert!(whole, "torn");
                }
            }
        });
        store.set(&key, b"end").expect("room");
        assert_eq!(store.bytes(&key).as_deref(), Some(&b"end"[..]));
        store.evict(&key).expect("no error");
        assert!(store.names().is_empty(), "{:?}", store.names());
    }
}

#[test]
fn a_marker_can_be_made_by_hand() {
    // What another implementation of the format has to write.
    let store = Store::in_memory();
    let key = Key::text(NAME);
    fs::write(store.data(&key), b"object").expect("room");
    let marker = Marker {
        nonce: 1,
        object: Entry {
            inode: None,
            length: 6,
            checksum: Some(XxHash3_64::oneshot(b"object")),
        },
        previous: None,
    };
    fs::write(store.marker(&key), marker.encode()).expect("room");
    assert_eq!(store.bytes(&key).as_deref(), Some(&b"object"[..]));
    fs::write(store.data(&key), b"objekt").expect("room");
    corrupted(
        store.get(&key),
        &store.data(&key),
        "changed since it was put",
    );
}
