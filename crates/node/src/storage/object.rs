//! One object.

use std::{io, ops::Range, sync::Arc};

use proxystore_memory::{Memory, Segment};
use proxystore_wire::ObjectKey;

use super::budget::Charge;

/// An object of a node. Whoever holds it keeps its bytes, whatever becomes of its name.
#[derive(Debug)]
pub struct Object {
    key: ObjectKey,
    sum: u64,
    /// Which of its node's objects it is, in the order in which they came.
    pub(super) sequence: u64,
    body: Body,
    _charge: Charge,
}

#[derive(Debug)]
enum Body {
    Memory(Memory),
    /// A part of a file that is mapped.
    Spilled(Arc<Memory>, Range<usize>),
}

impl Object {
    pub(super) const fn in_memory(
        key: ObjectKey,
        sum: u64,
        sequence: u64,
        memory: Memory,
        charge: Charge,
    ) -> Self {
        Self {
            key,
            sum,
            sequence,
            body: Body::Memory(memory),
            _charge: charge,
        }
    }

    /// The same object, its bytes being this part of a file.
    pub(super) fn spilled(&self, file: &Arc<Memory>, part: Range<usize>, charge: Charge) -> Self {
        Self {
            key: self.key,
            sum: self.sum,
            sequence: self.sequence,
            body: Body::Spilled(Arc::clone(file), part),
            _charge: charge,
        }
    }

    /// Whether this is the key that the object was put with. It takes the same time wherever the two
    /// differ.
    pub(super) fn is_opened_by(&self, key: &ObjectKey) -> bool {
        self.key.is_opened_by(&key.capability)
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Memory(memory) => memory.len(),
            Body::Spilled(_, part) => part.len(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The checksum that came with the bytes: XXH3-64.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Whether the bytes are on a disk: they are to be [loaded](Self::load) before they are read.
    #[must_use]
    pub const fn is_spilled(&self) -> bool {
        matches!(self.body, Body::Spilled(..))
    }

    /// The bytes, if they are in memory that nothing else can change.
    #[must_use]
    pub const fn as_slice(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory(memory) => memory.as_slice(),
            Body::Spilled(..) => None,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn segment(&self) -> Segment<'_> {
        match &self.body {
            Body::Memory(memory) => memory.as_segment(),
            Body::Spilled(file, part) => file.as_segment().slice(part.clone()),
        }
    }

    /// Reads bytes that are on a disk into memory, which blocks.
    ///
    /// # Errors
    ///
    /// `EIO` if the disk cannot read them.
    pub fn load(&self) -> io::Result<()> {
        match &self.body {
            Body::Memory(_) => Ok(()),
            Body::Spilled(file, part) => file.load(part.start, part.len()),
        }
    }
}
