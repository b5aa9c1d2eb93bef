//! Objects, whether they are in one value or in parts.

use std::{
    collections::{HashMap, HashSet},
    hash::Hasher,
    io,
    sync::Arc,
    time::Duration,
};

use proxystore_core::{Deadline, Memory, Payload};
use twox_hash::XxHash3_64;

use crate::{
    client::{Client, Limit},
    config::Options,
    error::{Mismatch, RedisError},
    exchanges::{
        Clear, Evict, Exists, Found, Get, GetMany, GetParts, Publish, Put, PutMany, PutPart, Set,
        Unlink,
    },
    key::{Expected, ObjectName, slot},
    manifest::{MAGIC, MOST, Manifest},
};

/// How often an object may be replaced while its parts are read.
const REPLACED: u32 = 8;

/// How long parts stay at least that nobody has listed.
const LEASE: Duration = Duration::from_hours(1);

/// The objects of a server.
#[derive(Debug)]
pub(crate) struct Objects {
    client: Client,
    prefix: String,
    ttl: Option<Duration>,
    part_size: u64,
    timeout: Duration,
}

impl Objects {
    pub(crate) fn new(options: &Options) -> Result<Self, RedisError> {
        Ok(Self {
            client: Client::new(options)?,
            prefix: options.prefix.clone(),
            ttl: options.ttl,
            part_size: options.part_size,
            timeout: options.timeout,
        })
    }

    /// A name that nobody else has.
    pub(crate) fn new_name(&self) -> Result<ObjectName, RedisError> {
        let tagged = self.client.directory.is_cluster();
        Ok(ObjectName::from_random(&self.prefix, random()?, tagged))
    }

    pub(crate) async fn put(
        self: &Arc<Self>,
        payload: Payload<'_>,
        deadline: Deadline,
    ) -> Result<ObjectName, RedisError> {
        let base = self.new_name()?;
        let limit = self.client.limit(deadline, payload.len() as u64);
        self.put_as(&base, payload, &limit).await
    }

    async fn put_as(
        self: &Arc<Self>,
        base: &ObjectName,
        payload: Payload<'_>,
        limit: &Limit,
    ) -> Result<ObjectName, RedisError> {
        if payload.len() as u64 > self.part_size {
            return self.put_parts(base, payload, limit, true).await;
        }
        let mut put = Put {
            payload,
            base,
            ttl: self.ttl,
        };
        self.client
            .run(self.slot(base.as_str()), limit, &mut put)
            .await
    }

    /// Stores all objects, or none.
    pub(crate) async fn put_batch(
        self: &Arc<Self>,
        payloads: &[Payload<'_>],
        deadline: Deadline,
    ) -> Result<Vec<ObjectName>, RedisError> {
        let lens = payloads.iter().map(|payload| payload.len() as u64);
        let limit = self.client.limit(deadline, lens.sum());
        let bases: Result<Vec<_>, _> = payloads.iter().map(|_| self.new_name()).collect();
        let bases = bases?;
        let mut unfinished = Unfinished::new(self);
        let stored = self
            .put_all(payloads, &bases, &limit, &mut unfinished.names)
            .await;
        if let Ok(names) = &stored {
            // Only what a source that changed between two attempts has left behind.
            let names: HashSet<_> = names.iter().map(ObjectName::as_str).collect();
            unfinished
                .names
                .retain(|name| !names.contains(name.as_str()));
        }
        unfinished.remove(&limit).await;
        stored
    }

    async fn put_all(
        self: &Arc<Self>,
        payloads: &[Payload<'_>],
        bases: &[ObjectName],
        limit: &Limit,
        stored: &mut Vec<String>,
    ) -> Result<Vec<ObjectName>, RedisError> {
        let mut names = vec![None; payloads.len()];
        let whole = |index: &usize| payloads[*index].len() as u64 <= self.part_size;
        let indexes = (0..payloads.len()).filter(whole);
        for (slot, indexes) in self.groups(bases, indexes, limit).await? {
            let mut put = PutMany {
                payloads,
                bases,
                indexes: &indexes,
                ttl: self.ttl,
                stored,
            };
            let found = self.client.run(slot, limit, &mut put).await?;
            for (index, name) in indexes.into_iter().zip(found) {
                names[index] = name;
            }
        }
        let mut complete = Vec::with_capacity(names.len());
        for (index, name) in names.into_iter().enumerate() {
            if let Some(name) = name {
                complete.push(name);
                continue;
            }
            let name = self.put_as(&bases[index], payloads[index], limit).await?;
            stored.push(name.as_str().to_owned());
            complete.push(name);
        }
        Ok(complete)
    }

    pub(crate) async fn set(
        self: &Arc<Self>,
        name: &ObjectName,
        payload: Payload<'_>,
        deadline: Deadline,
    ) -> Result<(), RedisError> {
        if name.expected().is_some() {
            return Err(RedisError::Settled);
        }
        let limit = self.client.limit(deadline, payload.len() as u64);
        if payload.len() as u64 > self.part_size || begins_with_magic(payload) {
            return self.put_parts(name, payload, &limit, false).await.map(drop);
        }
        let mut set = Set {
            payload,
            name,
            ttl: self.ttl,
            sent: false,
        };
        let slot = self.slot(name.as_str());
        if let Some(before) = self.client.run(slot, &limit, &mut set).await? {
            self.remove_parts(name, &before, &limit).await;
        }
        Ok(())
    }

    pub(crate) async fn get(
        &self,
        name: &ObjectName,
        deadline: Deadline,
    ) -> Result<Option<Memory>, RedisError> {
        let limit = self.client.limit(deadline, 0);
        let slot = self.slot(name.as_str());
        let mut missing = None;
        for _ in 0..REPLACED {
            let manifest = match self.client.run(slot, &limit, &mut Get(name)).await? {
                Found::Nothing => return Ok(None),
                Found::Object(memory) => return Ok(Some(memory)),
                Found::Parts(manifest) => manifest,
            };
            if let Some((before, index)) = missing
                && before == manifest
            {
                let server = self.client.server(slot, &limit).await?;
                return Err(RedisError::Corrupted {
                    peer: server.to_string().into(),
                    problem: Mismatch::Missing { index },
                });
            }
            let mut parts = GetParts {
                manifest: &manifest,
                name,
            };
            match self.client.run(slot, &limit, &mut parts).await? {
                Ok(memory) => return Ok(Some(memory)),
                // Somebody may have evicted or replaced the object meanwhile.
                Err(index) => missing = Some((manifest, index)),
            }
        }
        Err(RedisError::Replaced)
    }

    /// The objects in the order of their names, or which of them cannot be had.
    pub(crate) async fn get_batch(
        &self,
        names: &[ObjectName],
        deadline: Deadline,
    ) -> Result<Vec<Option<Memory>>, (Option<usize>, RedisError)> {
        let limit = self.client.limit(deadline, 0);
        let mut objects: Vec<_> = names.iter().map(|_| None).collect();
        let mut others = Vec::new();
        let groups = self.groups(names, 0..names.len(), &limit).await;
        for (slot, indexes) in groups.map_err(|error| (None, error))? {
            let mut otherwise = Vec::new();
            let mut get = GetMany {
                names,
                indexes: &indexes,
                objects: &mut objects,
                others: &mut otherwise,
                failed: None,
            };
            let got = self.client.run(slot, &limit, &mut get).await;
            got.map_err(|error| (get.failed, error))?;
            others.append(&mut otherwise);
        }
        for index in others {
            let object = self.get(&names[index], deadline).await;
            objects[index] = object.map_err(|error| (Some(index), error))?;
        }
        Ok(objects)
    }

    /// Which of some names are on the same server, with one of its slots.
    async fn groups(
        &self,
        names: &[ObjectName],
        indexes: impl Iterator<Item = usize>,
        limit: &Limit,
    ) -> Result<Vec<(u16, Vec<usize>)>, RedisError> {
        if !self.client.directory.is_cluster() {
            let all: Vec<_> = indexes.collect();
            let some = !all.is_empty();
            return Ok(some.then_some((0, all)).into_iter().collect());
        }
        let mut groups = HashMap::new();
        for index in indexes {
            let slot = slot(names[index].as_str());
            let server = self.client.server(slot, limit).await?;
            let (_, group) = groups.entry(server).or_insert((slot, Vec::new()));
            group.push(index);
        }
        Ok(groups.into_values().collect())
    }

    pub(crate) async fn exists(
        &self,
        name: &ObjectName,
        deadline: Deadline,
    ) -> Result<bool, RedisError> {
        let limit = self.client.limit(deadline, 0);
        let slot = self.slot(name.as_str());
        self.client.run(slot, &limit, &mut Exists(name)).await
    }

    pub(crate) async fn evict(
        &self,
        name: &ObjectName,
        deadline: Deadline,
    ) -> Result<(), RedisError> {
        let limit = self.client.limit(deadline, 0);
        self.evict_within(name, &limit).await
    }

    async fn evict_within(&self, name: &ObjectName, limit: &Limit) -> Result<(), RedisError> {
        let slot = self.slot(name.as_str());
        match self.client.run(slot, limit, &mut Evict(name)).await? {
            None => Ok(()),
            Some(manifest) => {
                let parts = part_names(&manifest, name);
                self.client.run(slot, limit, &mut Unlink(&parts)).await
            }
        }
    }

    /// Removes all objects.
    pub(crate) async fn clear(&self, deadline: Deadline) -> Result<(), RedisError> {
        let limit = self.client.limit(deadline, 0);
        for server in self.client.servers(&limit).await? {
            let mut clear = Clear {
                prefix: &self.prefix,
                cluster: self.client.directory.is_cluster(),
            };
            self.client.run_at(&server, &limit, &mut clear).await?;
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.client.close();
    }

    /// Stores an object in parts, under a name that is then completed with what its bytes must be,
    /// if that is wanted.
    async fn put_parts(
        self: &Arc<Self>,
        base: &ObjectName,
        payload: Payload<'_>,
        limit: &Limit,
        complete: bool,
    ) -> Result<ObjectName, RedisError> {
        let manifest = Manifest {
            nonce: random()?,
            len: payload.len() as u64,
            part: self.part_size,
            sum: 0,
        };
        if manifest.parts() > MOST {
            return Err(RedisError::TooManyParts);
        }
        let mut unfinished = Unfinished::new(self);
        let stored = self
            .send_parts(
                base,
                payload,
                manifest,
                limit,
                complete,
                &mut unfinished.names,
            )
            .await;
        if stored.is_ok() {
            unfinished.names.clear();
        }
        unfinished.remove(limit).await;
        stored
    }

    /// Stores the parts, names them in `sent` before they are, and then what lists them.
    async fn send_parts(
        &self,
        base: &ObjectName,
        payload: Payload<'_>,
        mut manifest: Manifest,
        limit: &Limit,
        complete: bool,
        sent: &mut Vec<String>,
    ) -> Result<ObjectName, RedisError> {
        let slot = self.slot(base.as_str());
        let transfer = Duration::from_micros(manifest.len);
        let lease = LEASE
            .saturating_add(self.timeout.saturating_mul(2))
            .saturating_add(transfer.saturating_mul(2));
        let mut cursor = payload.cursor();
        let mut sum = XxHash3_64::new();
        for index in 0..manifest.parts() {
            let part = manifest.part_name(base, index);
            sent.push(part.clone());
            let len = manifest.part_len(index);
            let mut put = PutPart {
                name: &part,
                cursor: &mut cursor,
                // A part of what is in memory.
                len: usize::try_from(len).unwrap_or(usize::MAX),
                sum: &mut sum,
                lease,
            };
            self.client.run(slot, limit, &mut put).await?;
        }
        manifest.sum = sum.finish();
        let name = if complete {
            base.with_expected(Expected {
                len: manifest.len,
                sum: manifest.sum,
            })
        } else {
            base.clone()
        };
        let mut publish = Publish {
            manifest: &manifest,
            parts: sent,
            name: &name,
            ttl: self.ttl,
        };
        if let Some(before) = self.client.run(slot, limit, &mut publish).await? {
            self.remove_parts(&name, &before, limit).await;
        }
        Ok(name)
    }

    /// Removes the parts of an object that was replaced. The new one is there whatever comes of it.
    async fn remove_parts(&self, name: &ObjectName, manifest: &Manifest, limit: &Limit) {
        let parts = part_names(manifest, name);
        let slot = self.slot(name.as_str());
        if let Err(error) = self.client.run(slot, limit, &mut Unlink(&parts)).await {
            tracing::warn!(%error, "parts of an object that was replaced stay behind");
        }
    }

    /// Removes what was stored under some names, parts by their own names or by their object's.
    async fn remove(&self, names: &[String], limit: &Limit) -> Result<(), RedisError> {
        let in_parts = |name: &ObjectName| {
            let expected = name.expected();
            expected.is_some_and(|expected| expected.len > self.part_size)
        };
        let objects = names.iter().filter_map(|name| ObjectName::parse(name));
        for name in objects.filter(in_parts) {
            self.evict_within(&name, limit).await?;
        }
        for names in names.chunk_by(|one, other| self.slot(one) == self.slot(other)) {
            let first = names.first().map_or(0, |name| self.slot(name));
            self.client.run(first, limit, &mut Unlink(names)).await?;
        }
        Ok(())
    }

    fn slot(&self, name: &str) -> u16 {
        if self.client.directory.is_cluster() {
            slot(name)
        } else {
            0
        }
    }
}

/// What is removed unless all of it is stored and known.
struct Unfinished<'a> {
    objects: &'a Arc<Objects>,
    names: Vec<String>,
}

impl<'a> Unfinished<'a> {
    const fn new(objects: &'a Arc<Objects>) -> Self {
        Self {
            objects,
            names: Vec::new(),
        }
    }

    async fn remove(&mut self, limit: &Limit) {
        if self.objects.remove(&self.names, limit).await.is_ok() {
            self.names.clear();
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.names.is_empty() {
            return;
        }
        // Nobody waits any more, so a task removes them.
        let objects = Arc::clone(self.objects);
        let names = std::mem::take(&mut self.names);
        let spawned = proxystore_runtime::spawn(async move {
            let limit = objects.client.limit(Deadline::never(), 0);
            if let Err(error) = objects.remove(&names, &limit).await {
                tracing::warn!(%error, "what was stored of an unfinished object stays behind");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "what was stored of an unfinished object stays behind");
        }
    }
}

fn part_names(manifest: &Manifest, name: &ObjectName) -> Vec<String> {
    let indexes = 0..manifest.parts();
    indexes
        .map(|index| manifest.part_name(name, index))
        .collect()
}

/// Whether an object would be taken for a list of parts.
fn begins_with_magic(payload: Payload<'_>) -> bool {
    let mut start = [0; MAGIC.len()];
    payload.cursor().fill(&mut start) == MAGIC.len() && start == MAGIC
}

fn random() -> Result<[u8; 16], RedisError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| RedisError::Random(io::Error::other(error)))?;
    Ok(bytes)
}
