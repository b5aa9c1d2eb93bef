//! One direction of a connection.

use crate::random::Random;

/// Bytes on their way, as many as the kernel would keep.
#[derive(Debug)]
pub(crate) struct Pipe {
    bytes: Vec<u8>,
    start: usize,
    capacity: usize,
    /// The bytes that pass before the connection is lost.
    left: Option<usize>,
    /// Bytes until one bit is flipped.
    flip: Option<usize>,
    pub(crate) is_closed: bool,
    /// All bytes that were ever taken.
    pub(crate) passed: usize,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            capacity,
            left: None,
            flip: None,
            is_closed: false,
            passed: 0,
        }
    }

    pub(crate) fn cut_after(&mut self, bytes: usize) {
        self.left = Some(bytes);
    }

    pub(crate) fn flip_after(&mut self, bytes: usize) {
        self.flip = Some(bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// Takes as much as there is room for.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        if self.is_closed {
            return 0;
        }
        let mut len = bytes.len().min(self.room());
        if let Some(left) = &mut self.left {
            len = len.min(*left);
            *left -= len;
            self.is_closed = *left == 0;
        }
        self.passed += len;
        let from = self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..len]);
        if let Some(flip) = self.flip {
            if flip < len {
                self.bytes[from + flip] ^= 1 << (flip % 8);
                self.flip = None;
            } else {
                self.flip = Some(flip - len);
            }
        }
        len
    }

    /// Moves some bytes to the end of `staging`.
    pub(crate) fn read(
        &mut self,
        staging: &mut Vec<u8>,
        most: usize,
        random: &mut Random,
    ) -> usize {
        let mut len = self.len().min(most);
        if len > 1 && random.once_in(3) {
            len = random.between(1, len + 1);
        }
        staging.extend_from_slice(&self.bytes[self.start..self.start + len]);
        self.start += len;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > self.capacity {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        len
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_closed && self.len() == 0
    }
}
