//! Objects in parts, and what is left of those that came to nothing.

use std::{hash::Hasher, sync::Arc, time::Duration};

use proxystore_core::{Deadline, Payload};
use twox_hash::XxHash3_64;

use super::{Objects, random};
use crate::{
    client::Limit,
    error::RedisError,
    exchanges::{Publish, PutPart, Unlink},
    key::{Expected, ObjectName},
    manifest::{MAGIC, MOST, Manifest},
};

/// How long parts stay at least that nobody has listed.
const LEASE: Duration = Duration::from_hours(1);

impl Objects {
    /// Stores an object in parts, under a name that is then completed with what its bytes must be,
    /// if that is wanted.
    pub(super) async fn put_parts(
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
    pub(super) async fn send_parts(
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
    pub(super) async fn remove_parts(&self, name: &ObjectName, manifest: &Manifest, limit: &Limit) {
        let parts = part_names(manifest, name);
        let slot = self.slot(name.as_str());
        if let Err(error) = self.client.run(slot, limit, &mut Unlink(&parts)).await {
            tracing::warn!(%error, "parts of an object that was replaced stay behind");
        }
    }

    /// Removes what was stored under some names, parts by their own names or by their object's.
    pub(super) async fn remove(&self, names: &[String], limit: &Limit) -> Result<(), RedisError> {
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
}

/// What is removed unless all of it is stored and known.
pub(super) struct Unfinished<'a> {
    objects: &'a Arc<Objects>,
    pub(super) names: Vec<String>,
}

impl<'a> Unfinished<'a> {
    pub(super) const fn new(objects: &'a Arc<Objects>) -> Self {
        Self {
            objects,
            names: Vec::new(),
        }
    }

    pub(super) async fn remove(&mut self, limit: &Limit) {
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

pub(super) fn part_names(manifest: &Manifest, name: &ObjectName) -> Vec<String> {
    let indexes = 0..manifest.parts();
    indexes
        .map(|index| manifest.part_name(name, index))
        .collect()
}

/// Whether an object would be taken for a list of parts.
pub(super) fn begins_with_magic(payload: Payload<'_>) -> bool {
    let mut start = [0; MAGIC.len()];
    payload.cursor().fill(&mut start) == MAGIC.len() && start == MAGIC
}
