//! The operations.

use proxystore_core::{
    Capabilities, CloseOptions, Config, Connector, Deadline, Error, Factory, Key, Memory,
    Operation, Payload, Result,
};

use crate::{
    config::{FACTORY, KIND, Options},
    error::ShmError,
    key::Reference,
    namespace::Namespace,
    objects::Wanted,
    share::{Entered, Share},
};

/// Keeps objects in the shared memory of one host.
#[derive(Debug)]
pub struct ShmConnector {
    options: Options,
    share: Share,
}

impl ShmConnector {
    pub(crate) fn open(options: Options) -> Result<Self, ShmError> {
        Ok(Self {
            share: Share::new(Namespace::join(&options)?),
            options,
        })
    }

    /// The namespace, for one operation.
    fn enter(&self) -> Result<Entered<'_>, ShmError> {
        let namespace = self.share.enter()?;
        namespace.tend(|| namespace.to_owned())?;
        Ok(namespace)
    }

    /// The namespace, and what a key of it names.
    fn look_up(&self, key: &Key) -> Result<(Entered<'_>, Reference), ShmError> {
        let namespace = self.enter()?;
        let (id, reference) = Reference::parse(key)?;
        namespace.check_id(id)?;
        Ok((namespace, reference))
    }

    fn put_now(&self, payload: Payload<'_>) -> Result<Key, ShmError> {
        let namespace = self.enter()?;
        let reference = namespace.store(&payload, 0, &self.options)?;
        Ok(reference.to_key(namespace.id()))
    }

    fn get_now(&self, key: &Key, wanted: Wanted) -> Result<Option<Memory>, ShmError> {
        let (namespace, reference) = self.look_up(key)?;
        namespace.get(reference, wanted)
    }

    fn exists_now(&self, key: &Key) -> Result<bool, ShmError> {
        let (namespace, reference) = self.look_up(key)?;
        namespace.exists(reference)
    }

    fn evict_now(&self, key: &Key) -> Result<(), ShmError> {
        let (namespace, reference) = self.look_up(key)?;
        namespace.remove(reference)
    }

    fn new_key_now(&self) -> Result<Key, ShmError> {
        let namespace = self.enter()?;
        let ticket = namespace.slabs.new_ticket()?;
        Ok(ticket.to_key(namespace.id()))
    }

    fn set_now(&self, key: &Key, payload: Payload<'_>) -> Result<(), ShmError> {
        let (namespace, ticket) = self.look_up(key)?;
        if namespace.set(ticket, &payload, &self.options)? {
            Ok(())
        } else {
            Err(ShmError::NotDeferred)
        }
    }

    fn close_now(&self, options: CloseOptions) -> Result<(), ShmError> {
        // A closed connector clears as well, if it is asked to: by a namespace of its own.
        let cleared = match (options.clear, self.enter()) {
            (Some(true), Err(ShmError::Closed)) => Namespace::join(&self.options)?.clear(),
            (clear, Ok(namespace)) if clear.unwrap_or(self.options.clear) => namespace.clear(),
            (Some(true), Err(error)) => Err(error),
            _ => Ok(()),
        };
        self.share.close();
        cleared
    }
}

impl Connector for ShmConnector {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        FACTORY.capabilities()
    }

    fn config(&self) -> Config {
        self.options.to_config()
    }

    fn put<'a>(&'a self, payload: Payload<'a>, _: Deadline) -> Operation<'a, Result<Key>> {
        Operation::ready(self.put_now(payload).map_err(told("put")))
    }

    fn get<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<Option<Memory>>> {
        Operation::ready(self.get_now(key, Wanted::View).map_err(told_of("get", key)))
    }

    fn get_copy<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<Option<Memory>>> {
        Operation::ready(self.get_now(key, Wanted::Copy).map_err(told_of("get", key)))
    }

    fn exists<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<bool>> {
        Operation::ready(self.exists_now(key).map_err(told_of("exists", key)))
    }

    fn evict<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<()>> {
        Operation::ready(self.evict_now(key).map_err(told_of("evict", key)))
    }

    fn new_key(&self) -> Result<Key> {
        self.new_key_now().map_err(told("new_key"))
    }

    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        _: Deadline,
    ) -> Operation<'a, Result<()>> {
        Operation::ready(self.set_now(key, payload).map_err(told_of("set", key)))
    }

    fn close(&self, options: CloseOptions, _: Deadline) -> Operation<'_, Result<()>> {
        Operation::ready(self.close_now(options).map_err(told("close")))
    }
}

/// Names the operation that failed; for `map_err`.
fn told(operation: &'static str) -> impl FnOnce(ShmError) -> Error {
    move |error| Error::from(error).with_operation(operation)
}

/// Names the operation that failed and its key; for `map_err`.
fn told_of(operation: &'static str, key: &Key) -> impl FnOnce(ShmError) -> Error {
    move |error| told(operation)(error).with_key(key)
}
