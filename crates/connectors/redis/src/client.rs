//! Carries exchanges out: with whichever server it is for, again where that helps, and no longer
//! than it may take.

mod limit;
mod retry;

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use proxystore_core::{Config, Deadline};
use proxystore_runtime::sleep_until;
use proxystore_stream::Address;

pub(crate) use self::limit::{Limit, within};
use self::retry::Attempts;
use crate::{
    connection::Connection,
    error::RedisError,
    options::{Login, Options},
    pool::Pool,
    servers::Directory,
    statistics::Tally,
};

/// Commands and their replies, with one server.
pub(crate) trait Exchange: Send {
    /// What comes of it.
    type Answer: Send;

    /// Whether nothing is ever amiss if it is done twice, the first time unnoticed.
    const REPEATABLE: bool = true;

    /// Sends the commands and reads all replies to them, those after a refusal included.
    fn perform(
        &mut self,
        connection: &mut Connection,
        limit: &Limit,
    ) -> impl Future<Output = Result<Self::Answer, RedisError>> + Send;

    /// Whether nothing is amiss if it is done again now, after the connection was lost.
    fn is_repeatable(&self) -> bool {
        Self::REPEATABLE
    }

    /// Whether it is one command, which a server may ask to be sent to another just this once.
    fn is_single(&self) -> bool {
        true
    }
}

/// The servers, and the connections to them.
pub(crate) struct Client {
    login: Login,
    sentinel: Login,
    pub(crate) directory: Directory,
    pool: Pool,
    timeout: Duration,
    peer: Arc<str>,
    tally: Tally,
}

impl Client {
    pub(crate) fn new(options: &Options) -> Result<Self, RedisError> {
        let (login, sentinel) = options.logins()?;
        let directory = Directory::new(&options.servers);
        Ok(Self {
            login,
            sentinel,
            peer: directory.first().to_string().into(),
            directory,
            pool: Pool::new(),
            tally: Tally::new(),
            timeout: options.timeout,
        })
    }

    /// The limit of an operation that moves so many bytes.
    pub(crate) fn limit(&self, deadline: Deadline, bytes: u64) -> Limit {
        Limit::new(deadline, self.timeout, bytes, &self.peer)
    }

    /// Carries an exchange out with the server that has `slot`.
    pub(crate) async fn run<E: Exchange>(
        &self,
        slot: u16,
        limit: &Limit,
        exchange: &mut E,
    ) -> Result<E::Answer, RedisError> {
        self.counted(Place::Slot(slot), limit, exchange).await
    }

    /// Carries an exchange out with one server.
    pub(crate) async fn run_at<E: Exchange>(
        &self,
        address: &Arc<Address>,
        limit: &Limit,
        exchange: &mut E,
    ) -> Result<E::Answer, RedisError> {
        self.counted(Place::Server(address), limit, exchange).await
    }

    /// All servers that have objects.
    pub(crate) async fn servers(&self, limit: &Limit) -> Result<Vec<Arc<Address>>, RedisError> {
        within(limit, self.directory.all(&self.login, &self.sentinel)).await
    }

    /// The server that has a slot.
    pub(crate) async fn server(
        &self,
        slot: u16,
        limit: &Limit,
    ) -> Result<Arc<Address>, RedisError> {
        let found = self.directory.server(slot, &self.login, &self.sentinel);
        within(limit, found).await
    }

    /// A connection of one's own, to the server that has `slot`.
    pub(crate) async fn connect(&self, slot: u16, limit: &Limit) -> Result<Connection, RedisError> {
        within(limit, async {
            let found = self.directory.server(slot, &self.login, &self.sentinel);
            let address = found.await?;
            limit.waits_for(&address.to_string().into());
            Connection::open(&address, &self.login, &self.tally).await
        })
        .await
    }

    /// What was done with each server: a map for each, by its name.
    pub(crate) fn statistics(&self) -> Config {
        self.tally.to_config()
    }

    /// Ends the connections.
    pub(crate) fn close(&self) {
        self.pool.close();
    }

    async fn counted<E: Exchange>(
        &self,
        place: Place<'_>,
        limit: &Limit,
        exchange: &mut E,
    ) -> Result<E::Answer, RedisError> {
        let answer = within(limit, self.repeat(place, limit, exchange)).await;
        let statistics = self.tally.of(&limit.peer());
        statistics.operations.add(1);
        if answer.is_err() {
            statistics.failures.add(1);
        }
        answer
    }

    async fn repeat<E: Exchange>(
        &self,
        place: Place<'_>,
        limit: &Limit,
        exchange: &mut E,
    ) -> Result<E::Answer, RedisError> {
        let any_server = matches!(place, Place::Slot(_));
        let mut attempts = Attempts::default();
        let mut asked = None;
        loop {
            let error = match self.once(place, asked.take(), limit, exchange).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let retry = attempts.retry(&error, exchange, &self.directory, any_server);
            let Some(retry) = retry else {
                return Err(error);
            };
            let until = Instant::now() + retry.pause;
            if limit.deadline().is_past(until) {
                return Err(error);
            }
            tracing::debug!(%error, "an exchange is tried again");
            self.tally.of(&limit.peer()).retries.add(1);
            if !retry.pause.is_zero() {
                sleep_until(until).await;
            }
            asked = retry.asked;
        }
    }

    async fn once<E: Exchange>(
        &self,
        place: Place<'_>,
        asked: Option<Arc<Address>>,
        limit: &Limit,
        exchange: &mut E,
    ) -> Result<E::Answer, RedisError> {
        let redirected = asked.is_some();
        let address = match (asked, place) {
            (Some(address), _) => address,
            (None, Place::Server(address)) => Arc::clone(address),
            (None, Place::Slot(slot)) => {
                let found = self.directory.server(slot, &self.login, &self.sentinel);
                found.await?
            }
        };
        let leased = self
            .pool
            .lease(&address, &self.login, &self.tally, !E::REPEATABLE);
        let mut lease = match leased.await {
            Ok(lease) => lease,
            Err(error) => {
                limit.waits_for(&address.to_string().into());
                return Err(error);
            }
        };
        let connection = &mut lease.connection;
        limit.waits_for(connection.peer());
        if redirected {
            connection.expect(&[b"ASKING"]);
            connection.flush().await?;
            connection.status().await?;
        }
        let answer = exchange.perform(connection, limit).await;
        let lost = answer.as_ref().is_err_and(RedisError::is_lost);
        if lost {
            connection.statistics().losses.add(1);
        }
        lease.rest();
        if lost {
            self.pool.forget(&address);
        }
        answer
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// Whom an exchange is with.
#[derive(Clone, Copy)]
enum Place<'a> {
    Server(&'a Arc<Address>),
    Slot(u16),
}
