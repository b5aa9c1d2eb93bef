//! The file connector beside the bare system calls that it makes, in memory and on a disk.
//!
//! Every group has a `floor`: the same system calls and nothing else, or for large objects one
//! write(2) or mmap(2). What cleans up is not measured.

#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without any"
)]

use std::{
    convert::Infallible,
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use proxystore_core::{
    CloseOptions, Config, Connector, Deadline, Factory, Key, Operation, Payload, Result, Segment,
};
use proxystore_file::FACTORY;
use proxystore_memory::{Mapping, write_all};
use proxystore_runtime::drive;
use rustix::fs::{Access, Mode, OFlags};

const SMALL: usize = 100;
const LARGE: usize = 100_000_000;

fn now<T>(operation: Operation<'_, Result<T>>) -> T {
    drive(operation, Deadline::never(), || Ok::<(), Infallible>(())).expect("no error")
}

fn places() -> [(&'static str, PathBuf); 2] {
    let disk = env::var_os("CARGO_TARGET_TMPDIR").map_or_else(env::temp_dir, PathBuf::from);
    [("memory", PathBuf::from("/dev/shm")), ("disk", disk)]
}

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
    connector: Arc<dyn Connector>,
}

impl Place {
    fn new(parent: &Path) -> Self {
        let directory = tempfile::TempDir::new_in(parent).expect("a directory");
        let path = directory.path().join("objects");
        let config = Config::new().with("store_dir", path.to_string_lossy().into_owned());
        Self {
            _directory: directory,
            path,
            connector: FACTORY.open(&config).expect("it opens"),
        }
    }

    fn put(&self, payload: Payload<'_>) -> Key {
        now(self.connector.put(payload, Deadline::never()))
    }

    fn evict(&self, key: &Key) {
        now(self.connector.evict(key, Deadline::never()));
    }

    /// The paths of object number `number` of the bare system calls.
    fn bare(&self, number: u64) -> [PathBuf; 3] {
        let name = format!("{number:08x}-0000-4000-8000-000000000000");
        [
            self.path.join(&name),
            self.path.join(format!("{name}.ready")),
            self.path.join(format!("{name}.ready.0000000000000000.tmp")),
        ]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let options = CloseOptions { clear: Some(true) };
        now(self.connector.close(options, Deadline::never()));
    }
}

/// Measures `work` once for every number, and does `clean` unmeasured.
fn measured<T>(count: u64, mut work: impl FnMut(u64) -> T, mut clean: impl FnMut(T)) -> Duration {
    let mut took = Duration::ZERO;
    for number in 0..count {
        let began = Instant::now();
        let made = work(number);
        took += began.elapsed();
        clean(made);
    }
    took
}

fn create(path: &Path) -> rustix::fd::OwnedFd {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o444)).expect("a file")
}

fn open(path: &Path) -> rustix::fd::OwnedFd {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty()).expect("a file")
}

fn bare_put([data, marker, temporary]: &[PathBuf; 3], bytes: &[u8]) {
    let mut random = [0; 24];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).expect("bytes");
    let file = create(data);
    write_all(&file, &[Segment::from(bytes)]).expect("room");
    rustix::fs::fstat(&file).expect("a status");
    drop(file);
    let file = create(temporary);
    write_all(&file, &[Segment::from(&random)]).expect("room");
    drop(file);
    rustix::fs::rename(temporary, marker).expect("a name");
}

fn bare_get([data, marker, _]: &[PathBuf; 3], buffer: &mut [u8]) {
    let file = open(marker);
    rustix::io::read(&file, &mut *buffer).expect("a marker");
    drop(file);
    let file = open(data);
    rustix::fs::fstat(&file).expect("a status");
    rustix::io::read(&file, buffer).expect("an object");
}

fn small(criterion: &mut Criterion) {
    let bytes = vec![7_u8; SMALL];
    let segments = [Segment::from(&bytes)];
    let payload = Payload::from(&segments);
    for (name, parent) in places() {
        let place = Place::new(&parent);
        let mut group = criterion.benchmark_group(format!("{name} put, {SMALL} B"));
        group.bench_function("connector", |bencher| {
            bencher.iter_custom(|count| {
                measured(count, |_| place.put(payload), |key| place.evict(&key))
            });
        });
        group.bench_function("floor: the same system calls", |bencher| {
            let mut paths = place.bare(0);
            bencher.iter_custom(|count| {
                let put = |number| {
                    paths = place.bare(number);
                    bare_put(&paths, &bytes);
                    [paths[0].clone(), paths[1].clone()]
                };
                let remove = |paths: [PathBuf; 2]| {
                    for path in paths {
                        std::fs::remove_file(path).expect("a file");
                    }
                };
                measured(count, put, remove)
            });
        });
        group.finish();

        let key = place.put(payload);
        let paths = place.bare(u64::from(u32::MAX));
        bare_put(&paths, &bytes);
        let mut group = criterion.benchmark_group(format!("{name} get, {SMALL} B"));
        group.bench_function("connector", |bencher| {
            bencher.iter(|| now(place.connector.get(&key, Deadline::never())));
        });
        group.bench_function("floor: the same system calls", |bencher| {
            let mut buffer = [0; 1024];
            bencher.iter(|| bare_get(&paths, &mut buffer));
        });
        group.finish();

        let mut group = criterion.benchmark_group(format!("{name} exists"));
        group.bench_function("connector", |bencher| {
            bencher.iter(|| now(place.connector.exists(&key, Deadline::never())));
        });
        group.bench_function("floor: access(2)", |bencher| {
            bencher.iter(|| rustix::fs::access(&paths[1], Access::EXISTS));
        });
        group.finish();

        let mut group = criterion.benchmark_group(format!("{name} set and evict, {SMALL} B"));
        group.bench_function("set", |bencher| {
            bencher.iter(|| now(place.connector.set(&key, payload, Deadline::never())));
        });
        group.bench_function("evict", |bencher| {
            bencher.iter_custom(|count| {
                let keys: Vec<_> = (0..count).map(|_| place.put(payload)).collect();
                let mut keys = keys.iter();
                measured(count, |_| keys.next().map(|key| place.evict(key)), drop)
            });
        });
        group.finish();
    }
}

fn large(criterion: &mut Criterion) {
    let bytes = vec![7_u8; LARGE];
    let segments = [Segment::from(&bytes)];
    let payload = Payload::from(&segments);
    for (name, parent) in places() {
        let place = Place::new(&parent);
        let mut group = criterion.benchmark_group(format!("{name} put, {LARGE} B"));
        group.bench_function("connector", |bencher| {
            bencher.iter_custom(|count| {
                measured(count, |_| place.put(payload), |key| place.evict(&key))
            });
        });
        let path = place.path.join("bare");
        group.bench_function("floor: write(2)", |bencher| {
            bencher.iter_custom(|count| {
                let write = |_| write_all(create(&path), &segments).expect("room");
                measured(count, write, |()| {
                    std::fs::remove_file(&path).expect("a file");
                })
            });
        });
        group.finish();

        let key = place.put(payload);
        let data = place.path.join(key.as_text().expect("a file name"));
        let mut group = criterion.benchmark_group(format!("{name} get, {LARGE} B"));
        group.bench_function("connector", |bencher| {
            bencher.iter(|| now(place.connector.get(&key, Deadline::never())));
        });
        group.bench_function("floor: mmap(2)", |bencher| {
            bencher.iter(|| Mapping::of_file(open(&data), LARGE).expect("a view"));
        });
        let mut buffer = vec![0_u8; LARGE];
        group.bench_function("connector, then read every byte", |bencher| {
            bencher.iter(|| {
                let memory = now(place.connector.get(&key, Deadline::never()));
                memory.expect("an object").copy_to(&mut buffer)
            });
        });
        group.bench_function("floor: read(2) into a kept buffer", |bencher| {
            bencher.iter(|| {
                let file = std::fs::File::from(open(&data));
                std::os::unix::fs::FileExt::read_exact_at(&file, &mut buffer, 0)
            });
        });
        group.finish();
    }
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = short();
    targets = small, large
}
criterion_main!(benches);
