//! Why a node does not do what it is asked.

use std::io;

/// Why a node does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The capability opens another object.
    #[error("the key does not open this object")]
    Forbidden,
    /// A new object must have a new name.
    #[error("there is an object of this name already")]
    Taken,
    /// The object was evicted before it was here.
    #[error("the object was evicted while it was being put")]
    Revoked,
    /// It is larger than all memory that objects may take.
    #[error(
        "the object has {len} bytes, more than the node's budget of {budget}; start the node with a larger budget"
    )]
    TooLarge {
        /// Bytes of the object.
        len: u64,
        /// Bytes of memory that objects may take.
        budget: u64,
    },
    /// Too much of the memory that objects may take is taken.
    #[error(
        "the object has {len} bytes, and of the node's budget of {budget} only {available} are left; evict objects, start the node with a larger budget, or name a directory for it to spill to"
    )]
    Full {
        /// Bytes of the object.
        len: u64,
        /// Bytes of memory that objects may take.
        budget: u64,
        /// Bytes that are left.
        available: u64,
    },
    /// The disk takes no objects.
    #[error(
        "the object has {len} bytes, the node's budget of {budget} is used up, and its disk takes no more ({directory}: {reason}); evict objects or make room there"
    )]
    Disk {
        /// Bytes of the object.
        len: u64,
        /// Bytes of memory that objects may take.
        budget: u64,
        /// The directory that objects are spilled to.
        directory: String,
        /// What the system says.
        reason: io::Error,
    },
    /// The system has no memory, whatever the budget says.
    #[error("the machine of the node has no memory left for an object of {len} bytes")]
    OutOfMemory {
        /// Bytes of the object.
        len: u64,
    },
}
