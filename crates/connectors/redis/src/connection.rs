//! One connection to a server.

use std::{
    hash::Hasher,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use proxystore_core::Segment;
use proxystore_memory::{Cursor, Filling};
use proxystore_runtime::Colour;
use proxystore_stream::{Address, Stream, StreamError};
use twox_hash::XxHash3_64;

use crate::{
    config::Login,
    error::{Mismatch, Reason, RedisError, Refusal},
    pieces,
    resp::{Command, Decoder, Head, Malformed, Value},
};

/// What arrives before anybody knows where it belongs.
const STAGING: usize = 64 << 10;

/// The size of a piece of a large object: stays in the second-level cache between being copied,
/// summed and sent. Smaller ones make the server take turns with this side more often, which costs
/// more than it gives.
const PIECE: usize = 1 << 20;

/// How much is received before it is summed: likewise.
const RECEIVED: usize = 256 << 10;

/// The most that a reply about the server itself may have, such as the map of a large cluster.
const LARGEST_REPLY: usize = 16 << 20;

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
}

impl Connection {
    /// Connects and logs in.
    pub(crate) async fn open(address: &Arc<Address>, login: &Login) -> Result<Self, RedisError> {
        let stream = Stream::connect(address, login.tls.as_ref()).await?;
        let mut connection = Self {
            stream,
            address: Arc::clone(address),
            peer: address.to_string().into(),
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
        };
        connection.log_in(login).await?;
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

    /// Adds a command whose reply will be read.
    pub(crate) fn expect(&mut self, arguments: &[&[u8]]) {
        self.commands.push(arguments);
        self.owed += 1;
    }

    /// Notes that commands written otherwise will have so many replies.
    pub(crate) const fn owe(&mut self, replies: usize) {
        self.owed += replies;
    }

    /// Sends the commands.
    pub(crate) async fn flush(&mut self) -> Result<(), RedisError> {
        self.send(&[]).await
    }

    /// Sends the commands and `more` after them.
    pub(crate) async fn send(&mut self, more: &[Segment<'_>]) -> Result<(), RedisError> {
        self.broken = true;
        let sent = if more.is_empty() {
            let commands = [Segment::from(self.commands.as_bytes())];
            self.stream.write_all(&commands).await
        } else {
            let mut segments = Vec::with_capacity(more.len() + 1);
            segments.push(Segment::from(self.commands.as_bytes()));
            segments.extend_from_slice(more);
            self.stream.write_all(&segments).await
        };
        if let Err(error) = sent {
            return Err(self.last_words().unwrap_or_else(|| self.lost(error)));
        }
        self.commands.clear(STAGING);
        self.broken = false;
        Ok(())
    }

    /// Why the server has ended the connection, if it said so before.
    fn last_words(&mut self) -> Option<RedisError> {
        let mut context = Context::from_waker(Waker::noop());
        let room = &mut self.staging[self.end..];
        if let Poll::Ready(Ok(read)) = self.stream.poll_read(&mut context, room) {
            self.end += read;
        }
        match Head::parse(&self.staging[self.start..self.end]) {
            Ok(Some((Head::Error(line), _))) => Some(self.refused(line)),
            _ => None,
        }
    }

    /// Copies a small object, so that it cannot change any more, and returns its checksum.
    pub(crate) fn copy(&mut self, cursor: &mut Cursor<'_>, len: usize) -> u64 {
        pieces::extend(&mut self.piece, len);
        let filled = cursor.fill(&mut self.piece[..len]);
        XxHash3_64::oneshot(&self.piece[..filled])
    }

    /// Adds the first `len` bytes of what was copied to the commands.
    pub(crate) fn push_copied(&mut self, len: usize) {
        self.commands.room(len).copy_from_slice(&self.piece[..len]);
    }

    /// Sends the commands, the first `len` bytes of what was copied, and `tail`.
    pub(crate) async fn send_copied(&mut self, len: usize, tail: &[u8]) -> Result<(), RedisError> {
        let piece = std::mem::take(&mut self.piece);
        let segments = [Segment::from(&piece[..len]), Segment::from(tail)];
        let sent = self.send(&segments).await;
        self.piece = piece;
        sent
    }

    /// Sends the commands and then `len` bytes from `cursor`, or as many as there are, piece by
    /// piece from a copy, and adds them to `sum`: what is summed is what is sent, whoever writes to
    /// the source meanwhile.
    pub(crate) async fn send_summed(
        &mut self,
        cursor: &mut Cursor<'_>,
        mut len: usize,
        sum: &mut XxHash3_64,
    ) -> Result<(), RedisError> {
        pieces::extend(&mut self.piece, len.min(PIECE));
        while len > 0 {
            let want = len.min(PIECE);
            let filled = cursor.fill(&mut self.piece[..want]);
            sum.write(&self.piece[..filled]);
            len -= want;
            let piece = std::mem::take(&mut self.piece);
            let sent = self.send(&[Segment::from(&piece[..filled])]).await;
            self.piece = piece;
            // In the middle of a value nothing else can be sent.
            self.broken = true;
            sent?;
        }
        self.broken = false;
        Ok(())
    }

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
        let value = self.inner_value().await?;
        self.answered();
        match value {
            Value::Error(line) => Err(self.refused(line.as_bytes())),
            value => Ok(value),
        }
    }

    /// Reads one value within a reply.
    pub(crate) async fn inner_value(&mut self) -> Result<Value, RedisError> {
        let mut decoder = Decoder::new(LARGEST_REPLY);
        loop {
            match decoder.feed(&self.staging[self.start..self.end]) {
                Err(problem) => return Err(self.malformed(problem)),
                Ok((taken, value)) => {
                    self.start += taken;
                    if let Some(value) = value {
                        return Ok(value);
                    }
                    self.receive().await?;
                }
            }
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
        Ok(())
    }

    /// Notes that a reply was read to its end.
    pub(crate) const fn answered(&mut self) {
        self.amid = false;
        self.owed = self.owed.saturating_sub(1);
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
