//! Shared memory beside a copy into memory that is there already.
//!
//! Every group has a `floor`: the same bytes copied by `memcpy`, or the file mapped and unmapped.

#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without any"
)]

use std::{convert::Infallible, hint::black_box, io::Write, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proxystore_core::{
    Config, Connector, Deadline, Factory, Operation, Payload, Result, Segment, Value,
};
use proxystore_memory::Mapping;
use proxystore_runtime::drive;
use proxystore_shm::FACTORY;
use tempfile::TempDir;

const SIZES: [usize; 5] = [100, 10_000, 100_000, 1_000_000, 100_000_000];

fn now<T>(operation: Operation<'_, Result<T>>) -> T {
    drive(operation, Deadline::never(), || Ok::<(), Infallible>(())).expect("no error")
}

fn connector(directory: &TempDir) -> Arc<dyn Connector> {
    let path = directory.path().join("namespaces");
    let path = Value::Text(path.to_string_lossy().into_owned());
    let config = Config::new().with("directory", path).with("hold", 0.0);
    FACTORY.open(&config).expect("it opens")
}

fn puts(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let connector = connector(&directory);
    for size in SIZES {
        let bytes = vec![7_u8; size];
        let segments = [Segment::from(&bytes)];
        let payload = Payload::from(&segments);
        let mut group = criterion.benchmark_group(format!("shm put and evict, {size} B"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("connector", |bencher| {
            bencher.iter(|| {
                let key = now(connector.put(payload, Deadline::never()));
                now(connector.evict(&key, Deadline::never()));
            });
        });
        let mut target = vec![1; size];
        group.bench_function("floor: memcpy", |bencher| {
            bencher.iter(|| target.copy_from_slice(black_box(&bytes)));
        });
        group.finish();
    }
}

fn gets(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let connector = connector(&directory);
    for size in SIZES {
        let bytes = vec![7_u8; size];
        let segments = [Segment::from(&bytes)];
        let key = now(connector.put(Payload::from(&segments), Deadline::never()));
        let mut group = criterion.benchmark_group(format!("shm get, {size} B"));
        group.bench_function("connector", |bencher| {
            bencher.iter(|| now(connector.get(&key, Deadline::never())));
        });
        let mut target = vec![1; size];
        if size <= 16 << 10 {
            group.bench_function("floor: memcpy", |bencher| {
                bencher.iter(|| target.copy_from_slice(black_box(&bytes)));
            });
        } else {
            let mut file = tempfile::tempfile_in(&directory).expect("a file");
            file.write_all(&bytes).expect("room");
            group.bench_function("floor: mmap and munmap", |bencher| {
                bencher.iter(|| Mapping::of_file(&file, size).expect("a view"));
            });
        }
        group.finish();
        if size > 16 << 10 {
            let mut group = criterion.benchmark_group(format!("shm get a copy, {size} B"));
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function("connector", |bencher| {
                bencher.iter(|| now(connector.get_copy(&key, Deadline::never())));
            });
            group.bench_function("floor: memcpy", |bencher| {
                bencher.iter(|| target.copy_from_slice(black_box(&bytes)));
            });
            group.finish();
        }
        now(connector.evict(&key, Deadline::never()));
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
    targets = puts, gets
}
criterion_main!(benches);
