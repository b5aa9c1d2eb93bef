//! The contract of every connector.

use std::fmt;

use proxystore_memory::Memory;

use crate::{
    capabilities::Capabilities,
    config::Config,
    deadline::Deadline,
    error::{Error, ErrorKind, Result},
    key::Key,
    operation::Operation,
    payload::Payload,
};

/// Puts objects somewhere under keys of its own making, and gets them back.
///
/// # Behavior
///
/// * Threads, tasks and forked children may share one connector.
/// * Keys survive pickling, hashing and other processes. A key of another connector or a forged
///   one is refused with [`ErrorKind::InvalidKey`] by whatever method it is passed to, and nothing
///   outside the connector's own storage is touched.
/// * Every operation that waits for another process ends by its deadline with
///   [`ErrorKind::TimedOut`], naming the peer and the operation.
/// * A lost server or peer is an error for the operations in flight and a reconnect for the next.
/// * Objects of any size from nothing to 4 GiB at least are taken, unless
///   [`Capabilities::max_object_size`] names a limit; memory used in transit is bounded.
/// * No method panics on anything that a user, a peer or a disk can influence.
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// The name that the registry knows this connector by.
    fn kind(&self) -> &'static str;

    /// What this connector, as opened, can do.
    ///
    /// # Behavior
    ///
    /// * Nothing that its factory says always or never to holds differently here.
    fn capabilities(&self) -> Capabilities;

    /// The options to open a connector over the same storage with, elsewhere.
    ///
    /// # Behavior
    ///
    /// * Names the required options, and of the others those that differ from their defaults.
    /// * Opening it gives a connector that gets what this one put.
    fn config(&self) -> Config;

    /// What the connector has done and holds at present, as plain values whose names its
    /// documentation gives; empty if it keeps no count.
    fn statistics(&self) -> Config {
        Config::new()
    }

    /// Stores an object and names it.
    ///
    /// # Behavior
    ///
    /// * Returns when any process able to resolve the key can read the object.
    /// * An object of no bytes is an object.
    /// * A put that fails leaves nothing behind.
    /// * The source may be written to meanwhile; a connector that verifies then stores either
    ///   bytes that verify or nothing.
    fn put<'a>(&'a self, payload: Payload<'a>, deadline: Deadline) -> Operation<'a, Result<Key>>;

    /// The object's bytes, or none if it is not there.
    ///
    /// # Behavior
    ///
    /// * Returns exactly what was put, or none, or an error. A short read and a half-written
    ///   object are always errors ([`ErrorKind::Corrupted`]), and so is a flipped bit wherever
    ///   [`Capabilities::verifies`] says so.
    /// * The memory is the caller's: writable, seen by nobody else, valid after the object is
    ///   evicted and after the connector is closed.
    fn get<'a>(&'a self, key: &'a Key, deadline: Deadline)
    -> Operation<'a, Result<Option<Memory>>>;

    /// The object's bytes as [`get`](Self::get) gives them, in memory that is cheap to write to all
    /// over: a copy, where `get` hands out a view whose pages are copied as they are written to.
    fn get_copy<'a>(
        &'a self,
        key: &'a Key,
        deadline: Deadline,
    ) -> Operation<'a, Result<Option<Memory>>> {
        Operation::pending(async move {
            let Some(memory) = self.get(key, deadline).await? else {
                return Ok(None);
            };
            if !memory.is_mapped() {
                return Ok(Some(memory));
            }
            let copied = Memory::copied_from(&[memory.as_segment()]);
            let failed = |error| Error::from_io("there is no memory for a copy", error);
            copied.map(Some).map_err(failed)
        })
    }

    /// Whether the object is there.
    ///
    /// # Behavior
    ///
    /// * Agrees with `get`.
    fn exists<'a>(&'a self, key: &'a Key, deadline: Deadline) -> Operation<'a, Result<bool>>;

    /// Removes the object, if it is there.
    ///
    /// # Behavior
    ///
    /// * Idempotent: an object that is not there is no error.
    /// * Afterwards `get` returns none and `exists` false, in every process.
    fn evict<'a>(&'a self, key: &'a Key, deadline: Deadline) -> Operation<'a, Result<()>>;

    /// Stores several objects and names them in the same order.
    ///
    /// # Behavior
    ///
    /// * Fails as a whole: if one object cannot be stored, none is, and nothing is left behind.
    fn put_batch<'a>(
        &'a self,
        payloads: &'a [Payload<'a>],
        deadline: Deadline,
    ) -> Operation<'a, Result<Vec<Key>>> {
        Operation::pending(async move {
            let mut keys = Vec::with_capacity(payloads.len());
            for payload in payloads {
                match self.put(*payload, deadline).await {
                    Ok(key) => keys.push(key),
                    Err(error) => {
                        for key in &keys {
                            // What matters to the caller is why the put failed.
                            let _ = self.evict(key, deadline).await;
                        }
                        return Err(error);
                    }
                }
            }
            Ok(keys)
        })
    }

    /// The bytes of several objects in the order of their keys, none for those not there.
    ///
    /// # Behavior
    ///
    /// * The first error ends it, and names the key.
    fn get_batch<'a>(
        &'a self,
        keys: &'a [Key],
        deadline: Deadline,
    ) -> Operation<'a, Result<Vec<Option<Memory>>>> {
        Operation::pending(async move {
            let mut objects = Vec::with_capacity(keys.len());
            for key in keys {
                let object = self.get(key, deadline).await;
                objects.push(object.map_err(|error| error.with_key(key))?);
            }
            Ok(objects)
        })
    }

    /// Gets objects for callers that know nothing of each other, and tells each of its own as soon as
    /// it is there. None if that is no cheaper than a [`get`](Self::get) for each.
    ///
    /// # Behavior
    ///
    /// * Every caller that does not give up is told once, what `get` would have given it.
    fn get_each<'a>(
        &'a self,
        keys: &'a [Key],
        callers: &'a dyn Callers,
        deadline: Deadline,
    ) -> Option<Operation<'a, ()>> {
        let _ = (keys, callers, deadline);
        None
    }

    /// A key for an object that is to come, if the connector is deferrable.
    ///
    /// # Behavior
    ///
    /// * Until `set` has stored the object, `exists` is false and `get` gives none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] unless [`Capabilities::deferrable`]; [`ErrorKind::Closed`].
    fn new_key(&self) -> Result<Key> {
        Err(unsupported(self.kind(), "new_key"))
    }

    /// Stores the object that a key was made for, or replaces one, if the connector is deferrable.
    ///
    /// # Behavior
    ///
    /// * Takes every key that [`new_key`](Self::new_key) made. One that [`put`](Self::put) made may
    ///   be refused with [`ErrorKind::InvalidKey`], where it names an object for good.
    /// * Whoever gets meanwhile sees the object before or the object after, whole.
    /// * A set that fails leaves what was there before, and nothing else.
    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        deadline: Deadline,
    ) -> Operation<'a, Result<()>> {
        let _ = (key, payload, deadline);
        Operation::ready(Err(unsupported(self.kind(), "set")))
    }

    /// Gives back what the connector holds.
    ///
    /// # Behavior
    ///
    /// * Idempotent; every later operation fails with [`ErrorKind::Closed`].
    /// * Destroys nothing that the connector does not own, and removes stored objects only if
    ///   its options or `options` say so.
    /// * Dropping a connector closes it without removing any object.
    fn close(&self, options: CloseOptions, deadline: Deadline) -> Operation<'_, Result<()>>;
}

/// Those who wait for the objects of one [`Connector::get_each`], by the indices of their keys.
pub trait Callers: Send + Sync {
    /// Tells callers what [`Connector::get`] would have given them.
    fn tell(&self, got: Vec<(usize, Result<Option<Memory>>)>);

    /// Those who have given up since this was last asked, and need not be told anything. Whoever
    /// gives up wakes the operation.
    fn given_up(&self) -> Vec<usize>;
}

/// How to close a connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseOptions {
    /// Whether to remove the stored objects; none leaves it to the connector's own options.
    pub clear: Option<bool>,
}

fn unsupported(kind: &str, operation: &'static str) -> Error {
    let message = format!("the {kind} connector cannot name an object before it is put");
    Error::new(ErrorKind::Unsupported, message).with_operation(operation)
}
