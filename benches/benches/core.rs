//! The core beside what the machine does without it.
//!
//! Every group has a `floor`: the same work without any of this project's code.

#![allow(
    missing_docs,
    reason = "criterion's macros make public functions without any"
)]

use std::{
    convert::Infallible,
    fs::File,
    hash::{BuildHasher, RandomState},
    hint::black_box,
    io::{Read, Seek},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proxystore_core::{Config, Deadline, Factory, Key, Operation, Payload, Result, Segment, local};
use proxystore_memory::Memory;
use proxystore_runtime::{drive, generation};

const SIZES: [usize; 3] = [100, 1_000_000, 100_000_000];

fn now<T>(operation: Operation<'_, Result<T>>) -> T {
    drive(operation, Deadline::never(), || Ok::<(), Infallible>(())).expect("no error")
}

fn local(criterion: &mut Criterion) {
    let connector = local::FACTORY.open(&Config::new()).expect("it opens");
    for size in SIZES {
        let bytes = vec![7_u8; size];
        let segments = [Segment::from(&bytes)];
        let payload = Payload::from(&segments);
        let mut group = criterion.benchmark_group(format!("local put and evict, {size} B"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("connector", |bencher| {
            bencher.iter(|| {
                let key = now(connector.put(payload, Deadline::never()));
                now(connector.evict(&key, Deadline::never()));
            });
        });
        group.bench_function("floor: copy into fresh memory", |bencher| {
            bencher.iter(|| black_box(bytes.as_slice()).to_vec());
        });
        group.finish();
        let key = now(connector.put(payload, Deadline::never()));
        let mut group = criterion.benchmark_group(format!("local get, {size} B"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("connector", |bencher| {
            bencher.iter(|| now(connector.get(&key, Deadline::never())));
        });
        group.bench_function("floor: copy into fresh memory", |bencher| {
            bencher.iter(|| black_box(bytes.as_slice()).to_vec());
        });
        group.finish();
        now(connector.evict(&key, Deadline::never()));
    }
}

fn memory(criterion: &mut Criterion) {
    for size in SIZES {
        let bytes = vec![7_u8; size];
        let mut file = tempfile::tempfile_in("/dev/shm").expect("a file");
        std::io::Write::write_all(&mut file, &bytes).expect("room");
        let rewind = |file: &mut File| file.rewind().expect("a seek");
        let mut group = criterion.benchmark_group(format!("read a file, {size} B"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("Memory::read_exact", |bencher| {
            bencher.iter(|| {
                rewind(&mut file);
                Memory::read_exact(&file, size).expect("all bytes")
            });
        });
        group.bench_function("floor: read(2) into a kept buffer", |bencher| {
            let mut buffer = vec![0; size];
            bencher.iter(|| {
                rewind(&mut file);
                file.read_exact(black_box(&mut buffer)).expect("all bytes");
            });
        });
        group.finish();
        // Written once, so that its pages are there.
        let mut target = vec![1; size];
        let mut group = criterion.benchmark_group(format!("copy out, {size} B"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("Segment::copy_to", |bencher| {
            let segment = Segment::from(&bytes);
            bencher.iter(|| black_box(segment).copy_to(&mut target));
        });
        group.bench_function("floor: memcpy", |bencher| {
            bencher.iter(|| target.copy_from_slice(black_box(&bytes)));
        });
        group.finish();
    }
}

fn words(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("words");
    group.bench_function("drive a ready operation", |bencher| {
        bencher.iter(|| now(Operation::ready(Ok(black_box(7)))));
    });
    group.bench_function("drive a pending operation", |bencher| {
        bencher.iter(|| now(Operation::pending(async { Ok(black_box(7)) })));
    });
    group.bench_function("fork generation", |bencher| bencher.iter(generation));
    let name = "977218f4-d6ac-460a-85a8-99950957b5dc";
    group.bench_with_input(BenchmarkId::new("key", "make"), name, |bencher, name| {
        bencher.iter(|| Key::text(black_box(name)));
    });
    let (key, hasher) = (Key::text(name), RandomState::new());
    group.bench_with_input(BenchmarkId::new("key", "hash"), &key, |bencher, key| {
        bencher.iter(|| hasher.hash_one(black_box(key)));
    });
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = short();
    targets = words, local, memory
}
criterion_main!(benches);
