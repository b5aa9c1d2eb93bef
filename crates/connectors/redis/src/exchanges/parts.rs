//! Objects in parts.

use std::{hash::Hasher, time::Duration};

use proxystore_core::Memory;
use proxystore_memory::{Cursor, Filling};
use twox_hash::XxHash3_64;

use super::{
    close_set,
    get::{Windows, into_memory},
    millis, open_set,
    put::settle_if_answered,
    set::{look, push_look},
    transaction::transaction,
};
use crate::{
    client::{Exchange, Limit},
    connection::Connection,
    error::{Mismatch, RedisError},
    key::ObjectName,
    manifest::Manifest,
    resp::Value,
};

/// How much longer parts live than what lists them, so that it is the first to go.
const LONGER: Duration = Duration::from_secs(1);

/// Stores one part, which goes by itself should nobody ever list it.
pub(crate) struct PutPart<'a, 'b> {
    pub(crate) name: &'a str,
    pub(crate) cursor: &'a mut Cursor<'b>,
    pub(crate) len: usize,
    pub(crate) sum: &'a mut XxHash3_64,
    /// How long the part stays if nobody lists it.
    pub(crate) lease: Duration,
}

impl Exchange for PutPart<'_, '_> {
    type Answer = ();

    async fn perform(&mut self, connection: &mut Connection, _: &Limit) -> Result<(), RedisError> {
        // From where this part begins, however often it is sent.
        let (mut cursor, mut sum) = (self.cursor.clone(), self.sum.clone());
        open_set(
            &mut connection.commands,
            self.name,
            self.len,
            Some(self.lease),
        );
        connection.owe(1);
        connection
            .send_summed(&mut cursor, self.len, &mut sum)
            .await?;
        close_set(&mut connection.commands, Some(self.lease));
        connection.flush().await?;
        connection.doubt(self.name);
        let stored = connection.status().await;
        settle_if_answered(connection, &stored);
        stored?;
        (*self.cursor, *self.sum) = (cursor, sum);
        Ok(())
    }

    fn is_single(&self) -> bool {
        false
    }
}

/// Lists the parts, all of which are there, under the name of the object, and lets them stay.
/// Returns the list that was there before, if there was one.
pub(crate) struct Publish<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) parts: &'a [String],
    pub(crate) name: &'a ObjectName,
    pub(crate) ttl: Option<Duration>,
}

impl Exchange for Publish<'_> {
    type Answer = Option<Manifest>;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        _: &Limit,
    ) -> Result<Option<Manifest>, RedisError> {
        let commands = &mut connection.commands;
        commands.push(&[b"MULTI"]);
        push_look(commands, self.name.as_str());
        for part in self.parts {
            match self.ttl {
                None => commands.push(&[b"PERSIST", part.as_bytes()]),
                Some(ttl) => {
                    commands.begin(3);
                    commands.argument(b"PEXPIRE");
                    commands.argument(part.as_bytes());
                    commands.number(millis(ttl.saturating_add(LONGER)));
                }
            }
        }
        commands.begin(self.parts.len() + 1);
        commands.argument(b"EXISTS");
        for part in self.parts {
            commands.argument(part.as_bytes());
        }
        let manifest = self.manifest.encode();
        open_set(commands, self.name.as_str(), manifest.len(), self.ttl);
        commands.room(manifest.len()).copy_from_slice(&manifest);
        close_set(commands, self.ttl);
        commands.push(&[b"EXEC"]);
        connection.owe(self.parts.len() + 5);
        connection.flush().await?;
        let answers = transaction(connection, self.parts.len() + 3).await?;
        let there = answers.get(self.parts.len() + 1);
        let all = i64::try_from(self.parts.len()).map(Value::Integer);
        if there != all.ok().as_ref() {
            connection.expect(&[b"UNLINK", self.name.as_str().as_bytes()]);
            connection.flush().await?;
            connection.integer().await?;
            let line = b"OOM it has evicted a part of the object before the last one came";
            return Err(connection.refused(line));
        }
        // When it is done a second time, it finds what it has listed the first time.
        let before = answers.first().and_then(look);
        Ok(before.filter(|before| before.nonce != self.manifest.nonce))
    }

    fn is_single(&self) -> bool {
        false
    }
}

/// Gets all parts of an object and puts them together.
pub(crate) struct GetParts<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) name: &'a ObjectName,
}

impl Exchange for GetParts<'_> {
    /// None if a part is not there.
    type Answer = Result<Memory, u64>;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        limit: &Limit,
    ) -> Result<Result<Memory, u64>, RedisError> {
        let manifest = self.manifest;
        let len = usize::try_from(manifest.len)
            .map_err(|_| RedisError::Memory(std::io::ErrorKind::OutOfMemory.into()))?;
        limit.extend(manifest.len);
        let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
        let mut sum = XxHash3_64::new();
        for index in 0..manifest.parts() {
            let part = manifest.part_name(self.name, index);
            let part_len = manifest.part_len(index);
            // As much of what is in memory.
            let len = usize::try_from(part_len).unwrap_or(usize::MAX);
            connection.expect(&[b"STRLEN", part.as_bytes()]);
            let mut windows = Windows::begin(connection, &part, len);
            connection.flush().await?;
            let found = match connection.integer().await {
                Ok(found) => found.unsigned_abs(),
                Err(error) => {
                    windows.refused(connection).await?;
                    return Err(error);
                }
            };
            if found != 0 && found != part_len {
                let expected = part_len;
                return Err(connection.corrupted(Mismatch::Length { expected, found }));
            }
            if !windows.receive(connection, &mut filling, &mut sum).await? {
                return Ok(Err(index));
            }
        }
        if sum.finish() != manifest.sum {
            return Err(connection.corrupted(Mismatch::Checksum));
        }
        into_memory(filling).map(Ok)
    }

    fn is_single(&self) -> bool {
        false
    }
}
