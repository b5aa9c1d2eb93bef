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
    manifest::{LENGTH, Manifest},
};

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
        connection.expect(&[b"GET", self.0.as_str().as_bytes()]);
        connection.flush().await?;
        read(connection, self.0.expected(), limit).await
    }
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
            finish(filling).map(Found::Object)
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
                Ok(None) => finish(filling).map(Found::Object),
                Ok(Some(manifest)) => Ok(Found::Parts(manifest)),
                Err(damaged) => Err(connection.corrupted(damaged.into())),
            }
        }
    }
}

pub(super) fn finish(filling: Filling) -> Result<Memory, RedisError> {
    let missing = |_| RedisError::Memory(std::io::ErrorKind::UnexpectedEof.into());
    filling.finish().map_err(missing)
}
