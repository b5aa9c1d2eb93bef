//! Receiving what is published.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use proxystore_core::{Config, Deadline, Error, Operation, Result};
use proxystore_runtime::timeout;

use super::{
    Message,
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

/// Receives what is published to some channels, from the time of its subscription on, in order.
///
/// It has one connection of its own. When that is lost, so may messages be, and every later call
/// says so: nothing is ever subscribed again in silence. A server ends the connection of whoever
/// reads more slowly than others publish (`client-output-buffer-limit pubsub`).
///
/// Threads or tasks may share one, not both; each message goes to one of them.
pub struct Subscriber {
    client: Arc<Client>,
    channels: Arc<[String]>,
    receiving: Receiving<Vec<Message>>,
    received: Mutex<VecDeque<Message>>,
    begun: AtomicBool,
    closed: AtomicBool,
}

impl Subscriber {
    /// A subscriber by the options of the connector; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// `InvalidConfig`, naming the option.
    pub fn open(config: &Config, channels: impl Into<Arc<[String]>>) -> Result<Self> {
        Ok(Self {
            client: Arc::new(Client::new(&Options::parse(config)?)?),
            channels: channels.into(),
            receiving: Receiving::new(),
            received: Mutex::default(),
            begun: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    /// Subscribes, unless that is done: what is published after this returns is received.
    ///
    /// # Errors
    ///
    /// As of any operation of the connector.
    pub fn subscribe(&self, deadline: Deadline) -> Operation<'_, Result<()>> {
        Operation::pending(async move {
            let subscribed = self.subscribed(deadline).await;
            subscribed.map_err(|error| Error::from(error).with_operation("subscribe"))
        })
    }

    /// The next message, or none if the deadline passes before it is there. Whoever gives up
    /// waiting loses nothing: the next call goes on.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the connection is lost, and with it perhaps messages; and ever after.
    pub fn next(&self, deadline: Deadline) -> Operation<'_, Result<Option<Message>>> {
        Operation::pending(async move {
            let next = self.next_message(deadline).await;
            next.map_err(|error| Error::from(error).with_operation("next"))
        })
    }

    /// Ends the subscription. Whoever waits fails.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.receiving.end();
    }

    async fn subscribed(&self, deadline: Deadline) -> Result<(), RedisError> {
        // The first outcome is that of the subscription.
        while !self.begun.load(Ordering::Acquire) {
            self.receive(deadline).await?;
        }
        Ok(())
    }

    async fn next_message(&self, deadline: Deadline) -> Result<Option<Message>, RedisError> {
        self.subscribed(deadline).await?;
        let received = timeout(deadline, async {
            loop {
                let first = self.received().pop_front();
                match first {
                    Some(message) => return Ok(message),
                    None => self.receive(Deadline::never()).await?,
                }
            }
        });
        received.await.map_or(Ok(None), |message| message.map(Some))
    }

    /// Waits for messages and puts them with those that were received. The first time it subscribes.
    async fn receive(&self, deadline: Deadline) -> Result<(), RedisError> {
        let outcome = self.receiving.outcome(|connection| {
            let begun = self.begun.load(Ordering::Acquire);
            match connection {
                _ if self.closed.load(Ordering::Acquire) => failed(RedisError::Closed),
                Some(connection) => wait(Arc::clone(&self.client), connection),
                None if begun => failed(RedisError::Unsubscribed),
                None => begin(
                    Arc::clone(&self.client),
                    Arc::clone(&self.channels),
                    deadline,
                ),
            }
        });
        let messages = outcome.await?;
        self.received().extend(messages);
        self.begun.store(true, Ordering::Release);
        Ok(())
    }

    fn received(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: RedisError) -> Wait<Vec<Message>> {
    Box::pin(std::future::ready((None, Err(error))))
}

/// Connects and subscribes.
fn begin(client: Arc<Client>, channels: Arc<[String]>, deadline: Deadline) -> Wait<Vec<Message>> {
    Box::pin(async move {
        let limit = client.limit(deadline, 0);
        let subscribing = within(&limit, async {
            let first = channels.first().map_or(0, |channel| slot(channel));
            let mut connection = client.connect(first, &limit).await?;
            let commands = &mut connection.commands;
            commands.begin(channels.len() + 1);
            commands.argument(b"SUBSCRIBE");
            for channel in channels.iter() {
                commands.argument(channel.as_bytes());
            }
            connection.flush().await?;
            let (mut messages, mut missing) = (Vec::new(), channels.len());
            while missing > 0 {
                match answer(&mut connection, &limit).await? {
                    // Published to a channel before the next one is subscribed to.
                    Answer::Message(message) => messages.push(message),
                    Answer::Subscribed => missing -= 1,
                    Answer::Alive => {}
                }
            }
            Ok((connection, messages))
        });
        match subscribing.await {
            Ok((connection, messages)) => (Some(connection), Ok(messages)),
            Err(error) => (None, Err(error)),
        }
    })
}

/// Waits for a message, however long it takes, as long as the server is there.
fn wait(client: Arc<Client>, mut connection: Connection) -> Wait<Vec<Message>> {
    Box::pin(async move {
        match listen(&client, &mut connection).await {
            Ok(message) => (Some(connection), Ok(vec![message])),
            Err(error) => (None, Err(RedisError::SubscriptionLost(Box::new(error)))),
        }
    })
}

async fn listen(client: &Client, connection: &mut Connection) -> Result<Message, RedisError> {
    loop {
        let limit = client.limit(Deadline::never(), 0);
        if let Err(RedisError::TimedOut { .. }) = within(&limit, connection.arrival()).await {
            // In all that time nobody has said anything, so the server is asked whether it is there.
            connection.commands.push(&[b"PING"]);
            let limit = client.limit(Deadline::never(), 0);
            within(&limit, connection.flush()).await?;
            within(&limit, connection.arrival()).await?;
        }
        let limit = client.limit(Deadline::never(), 0);
        if let Answer::Message(message) = within(&limit, answer(connection, &limit)).await? {
            return Ok(message);
        }
    }
}

/// What a server sends to a subscriber.
enum Answer {
    Message(Message),
    Subscribed,
    /// The answer to `PING`.
    Alive,
}

async fn answer(connection: &mut Connection, limit: &Limit) -> Result<Answer, RedisError> {
    let values = connection.array().await?;
    let kind = name(connection).await?;
    match (kind.as_str(), values) {
        ("message", Some(3)) => {
            let channel = name(connection).await?;
            let payload = payload(connection, limit).await?;
            Ok(Answer::Message(Message { channel, payload }))
        }
        ("subscribe", Some(3)) => {
            name(connection).await?;
            connection.integer().await?;
            Ok(Answer::Subscribed)
        }
        ("pong", Some(2)) => {
            name(connection).await?;
            Ok(Answer::Alive)
        }
        _ => {
            let found = format!("'{}' to a subscriber", kind.escape_debug());
            Err(connection.malformed(Malformed::Unexpected { found }))
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscriber")
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}
