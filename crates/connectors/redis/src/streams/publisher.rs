//! Sending messages.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use proxystore_core::{Config, Deadline, Error, Operation, Payload, Result};

use crate::{
    client::{Client, Exchange, Limit},
    connection::Connection,
    error::RedisError,
    key::slot,
    options::Options,
    resp::Command,
};

/// Sends messages to subscribers and to queues.
///
/// Threads, tasks and forked children may share one.
pub struct Publisher {
    client: Client,
    closed: AtomicBool,
}

impl Publisher {
    /// A publisher by the options of the connector; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, naming the option.
    pub fn open(config: &Config) -> Result<Self> {
        Ok(Self {
            client: Client::new(&Options::parse(config)?)?,
            closed: AtomicBool::new(false),
        })
    }

    /// Sends a message to whoever subscribes to `channel` at present, and returns how many that are
    /// on the server asked.
    ///
    /// # Errors
    ///
    /// As of any operation of the connector. If the connection is lost before the server has
    /// answered, it is `Unavailable`, and the message may have been sent.
    pub fn publish<'a>(
        &'a self,
        channel: &'a str,
        payload: Payload<'a>,
        deadline: Deadline,
    ) -> Operation<'a, Result<u64>> {
        self.send("PUBLISH", "publish", channel, payload, deadline)
    }

    /// Appends a message to `queue`, and returns how many are in it then.
    ///
    /// # Errors
    ///
    /// As of [`publish`](Self::publish).
    pub fn push<'a>(
        &'a self,
        queue: &'a str,
        payload: Payload<'a>,
        deadline: Deadline,
    ) -> Operation<'a, Result<u64>> {
        self.send("RPUSH", "push", queue, payload, deadline)
    }

    /// Ends the connections. Whatever is sent later fails.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.client.close();
    }

    fn send<'a>(
        &'a self,
        command: &'static str,
        operation: &'static str,
        target: &'a str,
        payload: Payload<'a>,
        deadline: Deadline,
    ) -> Operation<'a, Result<u64>> {
        Operation::pending(async move {
            let mut send = Send {
                command,
                target,
                payload,
                sent: false,
            };
            let limit = self.client.limit(deadline, payload.len() as u64);
            let answer = if self.closed.load(Ordering::Acquire) {
                Err(RedisError::Closed)
            } else {
                self.client.run(slot(target), &limit, &mut send).await
            };
            answer.map_err(|error| Error::from(error).with_operation(operation))
        })
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(formatter)
    }
}

/// A command with a message, which is answered by a number.
pub(super) struct Send<'a> {
    pub(super) command: &'static str,
    pub(super) target: &'a str,
    pub(super) payload: Payload<'a>,
    /// Whether the server may have done it, though nobody knows.
    pub(super) sent: bool,
}

impl Exchange for Send<'_> {
    type Answer = u64;

    const REPEATABLE: bool = false;

    async fn perform(&mut self, connection: &mut Connection, _: &Limit) -> Result<u64, RedisError> {
        self.sent = false;
        let commands = &mut connection.commands;
        commands.begin(3);
        commands.argument(self.command.as_bytes());
        commands.argument(self.target.as_bytes());
        commands.open_argument(self.payload.len());
        let mut tail = Command::new();
        tail.close_argument();
        connection.owe(1);
        connection
            .send_object(self.payload.segments(), tail.as_bytes())
            .await?;
        self.sent = true;
        let answer = connection.integer().await;
        if matches!(&answer, Err(error) if error.refusal().is_some()) {
            self.sent = false;
        }
        Ok(answer?.unsigned_abs())
    }

    fn is_repeatable(&self) -> bool {
        // A message that arrives twice is another message.
        !self.sent
    }
}
