//! What a node holds, and what it has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a node can be asked to do with objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new object.
    Put,
    /// An object under a name that was handed out before.
    Set,
    /// The bytes of one.
    Get,
    /// Whether there is one.
    Exists,
    /// That there be none.
    Evict,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Put, Self::Set, Self::Get, Self::Exists, Self::Evict];

    const fn name(self) -> &'static str {
        match self {
            Self::Put => "puts",
            Self::Set => "sets",
            Self::Get => "gets",
            Self::Exists => "exists",
            Self::Evict => "evicts",
        }
    }
}

/// What happened since the node began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    operations: [AtomicU64; Kind::ALL.len()],
    pub(crate) hits: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) objects: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) reserved: AtomicU64,
    pub(crate) spilled_objects: AtomicU64,
    pub(crate) spilled_bytes: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, kind: Kind) {
        self.operations[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(counter: &AtomicU64, amount: usize) {
        counter.fetch_add(amount as u64, Ordering::Relaxed);
    }

    pub(crate) fn subtract(counter: &AtomicU64, amount: usize) {
        counter.fetch_sub(amount as u64, Ordering::Relaxed);
    }

    /// Operations by kind, by the names that people read.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Kind::ALL.iter().zip(&self.operations);
        counts.map(|(kind, count)| (kind.name(), count.load(Ordering::Relaxed)))
    }
}

/// What a node's storage holds at present, in bytes and objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Objects.
    pub objects: u64,
    /// Bytes of objects.
    pub bytes: u64,
    /// Bytes of memory that objects may take.
    pub budget: u64,
    /// Bytes of it that are taken, by objects, by those on their way here, and by those that are
    /// gone but still being read.
    pub memory: u64,
    /// The most of them that were ever taken.
    pub memory_peak: u64,
    /// Bytes of objects on their way here.
    pub reserved: u64,
    /// Objects on a disk.
    pub spilled_objects: u64,
    /// Bytes of them.
    pub spilled_bytes: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Gets that found an object.
    pub hits: u64,
    /// Bytes of objects that came here.
    pub bytes_in: u64,
    /// Bytes of objects that left.
    pub bytes_out: u64,
    /// Requests by kind.
    pub operations: Vec<(&'static str, u64)>,
}
