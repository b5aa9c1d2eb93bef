//! The operations.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use proxystore_core::{
    Capabilities, CloseOptions, Config, Connector, Deadline, Error, Factory, Key, Memory,
    Operation, Payload, Result,
};

use crate::{
    config::{FACTORY, KIND},
    error::RedisError,
    key::ObjectName,
    objects::Objects,
    options::Options,
};

/// Keeps objects in a server.
#[derive(Debug)]
pub struct RedisConnector {
    objects: Arc<Objects>,
    options: Options,
    closed: AtomicBool,
}

impl RedisConnector {
    pub(crate) fn open(options: Options) -> Result<Self, RedisError> {
        Ok(Self {
            objects: Arc::new(Objects::new(&options)?),
            options,
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<(), RedisError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(RedisError::Closed);
        }
        Ok(())
    }

    fn name(&self, key: &Key) -> Result<ObjectName, RedisError> {
        self.check_open()?;
        ObjectName::try_from(key)
    }

    async fn put_now(&self, payload: Payload<'_>, deadline: Deadline) -> Result<Key, RedisError> {
        self.check_open()?;
        let name = self.objects.put(payload, deadline).await?;
        Ok(Key::from(&name))
    }

    async fn get_now(&self, key: &Key, deadline: Deadline) -> Result<Option<Memory>, RedisError> {
        self.objects.get(&self.name(key)?, deadline).await
    }

    async fn exists_now(&self, key: &Key, deadline: Deadline) -> Result<bool, RedisError> {
        self.objects.exists(&self.name(key)?, deadline).await
    }

    async fn evict_now(&self, key: &Key, deadline: Deadline) -> Result<(), RedisError> {
        self.objects.evict(&self.name(key)?, deadline).await
    }

    async fn set_now(
        &self,
        key: &Key,
        payload: Payload<'_>,
        deadline: Deadline,
    ) -> Result<(), RedisError> {
        let name = self.name(key)?;
        self.objects.set(&name, payload, deadline).await
    }

    async fn put_batch_now(
        &self,
        payloads: &[Payload<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Key>, RedisError> {
        self.check_open()?;
        let names = self.objects.put_batch(payloads, deadline).await?;
        Ok(names.iter().map(Key::from).collect())
    }

    async fn get_batch_now(
        &self,
        keys: &[Key],
        deadline: Deadline,
    ) -> Result<Vec<Option<Memory>>, (Option<usize>, RedisError)> {
        let names = keys.iter().enumerate().map(|(index, key)| {
            let name = self.name(key);
            name.map_err(|error| (Some(index), error))
        });
        let names: Vec<_> = names.collect::<Result<_, _>>()?;
        self.objects.get_batch(&names, deadline).await
    }

    async fn close_now(&self, clear: bool, deadline: Deadline) -> Result<(), RedisError> {
        let cleared = if clear {
            self.objects.clear(deadline).await
        } else {
            Ok(())
        };
        self.objects.close();
        cleared
    }
}

impl Connector for RedisConnector {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        FACTORY.capabilities()
    }

    fn config(&self) -> Config {
        self.options.to_config()
    }

    fn statistics(&self) -> Config {
        self.objects.statistics()
    }

    fn put<'a>(&'a self, payload: Payload<'a>, deadline: Deadline) -> Operation<'a, Result<Key>> {
        Operation::pending(async move {
            let stored = self.put_now(payload, deadline).await;
            stored.map_err(told("put"))
        })
    }

    fn get<'a>(
        &'a self,
        key: &'a Key,
        deadline: Deadline,
    ) -> Operation<'a, Result<Option<Memory>>> {
        Operation::pending(async move {
            let found = self.get_now(key, deadline).await;
            found.map_err(told_of("get", key))
        })
    }

    fn exists<'a>(&'a self, key: &'a Key, deadline: Deadline) -> Operation<'a, Result<bool>> {
        Operation::pending(async move {
            let exists = self.exists_now(key, deadline).await;
            exists.map_err(told_of("exists", key))
        })
    }

    fn evict<'a>(&'a self, key: &'a Key, deadline: Deadline) -> Operation<'a, Result<()>> {
        Operation::pending(async move {
            let evicted = self.evict_now(key, deadline).await;
            evicted.map_err(told_of("evict", key))
        })
    }

    fn put_batch<'a>(
        &'a self,
        payloads: &'a [Payload<'a>],
        deadline: Deadline,
    ) -> Operation<'a, Result<Vec<Key>>> {
        Operation::pending(async move {
            let stored = self.put_batch_now(payloads, deadline).await;
            stored.map_err(told("put_batch"))
        })
    }

    fn get_batch<'a>(
        &'a self,
        keys: &'a [Key],
        deadline: Deadline,
    ) -> Operation<'a, Result<Vec<Option<Memory>>>> {
        Operation::pending(async move {
            let found = self.get_batch_now(keys, deadline).await;
            found.map_err(
                |(index, error)| match index.and_then(|index| keys.get(index)) {
                    Some(key) => told_of("get_batch", key)(error),
                    None => told("get_batch")(error),
                },
            )
        })
    }

    fn new_key(&self) -> Result<Key> {
        let name = self.check_open().and_then(|()| self.objects.new_name());
        name.map(|name| Key::from(&name)).map_err(told("new_key"))
    }

    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        deadline: Deadline,
    ) -> Operation<'a, Result<()>> {
        Operation::pending(async move {
            let stored = self.set_now(key, payload, deadline).await;
            stored.map_err(told_of("set", key))
        })
    }

    fn close(&self, options: CloseOptions, deadline: Deadline) -> Operation<'_, Result<()>> {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        let clear = options.clear.unwrap_or(first && self.options.clear);
        Operation::pending(async move {
            let closed = self.close_now(clear, deadline).await;
            closed.map_err(told("close"))
        })
    }
}

/// Names the operation that failed; for `map_err`.
fn told(operation: &'static str) -> impl FnOnce(RedisError) -> Error {
    move |error| Error::from(error).with_operation(operation)
}

/// Names the operation that failed and its key; for `map_err`.
fn told_of(operation: &'static str, key: &Key) -> impl FnOnce(RedisError) -> Error {
    move |error| told(operation)(error).with_key(key)
}
