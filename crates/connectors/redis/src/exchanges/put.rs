//! Storing an object under a name that says what its bytes must be.

use std::{hash::Hasher, time::Duration};

use proxystore_core::Payload;
use twox_hash::XxHash3_64;

use super::{close_set, open_set};
use crate::{
    client::{Exchange, Limit},
    connection::Connection,
    error::RedisError,
    key::{Expected, ObjectName},
    resp::Command,
};

/// Up to so many bytes an object is summed as a whole before it is sent: it takes less than the
/// server does to rename one.
const SMALL: usize = 512 << 10;

/// The same for an object that is copied, too.
const SMALL_COPY: usize = 256 << 10;

/// Stores an object in one value.
///
/// The name must be known before the first byte is sent. So a small object is summed first, and a
/// large one is sent under a name without checksum, summed while the server takes it, and renamed
/// in the same breath.
pub(crate) struct Put<'a> {
    pub(crate) payload: Payload<'a>,
    /// The name without length and checksum.
    pub(crate) base: &'a ObjectName,
    pub(crate) ttl: Option<Duration>,
}

impl Exchange for Put<'_> {
    type Answer = ObjectName;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        _: &Limit,
    ) -> Result<ObjectName, RedisError> {
        if self.is_small() {
            self.put_small(connection).await
        } else {
            self.put_large(connection).await
        }
    }

    fn is_single(&self) -> bool {
        self.is_small()
    }
}

impl Put<'_> {
    fn is_small(&self) -> bool {
        let len = self.payload.len();
        len <= SMALL_COPY || len <= SMALL && self.payload.is_constant()
    }

    async fn put_small(&self, connection: &mut Connection) -> Result<ObjectName, RedisError> {
        let name = self.send_small(connection).await?;
        connection.doubt(name.as_str());
        let stored = connection.status().await;
        settle_if_answered(connection, &stored);
        stored.map(|()| name)
    }

    /// Sends a small object and leaves it to the caller to read the reply.
    async fn send_small(&self, connection: &mut Connection) -> Result<ObjectName, RedisError> {
        let len = self.payload.len();
        let held = connection.hold(&mut self.payload.cursor(), len);
        let sum = connection.whole_sum(&held);
        let name = self.base.with_expected(Expected {
            len: len as u64,
            sum,
        });
        open_set(&mut connection.commands, name.as_str(), len, self.ttl);
        let mut tail = Command::new();
        close_set(&mut tail, self.ttl);
        connection.owe(1);
        connection.send_held(&held, tail.as_bytes()).await?;
        Ok(name)
    }

    async fn put_large(&self, connection: &mut Connection) -> Result<ObjectName, RedisError> {
        let len = self.payload.len();
        let unfinished = unfinished(self.base);
        open_set(&mut connection.commands, &unfinished, len, self.ttl);
        connection.owe(2);
        let mut sum = XxHash3_64::new();
        let mut cursor = self.payload.cursor();
        connection.send_summed(&mut cursor, len, &mut sum).await?;
        let name = self.base.with_expected(Expected {
            len: len as u64,
            sum: sum.finish(),
        });
        close_set(&mut connection.commands, self.ttl);
        let names = [unfinished.as_bytes(), name.as_str().as_bytes()];
        connection.commands.push(&[b"RENAME", names[0], names[1]]);
        connection.flush().await?;
        connection.doubt(&unfinished);
        connection.doubt(name.as_str());
        let stored = connection.status().await;
        if matches!(&stored, Err(error) if error.refusal().is_none()) {
            return stored.map(|()| name);
        }
        let renamed = connection.status().await;
        if stored.is_err() {
            // What was not stored cannot be renamed, and says so.
            settle_if_answered(connection, &stored);
            return stored.map(|()| name);
        }
        if renamed.is_ok() {
            connection.settle();
        }
        renamed.map(|()| name)
    }
}

/// The name of an object that is not there in full.
fn unfinished(base: &ObjectName) -> String {
    format!("{}:unfinished", base.as_str())
}

/// Notes that nothing is in doubt any more if the server has answered, whatever it says.
pub(super) fn settle_if_answered<T>(connection: &mut Connection, answer: &Result<T, RedisError>) {
    match answer {
        Err(error) if error.refusal().is_none() => {}
        _ => connection.settle(),
    }
}
