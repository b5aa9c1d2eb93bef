//! Many objects at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use proxystore_core::{Deadline, Memory, Payload};

use super::{Objects, parts::Unfinished};
use crate::{
    client::Limit,
    error::RedisError,
    exchanges::{GetMany, PutMany},
    key::{ObjectName, slot},
};

impl Objects {
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
}
