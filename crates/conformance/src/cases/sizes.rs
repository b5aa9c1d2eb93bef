//! Objects small and large.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use proxystore_core::Segment;

use super::support::{Client, pattern};
use crate::{
    case::{Failure, Outcome, ensure},
    fixture::Fixture,
};

/// What no 32-bit count of bytes can say.
pub(super) const BEYOND_4_GIB: usize = (4 << 30) + 12_345;

/// The object put while memory is measured: large against every bound that makes sense.
const MEASURED: usize = 256 << 20;

/// What the allocator and other threads may use meanwhile.
const SLACK: u64 = 16 << 20;

pub(super) fn objects_of_many_sizes(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let largest = client.0.capabilities().max_object_size;
    let largest = largest.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX));
    let powers = (0..=24).map(|power| 1_usize << power);
    let around = powers.flat_map(|power| [power - 1, power, power + 1]);
    for (seed, len) in (1..).zip(around).filter(|(_, len)| *len <= largest) {
        let bytes = pattern(len, seed);
        let key = client.put(&bytes)?;
        client.expect(&key, &bytes)?;
        client.evict(&key)?;
    }
    Ok(Outcome::Passed)
}

pub(super) fn objects_beyond_4_gib(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    // One block over and over: the source is small, and no two places within a block are alike.
    let block = pattern(64 << 20, 1);
    let (whole, rest) = (BEYOND_4_GIB / block.len(), BEYOND_4_GIB % block.len());
    let mut segments = vec![Segment::from(&block); whole];
    segments.push(Segment::from(&block[..rest]));
    let key = client.put_parts(&segments)?;
    let memory = client.memory(&key)?;
    client.evict(&key)?;
    let Some(memory) = memory else {
        return Err(Failure::new(
            "an object beyond 4 GiB is not there after put",
        ));
    };
    ensure!(
        memory.len() == BEYOND_4_GIB,
        "an object of {BEYOND_4_GIB} bytes came back with {}",
        memory.len()
    );
    let mut found = vec![0; block.len()];
    for (index, segment) in segments.iter().enumerate() {
        let start = index * block.len();
        let copied = memory.as_segment().slice(start..).copy_to(&mut found);
        ensure!(
            copied == segment.len() && found[..copied] == block[..copied],
            "an object beyond 4 GiB differs within the 64 MiB from byte {start}"
        );
    }
    Ok(Outcome::Passed)
}

pub(super) fn transit_memory_is_bounded(fixture: &dyn Fixture) -> Result<Outcome, Failure> {
    let client = Client::open(fixture)?;
    let Some(bound) = client.0.capabilities().transit_memory else {
        return Ok(Outcome::NotApplicable);
    };
    let block = pattern(1 << 20, 1);
    let segments = vec![Segment::from(&block); MEASURED / block.len()];
    let Some(before) = anonymous_memory() else {
        return Ok(Outcome::Untestable("/proc/self/status"));
    };
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let key = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_memory().unwrap_or(0), Ordering::Relaxed);
                thread::sleep(Duration::from_micros(500));
            }
        });
        let key = client.put_parts(&segments);
        done.store(true, Ordering::Relaxed);
        key
    })?;
    client.evict(&key)?;
    let used = peak.into_inner().saturating_sub(before);
    ensure!(
        used <= bound + SLACK,
        "putting {MEASURED} bytes took {used} bytes of memory besides; {bound} are stated"
    );
    Ok(Outcome::Passed)
}

/// The bytes of this process's memory that belong to no file.
fn anonymous_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
