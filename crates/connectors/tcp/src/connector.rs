//! The operations.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use proxystore_core::{
    Capabilities, CloseOptions, Config, Connector, Deadline, Error, Factory, Key, Memory,
    Operation, Payload, Result, connector::Callers,
};
use proxystore_node::client::{Client, Mode, NodeAddress, ObjectKey};

use crate::{
    config::{FACTORY, KIND, Options, Start},
    error::TcpError,
    key::ObjectName,
    start::{self, Started},
};

/// Keeps objects in the memory of a node, and gets them from any node that a key names.
#[derive(Debug)]
pub struct TcpConnector {
    options: Options,
    /// Where objects are put.
    node: NodeAddress,
    client: Client,
    /// The node, if it runs in this process.
    started: Option<Arc<Started>>,
    closed: AtomicBool,
}

impl TcpConnector {
    pub(crate) fn open(mut options: Options) -> Result<Self, TcpError> {
        let settings = options.settings()?;
        let started = match options.start {
            Start::Join => None,
            Start::Process => start::in_this_process(&options)?,
            Start::Daemon => {
                start::daemon(&options)?;
                None
            }
        };
        if let Some(started) = &started {
            options.port = started.port();
        }
        Ok(Self {
            node: NodeAddress::new(&options.hostname, options.port),
            client: Client::new(settings),
            options,
            started,
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<(), TcpError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(TcpError::Closed);
        }
        Ok(())
    }

    /// The name of an object that is to be put.
    fn new_name(&self) -> Result<ObjectName, TcpError> {
        self.check_open()?;
        ObjectName::random(&self.node)
    }

    /// The name of the object that a key names.
    fn name(&self, key: &Key) -> Result<ObjectName, TcpError> {
        self.check_open()?;
        ObjectName::likely_at(&self.node, key)
    }

    async fn put_one(&self, payload: Payload<'_>, deadline: Deadline) -> Result<Key> {
        let name = self.new_name()?;
        let stored = self
            .client
            .put(&name.node, &name.object, Mode::New, payload, deadline);
        stored.await?;
        Ok(Key::from(&name))
    }

    async fn put_all(&self, payloads: &[Payload<'_>], deadline: Deadline) -> Result<Vec<Key>> {
        let names = payloads.iter().map(|_| self.new_name());
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let objects: Vec<ObjectKey> = names.iter().map(|name| name.object).collect();
        let stored = self
            .client
            .put_batch(&self.node, &objects, payloads, deadline);
        stored.await.map_err(|(_, error)| error)?;
        Ok(names.iter().map(Key::from).collect())
    }

    async fn get_all(&self, keys: &[Key], deadline: Deadline) -> Result<Vec<Option<Memory>>> {
        let mut names = Vec::with_capacity(keys.len());
        for key in keys {
            names.push(self.name(key)?);
        }
        let mut objects: Vec<Option<Memory>> = Vec::new();
        objects.resize_with(keys.len(), || None);
        for (node, indices) in by_node(&names) {
            let asked: Vec<_> = indices.iter().map(|&index| names[index].object).collect();
            let got = self.client.get_batch(node, &asked, deadline).await;
            let got = got.map_err(|(at, error)| error.with_key(&keys[indices[at]]))?;
            for (index, object) in indices.into_iter().zip(got) {
                objects[index] = object;
            }
        }
        Ok(objects)
    }

    async fn close_now(&self, options: CloseOptions, deadline: Deadline) -> Result<()> {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        let clear = options.clear.unwrap_or(first && self.options.clear);
        let cleared = match &self.started {
            _ if !clear => Ok(()),
            Some(started) => {
                started.clear();
                Ok(())
            }
            None => self.client.clear(&self.node, deadline).await,
        };
        self.client.close();
        if first && let Some(started) = &self.started {
            started.leave(clear);
        }
        cleared
    }
}

/// The indices of the objects of each node, in the order of the first.
fn by_node(names: &[ObjectName]) -> Vec<(&NodeAddress, Vec<usize>)> {
    let mut nodes: Vec<(&NodeAddress, Vec<usize>)> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        // The last one first: keys of one node tend to come together.
        match nodes.iter_mut().rev().find(|(node, _)| **node == name.node) {
            Some((_, indices)) => indices.push(index),
            None => nodes.push((&name.node, vec![index])),
        }
    }
    nodes
}

impl Connector for TcpConnector {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            crosses_hosts: !self.node.is_local(),
            outlives_process: self.started.is_none(),
            ..FACTORY.capabilities()
        }
    }

    fn config(&self) -> Config {
        // Whoever opens it elsewhere means this node, and not one of its own that has no objects.
        let options = Options {
            start: Start::Join,
            ..self.options.clone()
        };
        options.to_config()
    }

    fn statistics(&self) -> Config {
        self.client.statistics()
    }

    fn put<'a>(&'a self, payload: Payload<'a>, deadline: Deadline) -> Operation<'a, Result<Key>> {
        Operation::pending(async move {
            let stored = self.put_one(payload, deadline).await;
            stored.map_err(|error| error.with_operation("put"))
        })
    }

    fn get<'a>(
        &'a self,
        key: &'a Key,
        deadline: Deadline,
    ) -> Operation<'a, Result<Option<Memory>>> {
        Operation::pending(async move {
            let told = told_of("get", key);
            match self.name(key) {
                Ok(name) => {
                    let got = self.client.get(&name.node, &name.object, deadline);
                    got.await.map_err(told)
                }
                Err(error) => Err(told(error.into())),
            }
        })
    }

    fn exists<'a>(&'a self, key: &'a Key, deadline: Deadline) -> Operation<'a, Result<bool>> {
        Operation::pending(async move {
            let told = told_of("exists", key);
            match self.name(key) {
                Ok(name) => {
                    let found = self.client.exists(&name.node, &name.object, deadline);
                    found.await.map_err(told)
                }
                Err(error) => Err(told(error.into())),
            }
        })
    }

    fn evict<'a>(&'a self, key: &'a Key, deadline: Deadline) -> Operation<'a, Result<()>> {
        Operation::pending(async move {
            let told = told_of("evict", key);
            match self.name(key) {
                Ok(name) => {
                    let removed = self.client.evict(&name.node, &name.object, deadline);
                    removed.await.map_err(told)
                }
                Err(error) => Err(told(error.into())),
            }
        })
    }

    fn put_batch<'a>(
        &'a self,
        payloads: &'a [Payload<'a>],
        deadline: Deadline,
    ) -> Operation<'a, Result<Vec<Key>>> {
        Operation::pending(async move {
            let stored = self.put_all(payloads, deadline).await;
            stored.map_err(|error| error.with_operation("put_batch"))
        })
    }

    fn get_batch<'a>(
        &'a self,
        keys: &'a [Key],
        deadline: Deadline,
    ) -> Operation<'a, Result<Vec<Option<Memory>>>> {
        Operation::pending(async move {
            let got = self.get_all(keys, deadline).await;
            got.map_err(|error| error.with_operation("get_batch"))
        })
    }

    fn get_each<'a>(
        &'a self,
        keys: &'a [Key],
        callers: &'a dyn Callers,
        deadline: Deadline,
    ) -> Option<Operation<'a, ()>> {
        let mut objects = Vec::with_capacity(keys.len());
        let mut one: Option<NodeAddress> = None;
        for key in keys {
            // What is wrong with a key, or with another node, is for its own caller alone.
            let name = self.name(key).ok()?;
            if *one.get_or_insert_with(|| name.node.clone()) != name.node {
                return None;
            }
            objects.push(name.object);
        }
        let node = one?;
        Some(Operation::pending(async move {
            let callers = Named { callers, keys };
            let got = self.client.get_each(&node, &objects, &callers, deadline);
            got.await;
        }))
    }

    fn new_key(&self) -> Result<Key> {
        let name = self.new_name();
        let key = name.map(|name| Key::from(&name));
        key.map_err(|error| Error::from(error).with_operation("new_key"))
    }

    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        deadline: Deadline,
    ) -> Operation<'a, Result<()>> {
        Operation::pending(async move {
            let told = told_of("set", key);
            match self.name(key) {
                Ok(ObjectName { node, object }) => {
                    let stored = self
                        .client
                        .put(&node, &object, Mode::Replace, payload, deadline);
                    stored.await.map_err(told)
                }
                Err(error) => Err(told(error.into())),
            }
        })
    }

    fn close(&self, options: CloseOptions, deadline: Deadline) -> Operation<'_, Result<()>> {
        Operation::pending(async move {
            let closed = self.close_now(options, deadline).await;
            closed.map_err(|error| error.with_operation("close"))
        })
    }
}

/// Callers whose errors name their keys.
struct Named<'a> {
    callers: &'a dyn Callers,
    keys: &'a [Key],
}

impl Callers for Named<'_> {
    fn tell(&self, mut got: Vec<(usize, Result<Option<Memory>>)>) {
        for (index, object) in &mut got {
            if object.is_err() {
                let failed = std::mem::replace(object, Ok(None));
                *object = failed.map_err(told_of("get", &self.keys[*index]));
            }
        }
        self.callers.tell(got);
    }

    fn given_up(&self) -> Vec<usize> {
        self.callers.given_up()
    }
}

/// Names the operation that failed and its key; for `map_err`.
fn told_of(operation: &'static str, key: &Key) -> impl FnOnce(Error) -> Error {
    move |error| error.with_operation(operation).with_key(key)
}
