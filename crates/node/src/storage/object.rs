//! One object.

use std::{fmt, hint, io, ops::Range, sync::Arc};

use proxystore_memory::{Memory, Segment};

use super::budget::Charge;

/// What names an object within its node: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u128);

impl fmt::Debug for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ObjectId({:032x})", self.0)
    }
}

/// What opens an object: 128 random bits that only those know who were given its key. It is
/// compared in the same time whatever it is, and never shown.
#[derive(Clone, Copy)]
pub struct Capability(pub u128);

impl Capability {
    /// Whether the two are the same.
    #[must_use]
    pub fn opens(self, other: Self) -> bool {
        // One comparison of all bits, which nothing may turn into one that ends at a difference.
        hint::black_box(self.0 ^ other.0) == 0
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Capability(..)")
    }
}

/// An object of a node. Whoever holds it keeps its bytes, whatever becomes of its name.
#[derive(Debug)]
pub struct Object {
    pub(super) capability: Capability,
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
        capability: Capability,
        sum: u64,
        sequence: u64,
        memory: Memory,
        charge: Charge,
    ) -> Self {
        Self {
            capability,
            sum,
            sequence,
            body: Body::Memory(memory),
            _charge: charge,
        }
    }

    /// The same object, its bytes being this part of a file.
    pub(super) fn spilled(&self, file: &Arc<Memory>, part: Range<usize>, charge: Charge) -> Self {
        Self {
            capability: self.capability,
            sum: self.sum,
            sequence: self.sequence,
            body: Body::Spilled(Arc::clone(file), part),
            _charge: charge,
        }
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
