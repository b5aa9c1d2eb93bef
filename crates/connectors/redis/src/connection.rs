//! One connection to a server.

mod opening;
mod receiving;
mod sending;

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use proxystore_core::Segment;
use proxystore_runtime::Colour;
use proxystore_stream::{Address, Stream, StreamError};

use crate::{
    error::{Mismatch, RedisError},
    options::Login,
    pieces,
    refusal::Refusal,
    resp::{Command, Malformed},
    statistics::{Statistics, Tally},
};

/// What arrives before anybody knows where it belongs.
const STAGING: usize = 64 << 10;

/// How long a connection may rest before whoever takes it looks whether it is still there.
const FRESH: Duration = Duration::from_millis(100);

/// One connection to a server, logged in.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    address: Arc<Address>,
    peer: Arc<str>,
    /// What arrived and was not read yet is in `start..end`.
    staging: Box<[u8]>,
    start: usize,
    end: usize,
    /// Commands not sent yet.
    pub(crate) commands: Command,
    /// The piece that is being sent.
    piece: Vec<u8>,
    /// Replies that the server owes.
    owed: usize,
    /// Whether something was left half done.
    broken: bool,
    /// Whether a value has begun and was not read.
    amid: bool,
    /// What the server may have stored by commands that it has not answered.
    doubtful: Vec<String>,
    used: Instant,
    statistics: Arc<Statistics>,
}

impl Connection {
    /// Connects and logs in, and says from then on what is done with the server.
    pub(crate) async fn open(
        address: &Arc<Address>,
        login: &Login,
        tally: &Tally,
    ) -> Result<Self, RedisError> {
        let peer = address.to_string().into();
        let statistics = tally.of(&peer);
        let stream = opening::connect(address, login.tls.as_ref()).await?;
        let mut connection = Self {
            stream,
            address: Arc::clone(address),
            peer,
            staging: vec![0; STAGING].into(),
            start: 0,
            end: 0,
            commands: Command::new(),
            piece: Vec::new(),
            owed: 0,
            broken: false,
            amid: false,
            doubtful: Vec::new(),
            used: Instant::now(),
            statistics,
        };
        connection.log_in(login).await?;
        connection.statistics.connections.add(1);
        Ok(connection)
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), RedisError> {
        if let Some(password) = &login.password {
            let password = password.reveal().map_err(StreamError::from)?;
            match &login.username {
                Some(user) => self.expect(&[b"AUTH", user.as_bytes(), &password]),
                None => self.expect(&[b"AUTH", &password]),
            }
            self.flush().await?;
            let answer = self.status().await;
            // Whatever was sent before is not kept in memory longer than it must be.
            self.commands = Command::new();
            answer.map_err(|error| match error {
                RedisError::Refused(refusal) => refusal.without_text().into(),
                other => other,
            })?;
        }
        if login.database != 0 {
            self.expect(&[b"SELECT", login.database.to_string().as_bytes()]);
            self.flush().await?;
            self.status().await?;
        }
        if login.master {
            self.expect(&[b"ROLE"]);
            self.flush().await?;
            let role = self.value().await?;
            let role = role.as_array().and_then(|role| role.first()?.as_text());
            if role != Some("master") {
                return Err(self.refused(b"READONLY it is no master any more, or not yet"));
            }
        }
        Ok(())
    }

    /// What was done with the server, over this connection and others.
    pub(crate) const fn statistics(&self) -> &Arc<Statistics> {
        &self.statistics
    }

    pub(crate) const fn address(&self) -> &Arc<Address> {
        &self.address
    }

    /// The colour that it belongs to.
    pub(crate) const fn colour(&self) -> Colour {
        self.stream.colour()
    }

    pub(crate) const fn peer(&self) -> &Arc<str> {
        &self.peer
    }

    /// Whether another command may follow: everything that was asked is answered and read.
    pub(crate) fn is_clean(&self) -> bool {
        let idle = self.owed == 0 && self.start == self.end && self.commands.is_empty();
        idle && self.is_in_step() && self.doubtful.is_empty()
    }

    /// Whether the server has ended the connection meanwhile. Unless one is `careful` it is looked
    /// at only if the connection has been resting.
    pub(crate) fn is_stale(&self, careful: bool) -> bool {
        (careful || self.used.elapsed() >= FRESH) && !self.stream.is_quiet()
    }

    /// Notes that it rests from now on.
    pub(crate) fn rest(&mut self) {
        pieces::give(&mut self.piece);
        self.used = Instant::now();
    }

    pub(crate) const fn used(&self) -> Instant {
        self.used
    }

    /// Notes a name that is to be removed should nobody wait for the answer to what stores it.
    pub(crate) fn doubt(&mut self, name: &str) {
        self.doubtful.push(name.to_owned());
    }

    /// Notes that it is known what was stored.
    pub(crate) fn settle(&mut self) {
        self.doubtful.clear();
    }

    /// Whether the reply that was read last was read to its end, so that the next one can be.
    pub(crate) const fn is_in_step(&self) -> bool {
        !self.broken && !self.amid
    }

    /// What is wrong with an object of this server.
    pub(crate) fn corrupted(&self, problem: Mismatch) -> RedisError {
        RedisError::Corrupted {
            peer: Arc::clone(&self.peer),
            problem,
        }
    }

    /// What the server says in an error.
    pub(crate) fn refused(&self, line: &[u8]) -> RedisError {
        Refusal::parse(line, &self.address, &self.peer).into()
    }

    fn ended(&mut self) -> RedisError {
        self.broken = true;
        RedisError::Ended {
            peer: Arc::clone(&self.peer),
        }
    }

    fn lost(&mut self, error: std::io::Error) -> RedisError {
        self.broken = true;
        StreamError::lost(&self.peer, error).into()
    }

    pub(crate) fn malformed(&mut self, problem: Malformed) -> RedisError {
        self.broken = true;
        RedisError::Malformed {
            peer: Arc::clone(&self.peer),
            problem,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.broken || self.doubtful.is_empty() {
            // Of a command that was not sent to its end the server does nothing.
            return;
        }
        // The server does this after what it has not answered yet, whoever waits for that.
        self.commands.clear(STAGING);
        for name in &self.doubtful {
            // One by one, as a cluster takes names of several slots no other way.
            self.commands.push(&[b"UNLINK", name.as_bytes()]);
        }
        let mut context = Context::from_waker(Waker::noop());
        let segments = [Segment::from(self.commands.as_bytes())];
        // What cannot be sent at once stays behind; nobody is left to be told.
        if self.stream.poll_write(&mut context, &segments).is_ready() {
            let _ = self.stream.poll_flush(&mut context);
        }
    }
}
