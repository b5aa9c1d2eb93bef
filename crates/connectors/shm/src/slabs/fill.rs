//! Copying objects into cells.

use std::sync::atomic::{AtomicU64, Ordering};

use proxystore_core::Payload;
use proxystore_memory::Cursor;
use twox_hash::XxHash3_64;

use crate::error::ShmError;

/// All bytes of an object that is to be completed while it is stored; none if it is complete.
pub(super) fn sealed(payload: &Payload<'_>) -> Result<Option<Vec<u8>>, ShmError> {
    let (Some(seal), [first, rest @ ..]) = (payload.seal(), payload.segments()) else {
        return Ok(None);
    };
    // What is summed is a copy, as the source may be written to meanwhile.
    let mut bytes = vec![0; payload.len()];
    payload.cursor().fill(&mut bytes);
    let (head, mut tail) = bytes.split_at_mut(first.len());
    let mut sums = Vec::with_capacity(rest.len());
    for segment in rest {
        let (part, others) = tail.split_at_mut(segment.len());
        sums.push(XxHash3_64::oneshot(part));
        tail = others;
    }
    let completed = seal.seal(&sums);
    if completed.len() != head.len() {
        return Err(ShmError::Corrupted {
            problem: "what completes it has another length",
        });
    }
    head.copy_from_slice(&completed);
    Ok(Some(bytes))
}

/// Copies bytes into words, of which there are enough.
pub(super) fn copy_in(bytes: Cursor<'_>, len: usize, words: &[AtomicU64]) {
    if len <= 128 {
        copy_in_by::<128>(bytes, words);
    } else {
        copy_in_by::<1024>(bytes, words);
    }
}

fn copy_in_by<const AT_ONCE: usize>(mut bytes: Cursor<'_>, words: &[AtomicU64]) {
    let mut buffer = [0; AT_ONCE];
    for words in words.chunks(AT_ONCE / 8) {
        let filled = bytes.fill(&mut buffer);
        let end = filled.next_multiple_of(8);
        buffer[filled..end].fill(0);
        let (values, _) = buffer[..end].as_chunks::<8>();
        for (word, value) in words.iter().zip(values) {
            word.store(u64::from_ne_bytes(*value), Ordering::Relaxed);
        }
        if filled < AT_ONCE {
            return;
        }
    }
}
