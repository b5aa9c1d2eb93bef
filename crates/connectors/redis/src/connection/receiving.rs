//! Replies on their way from the server.

use std::{hash::Hasher, sync::Arc};

use proxystore_memory::Filling;
use twox_hash::XxHash3_64;

use super::Connection;
use crate::{
    error::RedisError,
    refusal::{Reason, Refusal},
    resp::{Decoder, Head, Malformed, Value},
};

/// How much is received before it is summed: stays in the second-level cache.
const RECEIVED: usize = 256 << 10;

/// The most that a reply about the server itself may have, such as the map of a large cluster.
const LARGEST_REPLY: usize = 16 << 20;

impl Connection {
    /// Waits for the first line of a reply and makes something of it. A refusal is an error.
    async fn head<T>(&mut self, read: impl FnOnce(Head<'_>) -> Option<T>) -> Result<T, RedisError> {
        loop {
            match Head::parse(&self.staging[self.start..self.end]) {
                Err(problem) => return Err(self.malformed(problem)),
                Ok(None) => self.receive().await?,
                Ok(Some((head, len))) => {
                    let result = match head {
                        Head::Error(line) => {
                            Err(Refusal::parse(line, &self.address, &self.peer).into())
                        }
                        head => read(head).ok_or_else(|| RedisError::Malformed {
                            peer: Arc::clone(&self.peer),
                            problem: Malformed::unexpected(&head),
                        }),
                    };
                    self.broken |= matches!(result, Err(RedisError::Malformed { .. }));
                    if let Err(RedisError::Refused(refusal)) = &result {
                        self.owed = self.owed.saturating_sub(1);
                        // The server ends the connection after it.
                        self.broken |= refusal.reason == Reason::TooLarge;
                    }
                    self.start += len;
                    return result;
                }
            }
        }
    }

    /// Reads a reply that says that all is well.
    pub(crate) async fn status(&mut self) -> Result<(), RedisError> {
        self.head(|head| matches!(head, Head::Simple(_)).then_some(()))
            .await?;
        self.answered();
        Ok(())
    }

    /// Reads a reply that is a number.
    pub(crate) async fn integer(&mut self) -> Result<i64, RedisError> {
        let number = self
            .head(|head| match head {
                Head::Integer(number) => Some(number),
                _ => None,
            })
            .await?;
        self.answered();
        Ok(number)
    }

    /// Reads a reply of any kind whose size is the server's choice, and not an object.
    pub(crate) async fn value(&mut self) -> Result<Value, RedisError> {
        let mut decoder = Decoder::new(LARGEST_REPLY);
        let value = loop {
            match decoder.feed(&self.staging[self.start..self.end]) {
                Err(problem) => return Err(self.malformed(problem)),
                Ok((taken, value)) => {
                    self.start += taken;
                    if let Some(value) = value {
                        break value;
                    }
                    self.receive().await?;
                }
            }
        };
        self.answered();
        match value {
            Value::Error(line) => Err(self.refused(line.as_bytes())),
            value => Ok(value),
        }
    }

    /// Begins to read a reply that is an array, and returns how many values it has; none if there
    /// is nothing. Whoever has read them says so by [`answered`](Self::answered).
    pub(crate) async fn array(&mut self) -> Result<Option<usize>, RedisError> {
        self.head(|head| match head {
            Head::Array(len) => Some(Some(len)),
            Head::Nil => Some(None),
            _ => None,
        })
        .await
    }

    /// Begins to read a value, and returns how many bytes it has; none if there is nothing, which
    /// ends the value. Whoever has read it says so by [`answered`](Self::answered).
    pub(crate) async fn bulk(&mut self) -> Result<Option<usize>, RedisError> {
        let len = self
            .head(|head| match head {
                Head::Bulk(len) => Some(Some(len)),
                Head::Nil => Some(None),
                _ => None,
            })
            .await?;
        self.amid = len.is_some();
        Ok(len)
    }

    /// Reads `len` bytes of a value and its end into `filling`, and adds them to `sum` as they
    /// arrive, if there is one.
    pub(crate) async fn body(
        &mut self,
        filling: &mut Filling,
        len: usize,
        mut sum: Option<&mut XxHash3_64>,
    ) -> Result<(), RedisError> {
        self.broken = true;
        let mut left = len;
        let mut summed = filling.filled().len();
        let here = left.min(self.end - self.start);
        left -= filling.push(&self.staging[self.start..self.start + here]);
        self.start += here;
        while left > 0 {
            // Nothing is staged any more. What follows the last piece may come with it.
            (self.start, self.end) = (0, 0);
            let (limit, staging) = if left > RECEIVED {
                (RECEIVED, &mut [][..])
            } else {
                (left, &mut self.staging[..])
            };
            let received = self.stream.fill(filling, limit, staging).await;
            let (placed, staged) = received.map_err(|error| self.lost(error))?;
            if placed == 0 {
                return Err(self.ended());
            }
            self.end = staged;
            left -= placed;
            if let Some(sum) = sum.as_deref_mut() {
                let arrived = filling.filled();
                // Small steps are summed together.
                if arrived.len() - summed >= RECEIVED / 4 {
                    sum.write(&arrived[summed..]);
                    summed = arrived.len();
                }
            }
        }
        if let Some(sum) = sum {
            sum.write(&filling.filled()[summed..]);
        }
        while self.end - self.start < 2 {
            self.receive().await?;
        }
        self.amid = false;
        let end = &self.staging[self.start..self.start + 2];
        if end != b"\r\n" {
            let problem = Malformed::of(end);
            return Err(self.malformed(problem));
        }
        self.start += 2;
        self.broken = false;
        self.statistics.received_bytes.add(len as u64);
        Ok(())
    }

    /// Notes that a reply was read to its end.
    pub(crate) const fn answered(&mut self) {
        self.amid = false;
        self.owed = self.owed.saturating_sub(1);
    }

    /// Waits until something has arrived. Nothing is lost if the wait is given up.
    pub(crate) async fn arrival(&mut self) -> Result<(), RedisError> {
        if self.start == self.end {
            self.receive().await?;
        }
        Ok(())
    }

    /// Reads what has arrived, at least a byte.
    async fn receive(&mut self) -> Result<(), RedisError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.staging.len() {
            self.staging.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let (stream, room) = (&self.stream, &mut self.staging[self.end..]);
        match stream.read(room).await {
            Ok(0) => Err(self.ended()),
            Ok(read) => {
                self.end += read;
                Ok(())
            }
            Err(error) => Err(self.lost(error)),
        }
    }
}
