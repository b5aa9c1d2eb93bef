//! Memory for the pieces that are being sent, used again: fresh pages cost more than what is done
//! with them.

use std::sync::Mutex;

use proxystore_fork::PerProcess;

/// Smaller ones stay with their connection.
const LARGE: usize = 64 << 10;

/// How many are kept.
const KEPT: usize = 4;

static PIECES: PerProcess<Mutex<Vec<Vec<u8>>>> = PerProcess::new(Mutex::default);

/// Makes a piece as long as this at least.
pub(crate) fn extend(piece: &mut Vec<u8>, len: usize) {
    if piece.len() >= len {
        return;
    }
    if len > LARGE
        && let Some(kept) = PIECES.lock().pop()
    {
        *piece = kept;
    }
    if piece.len() < len {
        piece.resize(len, 0);
    }
}

/// Gives a piece back, if it is large.
pub(crate) fn give(piece: &mut Vec<u8>) {
    if piece.len() <= LARGE {
        return;
    }
    let piece = std::mem::take(piece);
    let mut kept = PIECES.lock();
    if kept.len() < KEPT {
        kept.push(piece);
    }
}
