//! Checksums, written and verified piece by piece.

use std::{
    hash::Hasher,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::mpsc,
    thread,
};

use proxystore_core::{Memory, Payload, Segment};
use proxystore_memory::{Cursor, scratch::PIECE, with_scratch, write_all};
use twox_hash::XxHash3_64;

/// From this many bytes on, a second thread copies and sums the next piece while this one writes.
const PIPELINED: usize = 8 << 20;

/// Pieces under way between the two threads.
const IN_FLIGHT: usize = 3;

/// Writes an object and returns the checksum of exactly the bytes written, even if somebody
/// changes the source meanwhile.
pub(crate) fn write_summed(descriptor: impl AsFd, payload: Payload<'_>) -> io::Result<u64> {
    let descriptor = descriptor.as_fd();
    if payload.len() >= PIPELINED
        && let Some(result) = write_pipelined(descriptor, payload)
    {
        return result;
    }
    with_scratch(payload.len(), |buffer| {
        let mut cursor = payload.cursor();
        let first = cursor.fill(buffer);
        write_all(descriptor, &[Segment::from(&buffer[..first])])?;
        if first == payload.len() {
            return Ok(XxHash3_64::oneshot(&buffer[..first]));
        }
        let mut sum = XxHash3_64::new();
        sum.write(&buffer[..first]);
        loop {
            let filled = cursor.fill(buffer);
            if filled == 0 {
                return Ok(sum.finish());
            }
            sum.write(&buffer[..filled]);
            write_all(descriptor, &[Segment::from(&buffer[..filled])])?;
        }
    })
}

/// The checksum of the bytes of one object, or why they cannot be read.
pub(crate) fn checksum(memory: &Memory) -> io::Result<u64> {
    if let Some(bytes) = memory.as_slice() {
        return Ok(XxHash3_64::oneshot(bytes));
    }
    with_scratch(memory.len(), |buffer| {
        let segments = [memory.as_segment()];
        let mut cursor = Cursor::new(&segments);
        let mut sum = XxHash3_64::new();
        for offset in (0..memory.len()).step_by(buffer.len()) {
            memory.load(offset, buffer.len())?;
            let filled = cursor.fill(buffer);
            sum.write(&buffer[..filled]);
        }
        Ok(sum.finish())
    })
}

/// None if there is no second thread to be had.
fn write_pipelined(descriptor: BorrowedFd<'_>, payload: Payload<'_>) -> Option<io::Result<u64>> {
    let (full, to_write) = mpsc::channel::<(Vec<u8>, usize)>();
    let (empty, to_fill) = mpsc::channel::<Vec<u8>>();
    for _ in 0..IN_FLIGHT {
        empty.send(vec![0; PIECE]).ok()?;
    }
    thread::scope(|scope| {
        let summing = thread::Builder::new().spawn_scoped(scope, move || {
            let mut cursor = payload.cursor();
            let mut sum = XxHash3_64::new();
            // Ends with the object, or when the writer gave up and hung up.
            while let Ok(mut buffer) = to_fill.recv() {
                let len = cursor.fill(&mut buffer);
                if len == 0 {
                    break;
                }
                sum.write(&buffer[..len]);
                if full.send((buffer, len)).is_err() {
                    break;
                }
            }
            sum.finish()
        });
        let summing = summing.ok()?;
        let mut result = Ok(());
        while let Ok((buffer, len)) = to_write.recv() {
            result = write_all(descriptor, &[Segment::from(&buffer[..len])]);
            if result.is_err() {
                break;
            }
            // A thread that has ended needs no more buffers.
            let _ = empty.send(buffer);
        }
        drop((to_write, empty));
        let sum = summing.join();
        Some(result.and_then(|()| sum.map_err(|_| io::Error::other("a thread panicked"))))
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::OpenOptions,
        io::{Read, Seek},
        sync::atomic::{AtomicBool, AtomicU8, Ordering},
    };

    use super::*;

    fn pattern(len: usize) -> Vec<u8> {
        (0..=250).cycle().take(len).collect()
    }

    #[test]
    fn what_is_summed_is_what_is_written() {
        for len in [
            0,
            1,
            240,
            PIECE - 1,
            PIECE,
            PIECE + 1,
            3 * PIECE,
            PIPELINED + 5,
        ] {
            let bytes = pattern(len);
            let segments = [
                Segment::from(&bytes[..len / 3]),
                Segment::from(&bytes[len / 3..]),
            ];
            let mut file = tempfile::tempfile().expect("a file");
            let sum = write_summed(&file, Payload::from(&segments)).expect("room");
            assert_eq!(sum, XxHash3_64::oneshot(&bytes), "{len}");
            file.rewind().expect("a seek");
            let mut read = Vec::new();
            file.read_to_end(&mut read).expect("a read");
            assert!(read == bytes, "{len}");
            if len > 0 {
                let mapping = proxystore_memory::Mapping::of_file(&file, len).expect("a view");
                let found = checksum(&Memory::from(mapping)).expect("it can be read");
                assert_eq!(found, sum, "{len}");
            }
        }
    }

    #[test]
    fn a_source_that_changes_is_written_as_it_is_summed() {
        let source: Vec<AtomicU8> = (0..PIPELINED).map(|_| AtomicU8::new(0)).collect();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for value in (0..=255).cycle() {
                    for byte in source.iter().step_by(64) {
                        byte.store(value, Ordering::Relaxed);
                    }
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
            // One copy for every path: both threads, one thread, one piece.
            for len in [PIPELINED, PIPELINED - 1, 1000] {
                let mut file = tempfile::tempfile().expect("a file");
                let part = Segment::from(&source[..len]);
                let sum = write_summed(&file, Payload::from(&[part])).expect("room");
                file.rewind().expect("a seek");
                let mut read = Vec::new();
                file.read_to_end(&mut read).expect("a read");
                assert_eq!(sum, XxHash3_64::oneshot(&read));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_refused_write_ends_both_threads() {
        let bytes = pattern(PIPELINED);
        let full = OpenOptions::new().write(true).open("/dev/full");
        let full = full.expect("the device");
        let error = write_summed(&full, Payload::from(&[Segment::from(&bytes)]));
        assert_eq!(
            error.expect_err("no room").kind(),
            io::ErrorKind::StorageFull
        );
    }
}
