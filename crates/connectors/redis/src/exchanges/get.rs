//! Getting an object.

use std::hash::Hasher;

use proxystore_core::Memory;
use proxystore_memory::Filling;
use twox_hash::XxHash3_64;

use crate::{
    client::{Exchange, Limit},
    connection::Connection,
    error::{Mismatch, RedisError},
    key::{Expected, ObjectName},
    manifest::{Damaged, LENGTH, Manifest},
};

/// From so many bytes on, an object whose size is known is asked for window by window: the server
/// copies what it is asked for before it sends it, in fresh memory if that is large, and all at once.
const WINDOWED: usize = 4 << 20;

/// The size of a window.
const WINDOW: usize = 2 << 20;

/// How many windows are asked for and not received.
const AHEAD: usize = 2;

/// Gets what is under the name of an object.
pub(crate) struct Get<'a>(pub(crate) &'a ObjectName);

/// What is under the name of an object.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Object(Memory),
    Parts(Manifest),
}

impl Exchange for Get<'_> {
    type Answer = Found;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        limit: &Limit,
    ) -> Result<Found, RedisError> {
        match self.0.expected() {
            Some(expected) if expected.len >= WINDOWED as u64 => {
                windowed(connection, self.0.as_str(), expected, limit).await
            }
            expected => {
                connection.expect(&[b"GET", self.0.as_str().as_bytes()]);
                connection.flush().await?;
                read(connection, expected, limit).await
            }
        }
    }
}

/// Gets a large object whose bytes nobody changes: it is what its name says or something else.
async fn windowed(
    connection: &mut Connection,
    name: &str,
    expected: Expected,
    limit: &Limit,
) -> Result<Found, RedisError> {
    let len = usize::try_from(expected.len)
        .map_err(|_| RedisError::Memory(std::io::ErrorKind::OutOfMemory.into()))?;
    let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
    connection.expect(&[b"STRLEN", name.as_bytes()]);
    let mut windows = Windows::begin(connection, name, len);
    connection.flush().await?;
    let found = match connection.integer().await {
        Ok(found) => found.unsigned_abs(),
        Err(error) => {
            windows.refused(connection).await?;
            return Err(error);
        }
    };
    if found == LENGTH as u64 {
        return listed(connection, &mut windows, expected).await;
    }
    if found == 0 {
        windows.drain(connection).await?;
        return Ok(Found::Nothing);
    }
    if found != expected.len {
        // What was asked for is on its way, and is left with the connection.
        let expected = expected.len;
        return Err(connection.corrupted(Mismatch::Length { expected, found }));
    }
    limit.extend(expected.len);
    let mut sum = XxHash3_64::new();
    if !windows.receive(connection, &mut filling, &mut sum).await? {
        return Ok(Found::Nothing);
    }
    if sum.finish() != expected.sum {
        return Err(connection.corrupted(Mismatch::Checksum));
    }
    into_memory(filling).map(Found::Object)
}

/// Reads the list of parts that came as the first window.
async fn listed(
    connection: &mut Connection,
    windows: &mut Windows<'_>,
    expected: Expected,
) -> Result<Found, RedisError> {
    let bytes = windows.short(connection).await?;
    windows.drain(connection).await?;
    match Manifest::parse(&bytes) {
        Ok(Some(manifest)) if manifest.len == expected.len && manifest.sum == expected.sum => {
            Ok(Found::Parts(manifest))
        }
        Ok(None) if bytes.is_empty() => Ok(Found::Nothing),
        Ok(_) => Err(connection.corrupted(Mismatch::Length {
            expected: expected.len,
            found: bytes.len() as u64,
        })),
        Err(damaged) => Err(connection.corrupted(damaged.into())),
    }
}

/// A large value that is asked for piece by piece, the next one while the last one arrives.
pub(super) struct Windows<'a> {
    name: &'a str,
    len: usize,
    /// From where on nothing was asked for.
    asked: usize,
    received: usize,
    /// How many answers are to come.
    due: usize,
}

impl<'a> Windows<'a> {
    /// Adds the first commands to those that are to be sent.
    pub(super) fn begin(connection: &mut Connection, name: &'a str, len: usize) -> Self {
        let mut windows = Self {
            name,
            len,
            asked: 0,
            received: 0,
            due: 0,
        };
        for _ in 0..AHEAD {
            windows.ask(connection);
        }
        windows
    }

    fn ask(&mut self, connection: &mut Connection) {
        if self.asked == self.len {
            return;
        }
        let first = self.asked;
        self.asked = self.len.min(first + WINDOW);
        let commands = &mut connection.commands;
        commands.begin(4);
        commands.argument(b"GETRANGE");
        commands.argument(self.name.as_bytes());
        commands.number(first as u64);
        commands.number(self.asked as u64 - 1);
        connection.owe(1);
        self.due += 1;
    }

    /// Receives everything, and tells whether it was there to the end.
    pub(super) async fn receive(
        &mut self,
        connection: &mut Connection,
        filling: &mut Filling,
        sum: &mut XxHash3_64,
    ) -> Result<bool, RedisError> {
        while self.due > 0 {
            let found = connection.bulk().await?.unwrap_or(0);
            let expected = WINDOW.min(self.len - self.received);
            if found == 0 {
                // Evicted meanwhile.
                connection.body(&mut empty()?, 0, None).await?;
                connection.answered();
                self.due -= 1;
                self.drain(connection).await?;
                return Ok(false);
            }
            if found != expected {
                return Err(connection.corrupted(Mismatch::Length {
                    expected: self.len as u64,
                    found: (self.received + found) as u64,
                }));
            }
            connection.body(filling, found, Some(sum)).await?;
            connection.answered();
            self.received += found;
            self.due -= 1;
            if self.asked < self.len {
                self.ask(connection);
                connection.flush().await?;
            }
        }
        Ok(true)
    }

    /// Receives one answer that has to be short.
    async fn short(&mut self, connection: &mut Connection) -> Result<Vec<u8>, RedisError> {
        let len = connection.bulk().await?.unwrap_or(0);
        if len > LENGTH {
            return Err(connection.corrupted(Mismatch::Manifest(Damaged)));
        }
        let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
        connection.body(&mut filling, len, None).await?;
        connection.answered();
        self.due -= 1;
        Ok(filling.filled().to_vec())
    }

    /// Receives the other answers, which are short.
    async fn drain(&mut self, connection: &mut Connection) -> Result<(), RedisError> {
        while self.due > 0 {
            self.short(connection).await?;
        }
        Ok(())
    }

    /// Receives refusals.
    pub(super) async fn refused(&mut self, connection: &mut Connection) -> Result<(), RedisError> {
        while self.due > 0 {
            match self.short(connection).await {
                Err(error) if error.refusal().is_some() => self.due -= 1,
                other => drop(other?),
            }
        }
        Ok(())
    }
}

fn empty() -> Result<Filling, RedisError> {
    Filling::new(0).map_err(RedisError::Memory)
}

/// Reads the reply to `GET`.
pub(super) async fn read(
    connection: &mut Connection,
    expected: Option<Expected>,
    limit: &Limit,
) -> Result<Found, RedisError> {
    let Some(len) = connection.bulk().await? else {
        connection.answered();
        return Ok(Found::Nothing);
    };
    match expected {
        Some(expected) if expected.len == len as u64 => {
            if expected.len > LENGTH as u64 {
                limit.extend(expected.len);
            }
            let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
            let mut sum = XxHash3_64::new();
            connection.body(&mut filling, len, Some(&mut sum)).await?;
            connection.answered();
            if sum.finish() != expected.sum {
                return Err(connection.corrupted(Mismatch::Checksum));
            }
            into_memory(filling).map(Found::Object)
        }
        Some(expected) => {
            let mismatch = Mismatch::Length {
                expected: expected.len,
                found: len as u64,
            };
            if len != LENGTH {
                return Err(connection.corrupted(mismatch));
            }
            let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
            connection.body(&mut filling, len, None).await?;
            connection.answered();
            match Manifest::parse(filling.filled()) {
                Ok(Some(manifest))
                    if manifest.len == expected.len && manifest.sum == expected.sum =>
                {
                    Ok(Found::Parts(manifest))
                }
                Ok(_) => Err(connection.corrupted(mismatch)),
                Err(damaged) => Err(connection.corrupted(damaged.into())),
            }
        }
        None => {
            limit.extend(len as u64);
            let mut filling = Filling::new(len).map_err(RedisError::Memory)?;
            connection.body(&mut filling, len, None).await?;
            connection.answered();
            match Manifest::parse(filling.filled()) {
                Ok(None) => into_memory(filling).map(Found::Object),
                Ok(Some(manifest)) => Ok(Found::Parts(manifest)),
                Err(damaged) => Err(connection.corrupted(damaged.into())),
            }
        }
    }
}

/// The memory of an object all of whose bytes were read.
pub(crate) fn into_memory(filling: Filling) -> Result<Memory, RedisError> {
    let missing = |_| RedisError::Memory(std::io::ErrorKind::UnexpectedEof.into());
    filling.finish().map_err(missing)
}
