//! Carries exchanges out: with whichever server it is for, again where that helps, and no longer
//! than it may take.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use proxystore_core::{Config, Deadline};
use proxystore_runtime::{allowance, sleep_until};
use proxystore_stream::Address;

use crate::{
    connection::Connection,
    error::RedisError,
    options::{Login, Options},
    pool::Pool,
    refusal::Reason,
    servers::Directory,
    statistics::Tally,
};

/// How often a lost connection is replaced for one exchange.
const REPLACED: u32 = 3;
/// How often a server may send an exchange on to another.
const REDIRECTED: u32 = 16;
/// The first pause before an exchange that a server cannot carry out for the moment is tried again.
const PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

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

/// By when an operation must have ended, and whom it waits for.
pub(crate) struct Limit {
    given: Deadline,
    timeout: Duration,
    now: Mutex<(Deadline, Arc<str>)>,
}

impl Limit {
    /// Gives more time, as so many bytes are about to move.
    pub(crate) fn extend(&self, bytes: u64) {
        let deadline = allowance(self.given, self.timeout, bytes);
        self.update(|(current, _)| *current = deadline);
    }

    /// Gives more time, as the server is asked to wait for so long.
    pub(crate) fn delay(&self, wait: Duration) {
        let deadline = allowance(self.given, self.timeout.saturating_add(wait), 0);
        self.update(|(current, _)| *current = deadline);
    }

    fn waits_for(&self, peer: &Arc<str>) {
        self.update(|(_, current)| current.clone_from(peer));
    }

    fn deadline(&self) -> Deadline {
        self.update(|(deadline, _)| *deadline)
    }

    fn peer(&self) -> Arc<str> {
        self.update(|(_, peer)| Arc::clone(peer))
    }

    fn timed_out(&self) -> RedisError {
        RedisError::TimedOut { peer: self.peer() }
    }

    fn update<T>(&self, change: impl FnOnce(&mut (Deadline, Arc<str>)) -> T) -> T {
        change(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
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
        Limit {
            given: deadline,
            timeout: self.timeout,
            now: Mutex::new((
                allowance(deadline, self.timeout, bytes),
                Arc::clone(&self.peer),
            )),
        }
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
        let mut tries = Tries::default();
        let mut asked: Option<Arc<Address>> = None;
        loop {
            let error = match self.once(place, asked.take(), limit, exchange).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let can_change = self.directory.can_change() && matches!(place, Place::Slot(_));
            let pause = match error.refusal().map(|refusal| &refusal.reason) {
                Some(Reason::Moved(slot, to)) if self.directory.is_cluster() => {
                    self.directory.moved(*slot, to.clone());
                    tries.redirected += 1;
                    (tries.redirected <= REDIRECTED).then_some(Duration::ZERO)
                }
                Some(Reason::Ask(to)) if self.directory.is_cluster() => {
                    tries.redirected += 1;
                    if exchange.is_single() {
                        asked = Some(Arc::new(to.clone()));
                        (tries.redirected <= REDIRECTED).then_some(Duration::ZERO)
                    } else {
                        // Until all keys of the slot are where they will be.
                        Some(tries.pause())
                    }
                }
                Some(Reason::Busy) => Some(tries.pause()),
                Some(Reason::ReadOnly) if can_change => {
                    self.directory.forget();
                    Some(tries.pause())
                }
                _ if error.is_unreachable() && can_change => {
                    self.directory.forget();
                    Some(tries.pause())
                }
                _ if error.is_lost() && exchange.is_repeatable() => {
                    if can_change {
                        self.directory.forget();
                    }
                    tries.replaced += 1;
                    match tries.replaced {
                        // One that was lost while it rested.
                        1 => Some(Duration::ZERO),
                        2..=REPLACED => Some(tries.pause()),
                        _ => None,
                    }
                }
                _ => None,
            };
            let Some(pause) = pause else {
                return Err(error);
            };
            let until = Instant::now() + pause;
            if limit.deadline().is_past(until) {
                return Err(error);
            }
            tracing::debug!(%error, "an exchange is tried again");
            self.tally.of(&limit.peer()).retries.add(1);
            if !pause.is_zero() {
                sleep_until(until).await;
            }
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

/// What was tried so far.
#[derive(Default)]
struct Tries {
    redirected: u32,
    replaced: u32,
    paused: u32,
}

impl Tries {
    /// How long to wait before the next attempt: longer each time.
    fn pause(&mut self) -> Duration {
        let pause = PAUSE.saturating_mul(1 << self.paused.min(16));
        self.paused += 1;
        pause.min(LONGEST_PAUSE)
    }
}

/// The outcome of `future`, unless the limit passes first, which drops the future.
pub(crate) async fn within<T>(
    limit: &Limit,
    future: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(output);
        }
        let Some(at) = limit.deadline().instant() else {
            return Poll::Pending;
        };
        // The limit may have been extended since.
        let timer = match &mut timer {
            Some((until, timer)) if *until == at => timer,
            other => &mut other.insert((at, sleep_until(at))).1,
        };
        Pin::new(timer)
            .poll(context)
            .map(|()| Err(limit.timed_out()))
    })
    .await
}
