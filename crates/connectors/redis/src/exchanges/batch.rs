//! Many objects in few round trips.

use std::{ops::Range, time::Duration};

use proxystore_core::{Memory, Payload};

use super::{Found, Put, close_set, get::read, open_set};
use crate::{
    client::{Exchange, Limit},
    connection::Connection,
    error::RedisError,
    key::{Expected, ObjectName},
    refusal::Reason,
};

/// How many commands may be without an answer.
const MOST: usize = 512;

/// Up to so many bytes an object is sent together with others.
const SMALL: usize = 64 << 10;

/// From so many bytes on, commands are sent.
const FULL: usize = 256 << 10;

/// How many bytes may be on their way from the server, which holds them until they are taken.
const WINDOW: u64 = 1 << 20;

/// What an object counts as whose size is not known.
const UNKNOWN: u64 = 64 << 10;

/// Stores objects, each in one value, on one server.
pub(crate) struct PutMany<'a> {
    pub(crate) payloads: &'a [Payload<'a>],
    /// The names without length and checksum.
    pub(crate) bases: &'a [ObjectName],
    /// Which of them to store.
    pub(crate) indexes: &'a [usize],
    pub(crate) ttl: Option<Duration>,
    /// Everything that was stored, also by attempts that failed.
    pub(crate) stored: &'a mut Vec<String>,
}

impl Exchange for PutMany<'_> {
    /// The names in the order of the indexes; none where another server has the slot.
    type Answer = Vec<Option<ObjectName>>;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        limit: &Limit,
    ) -> Result<Vec<Option<ObjectName>>, RedisError> {
        let mut names = Vec::with_capacity(self.indexes.len());
        let mut sent = 0;
        for index in self.indexes {
            let payload = self.payloads[*index];
            if payload.len() > SMALL || sent >= MOST || connection.commands.len() >= FULL {
                self.confirm(connection, &mut names, sent).await?;
                sent = 0;
            }
            let base = &self.bases[*index];
            if payload.len() <= SMALL {
                names.push(Some(self.push(connection, payload, base)));
                sent += 1;
                continue;
            }
            let mut put = Put {
                payload,
                base,
                ttl: self.ttl,
            };
            let stored = put.perform(connection, limit).await;
            names.push(elsewhere(stored)?);
            self.note(names.last());
        }
        self.confirm(connection, &mut names, sent).await?;
        Ok(names)
    }

    fn is_single(&self) -> bool {
        false
    }
}

impl PutMany<'_> {
    /// Writes the command for a small object.
    fn push(
        &self,
        connection: &mut Connection,
        payload: Payload<'_>,
        base: &ObjectName,
    ) -> ObjectName {
        let len = payload.len();
        let held = connection.hold(&mut payload.cursor(), len);
        let sum = connection.whole_sum(&held);
        let name = base.with_expected(Expected {
            len: len as u64,
            sum,
        });
        open_set(&mut connection.commands, name.as_str(), len, self.ttl);
        connection.push_held(&held);
        close_set(&mut connection.commands, self.ttl);
        connection.owe(1);
        name
    }

    /// Sends the commands and reads the answers to them, those for the last `sent` names.
    async fn confirm(
        &mut self,
        connection: &mut Connection,
        names: &mut [Option<ObjectName>],
        sent: usize,
    ) -> Result<(), RedisError> {
        if sent == 0 {
            return Ok(());
        }
        connection.flush().await?;
        let start = names.len() - sent;
        for name in names[start..].iter().flatten() {
            connection.doubt(name.as_str());
        }
        let mut refused = None;
        for name in &mut names[start..] {
            match elsewhere(connection.status().await) {
                Ok(Some(())) => self.note(Some(name)),
                Ok(None) => *name = None,
                Err(error) if error.refusal().is_some() => {
                    refused.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        connection.settle();
        refused.map_or(Ok(()), Err)
    }

    fn note(&mut self, name: Option<&Option<ObjectName>>) {
        let stored = name.into_iter().flatten();
        self.stored
            .extend(stored.map(|name| name.as_str().to_owned()));
    }
}

/// Gets objects from one server.
pub(crate) struct GetMany<'a> {
    pub(crate) names: &'a [ObjectName],
    /// Which of them to get.
    pub(crate) indexes: &'a [usize],
    /// Where the objects go; what has to be got otherwise stays away.
    pub(crate) objects: &'a mut [Option<Memory>],
    /// What has to be got otherwise: from another server, or in parts.
    pub(crate) others: &'a mut Vec<usize>,
    /// What an error is about.
    pub(crate) failed: Option<usize>,
}

impl Exchange for GetMany<'_> {
    type Answer = ();

    async fn perform(
        &mut self,
        connection: &mut Connection,
        limit: &Limit,
    ) -> Result<(), RedisError> {
        self.others.clear();
        self.failed = None;
        let mut start = 0;
        while start < self.indexes.len() {
            let window = self.window(start);
            start = window.end;
            self.get(connection, window, limit).await?;
        }
        Ok(())
    }

    fn is_single(&self) -> bool {
        false
    }
}

impl GetMany<'_> {
    /// As many from `start` on as may be on their way together: at least one.
    fn window(&self, start: usize) -> Range<usize> {
        let mut bytes = 0;
        let mut end = start;
        while end < self.indexes.len() && end - start < MOST {
            let expected = self.names[self.indexes[end]].expected();
            bytes += expected.map_or(UNKNOWN, |expected| expected.len);
            if end > start && bytes > WINDOW {
                break;
            }
            end += 1;
        }
        start..end
    }

    async fn get(
        &mut self,
        connection: &mut Connection,
        window: Range<usize>,
        limit: &Limit,
    ) -> Result<(), RedisError> {
        for index in &self.indexes[window.clone()] {
            connection.expect(&[b"GET", self.names[*index].as_str().as_bytes()]);
        }
        connection.flush().await?;
        let mut refused = None;
        for index in &self.indexes[window] {
            let found = read(connection, self.names[*index].expected(), limit).await;
            match elsewhere(found) {
                Ok(Some(Found::Object(memory))) => self.objects[*index] = Some(memory),
                Ok(Some(Found::Nothing)) => self.objects[*index] = None,
                Ok(Some(Found::Parts(_)) | None) => self.others.push(*index),
                Err(error) => {
                    self.failed.get_or_insert(*index);
                    let first = refused.get_or_insert(error);
                    if !connection.is_in_step() {
                        return Err(std::mem::replace(first, RedisError::Closed));
                    }
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

/// None if another server is to be asked, for this one name.
fn elsewhere<T>(answer: Result<T, RedisError>) -> Result<Option<T>, RedisError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.refusal().map(|refusal| &refusal.reason) {
            Some(Reason::Moved(..) | Reason::Ask(_)) => Ok(None),
            _ => Err(error),
        },
    }
}
