//! Objects, whether they are in one value or in parts.

use std::{hash::Hasher, io, sync::Arc, time::Duration};

use proxystore_core::{Deadline, Memory, Payload};
use twox_hash::XxHash3_64;

use crate::{
    client::{Client, Limit},
    config::Options,
    error::{Mismatch, RedisError},
    exchanges::{Clear, Evict, Exists, Found, Get, GetParts, Publish, Put, PutPart, Set, Unlink},
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
        if payload.len() as u64 > self.part_size {
            return self.put_parts(&base, payload, &limit, true).await;
        }
        let mut put = Put {
            payload,
            base: &base,
            ttl: self.ttl,
        };
        self.client
            .run(self.slot(base.as_str()), &limit, &mut put)
            .await
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
        let slot = self.slot(name.as_str());
        match self.client.run(slot, &limit, &mut Evict(name)).await? {
            None => Ok(()),
            Some(manifest) => {
                let parts = part_names(&manifest, name);
                self.client.run(slot, &limit, &mut Unlink(&parts)).await
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
        let mut unfinished = Unfinished {
            objects: self,
            slot: self.slot(base.as_str()),
            parts: Vec::new(),
        };
        let stored = self
            .send_parts(
                base,
                payload,
                manifest,
                limit,
                complete,
                &mut unfinished.parts,
            )
            .await;
        if stored.is_ok() {
            unfinished.parts.clear();
        } else {
            unfinished.remove(limit).await;
        }
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

    fn slot(&self, name: &str) -> u16 {
        if self.client.directory.is_cluster() {
            slot(name)
        } else {
            0
        }
    }
}

/// Parts that are removed unless they are listed.
struct Unfinished<'a> {
    objects: &'a Arc<Objects>,
    slot: u16,
    parts: Vec<String>,
}

impl Unfinished<'_> {
    async fn remove(&mut self, limit: &Limit) {
        let mut unlink = Unlink(&self.parts);
        let removed = self.objects.client.run(self.slot, limit, &mut unlink).await;
        if removed.is_ok() {
            self.parts.clear();
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.parts.is_empty() {
            return;
        }
        // Nobody waits any more, so a task removes them; should it fail, they go by themselves.
        let (objects, slot) = (Arc::clone(self.objects), self.slot);
        let parts = std::mem::take(&mut self.parts);
        let spawned = proxystore_runtime::spawn(async move {
            let limit = objects.client.limit(Deadline::never(), 0);
            if let Err(error) = objects.client.run(slot, &limit, &mut Unlink(&parts)).await {
                tracing::warn!(%error, "parts of an unfinished object stay behind for an hour");
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "parts of an unfinished object stay behind for an hour");
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
