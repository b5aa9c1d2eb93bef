//! The table of cases; the modules hold them by topic.

mod batches;
mod closing;
mod damage;
mod deferred;
mod failing;
mod keys;
mod objects;
mod remote;
mod sharing;
mod sizes;
mod support;

use proxystore_core::{Capabilities, When};

use crate::case::Case;

const fn case(
    name: &'static str,
    contract: &'static str,
    body: fn(&dyn crate::Fixture) -> Result<crate::Outcome, crate::Failure>,
) -> Case {
    Case {
        name,
        contract,
        selects: everything,
        heavy: false,
        body,
    }
}

impl Case {
    const fn of(mut self, selects: fn(&Capabilities) -> bool) -> Self {
        self.selects = selects;
        self
    }

    const fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }
}

const fn everything(_: &Capabilities) -> bool {
    true
}

const fn deferrable(capabilities: &Capabilities) -> bool {
    capabilities.deferrable
}

const fn not_deferrable(capabilities: &Capabilities) -> bool {
    !capabilities.deferrable
}

const fn crosses_processes(capabilities: &Capabilities) -> bool {
    capabilities.crosses_processes
}

const fn outlives_process(capabilities: &Capabilities) -> bool {
    capabilities.outlives_process
}

const fn remote(capabilities: &Capabilities) -> bool {
    capabilities.remote
}

const fn verifies(capabilities: &Capabilities) -> bool {
    matches!(capabilities.verifies, When::Always)
}

const fn bounded(capabilities: &Capabilities) -> bool {
    // Elsewhere the object itself is in the memory that would be measured.
    capabilities.transit_memory.is_some() && capabilities.outlives_process
}

const fn takes_4_gib(capabilities: &Capabilities) -> bool {
    match capabilities.max_object_size {
        Some(limit) => limit > sizes::BEYOND_4_GIB as u64,
        None => true,
    }
}

/// Every sentence of the contract.
pub const CASES: &[Case] = &[
    case(
        "get-returns-what-was-put",
        "get returns exactly what was put",
        objects::get_returns_what_was_put,
    ),
    case(
        "parts-are-joined",
        "an object put as a gather list is its parts, one after the other",
        objects::parts_are_joined,
    ),
    case(
        "missing-object-is-none",
        "get returns none if the object is not there",
        objects::missing_object_is_none,
    ),
    case(
        "empty-object-is-an-object",
        "empty objects are objects",
        objects::empty_object_is_an_object,
    ),
    case(
        "memory-is-private-and-writable",
        "the memory that get returns can be written to and nobody else sees it",
        objects::memory_is_private_and_writable,
    ),
    case(
        "memory-outlives-its-object",
        "the memory that get returns stays valid when the object is evicted and the connector closed",
        objects::memory_outlives_its_object,
    ),
    case(
        "exists-agrees-with-get",
        "exists agrees with get",
        objects::exists_agrees_with_get,
    ),
    case(
        "evict-is-idempotent",
        "evict is idempotent",
        objects::evict_is_idempotent,
    ),
    case(
        "truncated-object-is-an-error",
        "a short read always raises",
        damage::truncated_object_is_an_error,
    ),
    case(
        "half-written-object-is-an-error",
        "a half-written object always raises",
        damage::half_written_object_is_an_error,
    ),
    case(
        "flipped-bit-is-an-error",
        "a flipped bit raises wherever the capabilities say that the connector verifies",
        damage::flipped_bit_is_an_error,
    )
    .of(verifies),
    case(
        "changing-source-is-stored-whole",
        "a source that is written to during put is stored as bytes that verify",
        damage::changing_source_is_stored_whole,
    )
    .of(verifies),
    case(
        "put-is-visible-to-others",
        "put returns when every connector over the storage can get the object",
        sharing::put_is_visible_to_others,
    ),
    case(
        "put-is-visible-in-other-processes",
        "put returns when any process able to resolve the key can read the object",
        sharing::put_is_visible_in_other_processes,
    )
    .of(crosses_processes),
    case(
        "configuration-opens-the-storage",
        "config opens a connector that gets what this one put",
        sharing::configuration_opens_the_storage,
    ),
    case(
        "threads-share-a-connector",
        "threads may share one connector",
        sharing::threads_share_a_connector,
    ),
    case(
        "tasks-share-a-connector",
        "asynchronous tasks may share one connector, in any order, and drop what they began",
        sharing::tasks_share_a_connector,
    ),
    case(
        "forked-children-share-a-connector",
        "forked children may share one connector",
        sharing::forked_children_share_a_connector,
    ),
    case(
        "failed-put-leaves-nothing",
        "a put that failed left nothing behind",
        failing::failed_put_leaves_nothing,
    ),
    case(
        "failed-batch-leaves-nothing",
        "a batch that failed left nothing behind",
        failing::failed_batch_leaves_nothing,
    ),
    case(
        "failed-set-changes-nothing",
        "a set that failed leaves the object before, and nothing else",
        failing::failed_set_changes_nothing,
    )
    .of(deferrable),
    case(
        "batches-keep-their-order",
        "batches keep their order",
        batches::batches_keep_their_order,
    ),
    case(
        "failed-get-batch-names-the-key",
        "batches fail as a whole and say which key",
        batches::failed_get_batch_names_the_key,
    ),
    case(
        "keys-are-unique",
        "every put and every new_key makes another key",
        keys::keys_are_unique,
    ),
    case(
        "keys-survive-being-taken-apart",
        "a key made of the same fields is equal, has the same hash, and names the same object",
        keys::keys_survive_being_taken_apart,
    ),
    case(
        "foreign-keys-are-refused",
        "a key of another connector, or a forged one, is refused by every operation",
        keys::foreign_keys_are_refused,
    ),
    case(
        "deferred-object-waits-for-set",
        "the object of a new key is not there until it is set",
        deferred::deferred_object_waits_for_set,
    )
    .of(deferrable),
    case(
        "set-replaces-an-object",
        "set replaces the object that is there",
        deferred::set_replaces_an_object,
    )
    .of(deferrable),
    case(
        "set-is-never-seen-half-done",
        "whoever gets during a set sees the object before or the object after, whole",
        deferred::set_is_never_seen_half_done,
    )
    .of(deferrable),
    case(
        "undeferrable-connectors-say-so",
        "new_key and set are unsupported unless the capabilities say otherwise",
        deferred::undeferrable_connectors_say_so,
    )
    .of(not_deferrable),
    case(
        "close-is-idempotent",
        "close is idempotent",
        closing::close_is_idempotent,
    ),
    case(
        "closed-connectors-refuse",
        "use after close raises",
        closing::closed_connectors_refuse,
    ),
    case(
        "close-without-clear-keeps-objects",
        "close removes no object unless it is asked to",
        closing::close_without_clear_keeps_objects,
    )
    .of(outlives_process),
    case(
        "close-with-clear-removes-objects",
        "close removes the stored objects if it is asked to",
        closing::close_with_clear_removes_objects,
    )
    .of(outlives_process),
    case(
        "dropping-removes-nothing",
        "a connector that is dropped without close removes no object",
        closing::dropping_removes_nothing,
    )
    .of(outlives_process),
    case(
        "close-spares-what-is-not-owned",
        "close never destroys what the connector does not own",
        closing::close_spares_what_is_not_owned,
    ),
    case(
        "deadline-ends-operations",
        "every remote operation ends by its deadline with an error naming the peer and the operation",
        remote::deadline_ends_operations,
    )
    .of(remote),
    case(
        "lost-server-is-reconnected",
        "a lost server or peer is an error for the operations in flight and a reconnect for the next",
        remote::lost_server_is_reconnected,
    )
    .of(remote),
    case(
        "objects-of-many-sizes",
        "objects of all sizes are taken",
        sizes::objects_of_many_sizes,
    ),
    case(
        "transit-memory-is-bounded",
        "memory used in transit is bounded and stated",
        sizes::transit_memory_is_bounded,
    )
    .of(bounded),
    case(
        "objects-beyond-4-gib",
        "objects of at least 4 GiB are taken",
        sizes::objects_beyond_4_gib,
    )
    .of(takes_4_gib)
    .heavy(),
];
