//! Objects, whether they are in one value or in parts.

mod batches;
mod parts;

use std::{io, sync::Arc, time::Duration};

use proxystore_core::{Config, Deadline, Memory, Payload};

use self::parts::{begins_with_magic, part_names};
use crate::{
    client::{Client, Limit},
    error::{Mismatch, RedisError},
    exchanges::{Clear, Evict, Exists, Found, Get, GetParts, Put, Set, Unlink},
    key::{ObjectName, slot},
    options::Options,
};

/// How often an object may be replaced while its parts are read.
const REPLACED: u32 = 8;

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

    /// What was done with each server: a map for each, by its name.
    pub(crate) fn statistics(&self) -> Config {
        self.client.statistics()
    }

    pub(crate) fn close(&self) {
        self.client.close();
    }

    fn slot(&self, name: &str) -> u16 {
        if self.client.directory.is_cluster() {
            slot(name)
        } else {
            0
        }
    }
}

fn random() -> Result<[u8; 16], RedisError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| RedisError::Random(io::Error::other(error)))?;
    Ok(bytes)
}
