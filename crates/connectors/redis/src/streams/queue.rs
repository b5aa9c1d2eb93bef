//! Taking messages from a queue.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use proxystore_core::{Config, Deadline, Error, Operation, Payload, Result};

use super::{
    Message,
    publisher::Send,
    receiving::{Receiving, Wait, name, payload},
};
use crate::{
    client::{Client, Limit, within},
    connection::Connection,
    error::RedisError,
    key::slot,
    options::Options,
    resp::Malformed,
};

/// How long the server waits for a message before it says that there is none, and is asked again.
const SLICE: Duration = Duration::from_secs(5);

/// The shortest time that servers wait; none at all would be for ever.
const SHORTEST: Duration = Duration::from_millis(1);

/// Takes messages from a queue, the oldest first; each is taken once.
///
/// It has one connection of its own, made when it is first needed and when one was lost. What the
/// server has taken from the queue but could not send is lost with the connection, and an error.
///
/// Threads or tasks may share one, not both; each message goes to one of them.
pub struct Queue {
    client: Arc<Client>,
    name: Arc<str>,
    receiving: Receiving<Option<Message>>,
    closed: AtomicBool,
}

impl Queue {
    /// A queue by the options of the connector; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, naming the option.
    pub fn open(config: &Config, name: impl Into<Arc<str>>) -> Result<Self> {
        Ok(Self {
            client: Arc::new(Client::new(&Options::parse(config)?)?),
            name: name.into(),
            receiving: Receiving::new(),
            closed: AtomicBool::new(false),
        })
    }

    /// Takes the oldest message, or none if there is none by the deadline. A message that the
    /// server sends when nobody waits any more is what the next call returns.
    ///
    /// # Errors
    ///
    /// As of any operation of the connector. If the connection is lost, so may a message be.
    pub fn pop(&self, deadline: Deadline) -> Operation<'_, Result<Option<Message>>> {
        Operation::pending(async move {
            let popped = self.pop_by(deadline).await;
            popped.map_err(|error| Error::from(error).with_operation("pop"))
        })
    }

    /// Ends the connection. A message that was on its way goes back to the head of the queue.
    ///
    /// # Errors
    ///
    /// If the message cannot be put back.
    pub fn close(&self, deadline: Deadline) -> Operation<'_, Result<()>> {
        Operation::pending(async move {
            let closed = self.put_back(deadline).await;
            self.receiving.end();
            self.client.close();
            closed.map_err(|error| Error::from(error).with_operation("close"))
        })
    }

    async fn pop_by(&self, deadline: Deadline) -> Result<Option<Message>, RedisError> {
        loop {
            if self.closed.load(Ordering::Acquire) {
                return Err(RedisError::Closed);
            }
            let popped = self.receiving.outcome(|connection| {
                let (client, name) = (Arc::clone(&self.client), Arc::clone(&self.name));
                wait(client, name, connection, deadline)
            });
            match popped.await? {
                Some(message) => return Ok(Some(message)),
                None if deadline.is_past(Instant::now()) => return Ok(None),
                None => {}
            }
        }
    }

    async fn put_back(&self, deadline: Deadline) -> Result<(), RedisError> {
        if self.closed.swap(true, Ordering::AcqRel) || !self.receiving.is_waiting() {
            return Ok(());
        }
        let limit = self.client.limit(deadline, 0);
        let nothing = || -> Wait<_> { Box::pin(std::future::ready((None, Ok(None)))) };
        let outcome = within(&limit, self.receiving.outcome(|_| nothing()));
        // A wait that failed has taken nothing that could be put back.
        let Ok(Some(message)) = outcome.await else {
            return Ok(());
        };
        let segments = [message.payload.as_segment()];
        let mut send = Send {
            command: "LPUSH",
            target: &self.name,
            payload: Payload::from(&segments),
            sent: false,
        };
        self.client.run(slot(&self.name), &limit, &mut send).await?;
        Ok(())
    }
}

/// Asks the server for a message and waits for what it says.
fn wait(
    client: Arc<Client>,
    queue: Arc<str>,
    connection: Option<Connection>,
    deadline: Deadline,
) -> Wait<Option<Message>> {
    Box::pin(async move {
        let left = deadline.remaining(Instant::now()).unwrap_or(SLICE);
        let wait = left.clamp(SHORTEST, SLICE);
        let limit = client.limit(Deadline::never(), 0);
        let connection = match connection {
            Some(connection) if !connection.is_stale(true) => Ok(connection),
            _ => client.connect(slot(&queue), &limit).await,
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(error) => return (None, Err(error)),
        };
        limit.delay(wait);
        match within(&limit, pop(&mut connection, &queue, wait, &limit)).await {
            Ok(message) => {
                connection.rest();
                (Some(connection), Ok(message))
            }
            Err(error) => (None, Err(error)),
        }
    })
}

async fn pop(
    connection: &mut Connection,
    queue: &str,
    wait: Duration,
    limit: &Limit,
) -> Result<Option<Message>, RedisError> {
    let seconds = format!("{:.3}", wait.as_secs_f64());
    connection.expect(&[b"BLPOP", queue.as_bytes(), seconds.as_bytes()]);
    connection.flush().await?;
    let message = match connection.array().await? {
        None => None,
        Some(2) => {
            let channel = name(connection).await?;
            let payload = payload(connection, limit).await?;
            Some(Message { channel, payload })
        }
        Some(_) => {
            let found = "more or less than a message".to_owned();
            return Err(connection.malformed(Malformed::Unexpected { found }));
        }
    };
    connection.answered();
    Ok(message)
}

impl fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Queue")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
