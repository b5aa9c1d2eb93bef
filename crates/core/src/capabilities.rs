//! What a connector can do, as data.

/// Whether something holds always, never, or depending on where the connector works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// It always holds.
    Always,
    /// It depends on options or surroundings; an opened connector says which.
    Depends,
    /// It never holds.
    Never,
}

/// What a connector can do.
///
/// Start from [`Capabilities::NONE`] and name what holds, so that a capability added later is one
/// that existing connectors do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent ability, and callers ask for them by name"
)]
pub struct Capabilities {
    /// Keys can be had before their objects: `new_key` and `set` work.
    pub deferrable: bool,
    /// Another process on the same host can get the objects.
    pub crosses_processes: bool,
    /// A process on another host can get the objects.
    pub crosses_hosts: bool,
    /// Objects stay when the process that put them ends.
    pub outlives_process: bool,
    /// A server or a peer takes part in operations.
    pub remote: bool,
    /// A put completes a payload that has a [`Seal`](crate::payload::Seal).
    pub seals: bool,
    /// A get notices bytes that changed since the put.
    pub verifies: When,
    /// As `verifies`, for objects whose keys were made before them.
    pub verifies_deferred: When,
    /// A get of a large object hands out memory that was not copied.
    pub zero_copy: When,
    /// The largest object that can be put, in bytes; none if there is no limit of its own.
    pub max_object_size: Option<u64>,
    /// The most memory, in bytes, that a put uses besides the object's own and its place in the
    /// storage; none if there is no bound.
    pub transit_memory: Option<u64>,
}

impl Capabilities {
    /// No ability at all.
    pub const NONE: Self = Self {
        deferrable: false,
        crosses_processes: false,
        crosses_hosts: false,
        outlives_process: false,
        remote: false,
        seals: false,
        verifies: When::Never,
        verifies_deferred: When::Never,
        zero_copy: When::Never,
        max_object_size: None,
        transit_memory: None,
    };
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::NONE
    }
}
