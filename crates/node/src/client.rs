//! Asks nodes.
//!
//! A [`Client`] keeps connections to the nodes that it is asked about, two for each colour of
//! [`proxystore_runtime`]: one for what fits into a frame, one for objects in chunks. All threads,
//! and all tasks, share them.
//!
//! # Layout
//!
//! * [`settings`]: [`Settings`], [`NodeAddress`].
//! * `peers`, `lane`, `dial`: which connections there are, and how they are made.
//! * `connection`: what the operations on one connection share; `waiters`: who they are;
//!   `reading` and `writing`: how it is turned.
//! * `requests`: what operations come down to; `exchange`: how each takes part in a connection;
//!   `work` and `upload`: what it does there.
//! * `each`: gets for callers that know nothing of each other, on one connection.
//! * `unsettled`: what is to be removed after a connection was lost, or a put was given up.
//! * `statistics`, `error`.

mod connection;
mod dial;
mod each;
mod error;
mod exchange;
mod lane;
mod peers;
mod reading;
mod requests;
pub mod settings;
mod statistics;
mod unsettled;
mod upload;
mod waiters;
mod work;
mod writing;

use std::{future::Future, time::Instant};

use proxystore_core::{Config, Deadline, Error, Memory, Payload, Result, connector::Callers};
use proxystore_runtime::{allowance, timeout};
pub use proxystore_wire::{ObjectKey, message::Mode};

pub use self::settings::{Credentials, NodeAddress, Settings};
use self::{
    each::Each,
    error::ClientError,
    peers::{Peer, Peers, Purpose},
    requests::{
        Question, again, carry_out, first, in_this_process, put, put_all, question_of, questions,
    },
    unsettled::Unfinished,
    waiters::Outcome,
    work::Requests,
};

/// Asks nodes, in either colour, from any thread. Dropping it closes its connections.
#[derive(Debug)]
pub struct Client {
    peers: Peers,
}

/// Which of the requests of a batch failed, and why.
pub type Failed = (usize, Error);

impl Client {
    /// A client without connections.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            peers: Peers::new(settings),
        }
    }

    /// Stores an object at a node.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](proxystore_core::ErrorKind::Unavailable) if the connection is lost, the
    /// object of [`Mode::New`] is then removed when the next one is made; whatever the node refuses
    /// it for. All errors name the peer.
    pub async fn put(
        &self,
        node: &NodeAddress,
        key: &ObjectKey,
        mode: Mode,
        payload: Payload<'_>,
        deadline: Deadline,
    ) -> Result<()> {
        let peer = self.peers.peer(node);
        let len = payload.len() as u64;
        let stored = put(&peer, key, mode, payload);
        self.run(&peer, Time::until(deadline), len, stored).await?;
        peer.statistics.sent_bytes.add(len);
        Ok(())
    }

    /// The object that a key names, if it is at the node.
    ///
    /// # Errors
    ///
    /// [`Corrupted`](proxystore_core::ErrorKind::Corrupted) if it is not what was put; if the node
    /// cannot be asked. All errors name the peer.
    pub async fn get(
        &self,
        node: &NodeAddress,
        key: &ObjectKey,
        deadline: Deadline,
    ) -> Result<Option<Memory>> {
        let peer = self.peers.peer(node);
        let time = Time::until(deadline);
        let question = Question::Get { whole: false };
        let asked = question_of(&peer, Purpose::Small, question, key);
        let mut outcome = self.run(&peer, time, 0, asked).await?;
        if let Outcome::Elsewhere { len } = outcome {
            let question = Question::Get { whole: true };
            let asked = question_of(&peer, Purpose::Bulk, question, key);
            outcome = self.run(&peer, time, len, asked).await?;
        }
        match outcome {
            Outcome::Absent => Ok(None),
            Outcome::Object(memory) => Ok(Some(memory)),
            _ => Err(ClientError::Nonsense.of(&peer.name)),
        }
    }

    /// Whether the object that a key names is at the node.
    ///
    /// # Errors
    ///
    /// If the node cannot be asked. All errors name the peer.
    pub async fn exists(
        &self,
        node: &NodeAddress,
        key: &ObjectKey,
        deadline: Deadline,
    ) -> Result<bool> {
        let peer = self.peers.peer(node);
        let asked = question_of(&peer, Purpose::Small, Question::Exists, key);
        match self.run(&peer, Time::until(deadline), 0, asked).await? {
            Outcome::Present => Ok(true),
            Outcome::Absent => Ok(false),
            _ => Err(ClientError::Nonsense.of(&peer.name)),
        }
    }

    /// Removes the object that a key names from the node, if it is there.
    ///
    /// # Errors
    ///
    /// If the node cannot be asked, or the key does not open the object. All errors name the peer.
    pub async fn evict(
        &self,
        node: &NodeAddress,
        key: &ObjectKey,
        deadline: Deadline,
    ) -> Result<()> {
        let peer = self.peers.peer(node);
        let asked = question_of(&peer, Purpose::Small, Question::Evict, key);
        match self.run(&peer, Time::until(deadline), 0, asked).await? {
            Outcome::Done => Ok(()),
            _ => Err(ClientError::Nonsense.of(&peer.name)),
        }
    }

    /// Stores several objects at a node, all or none.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), with the index of the object.
    pub async fn put_batch(
        &self,
        node: &NodeAddress,
        keys: &[ObjectKey],
        payloads: &[Payload<'_>],
        deadline: Deadline,
    ) -> Result<(), Failed> {
        let peer = self.peers.peer(node);
        let len = payloads.iter().map(|payload| payload.len() as u64).sum();
        let time = Time::until(deadline);
        let unfinished = Unfinished::new(&peer, keys);
        let stored = self.run_batch(&peer, time, len, put_all(&peer, keys, payloads));
        let stored = stored.await;
        let is_settled = if stored.is_ok() {
            peer.statistics.sent_bytes.add(len);
            true
        } else {
            let removed = questions(&peer, Purpose::Small, Question::Evict, keys.iter());
            self.run_batch(&peer, time, 0, removed).await.is_ok()
        };
        if is_settled {
            unfinished.end();
        }
        stored
    }

    /// The objects that keys name at a node, in order.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), with the index of the key.
    pub async fn get_batch(
        &self,
        node: &NodeAddress,
        keys: &[ObjectKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Memory>>, Failed> {
        let peer = self.peers.peer(node);
        let time = Time::until(deadline);
        let question = Question::Get { whole: false };
        let asked = questions(&peer, Purpose::Small, question, keys.iter());
        let mut outcomes = self.run_batch(&peer, time, 0, asked).await?;
        let mut elsewhere = Vec::new();
        let mut bytes = 0;
        for (index, outcome) in outcomes.iter().enumerate() {
            if let Outcome::Elsewhere { len } = outcome {
                elsewhere.push(index);
                bytes += len;
            }
        }
        if !elsewhere.is_empty() {
            let question = Question::Get { whole: true };
            let large = elsewhere.iter().map(|&index| &keys[index]);
            let asked = questions(&peer, Purpose::Bulk, question, large);
            let large = self.run_batch(&peer, time, bytes, asked).await;
            let large = large.map_err(|(index, error)| (elsewhere[index], error))?;
            for (index, outcome) in elsewhere.into_iter().zip(large) {
                outcomes[index] = outcome;
            }
        }
        let objects = outcomes.into_iter().enumerate();
        objects
            .map(|(index, outcome)| match outcome {
                Outcome::Absent => Ok(None),
                Outcome::Object(memory) => Ok(Some(memory)),
                _ => Err((index, ClientError::Nonsense.of(&peer.name))),
            })
            .collect()
    }

    /// Gets objects of one node for callers that know nothing of each other, and tells each of its
    /// own, with an error that names the peer.
    pub async fn get_each(
        &self,
        node: &NodeAddress,
        keys: &[ObjectKey],
        callers: &dyn Callers,
        deadline: Deadline,
    ) {
        let peer = self.peers.peer(node);
        let time = Time::until(deadline);
        let mut each = Each::new(&peer, keys, callers);
        let mut done = self.in_time(time, 0, each.get(Purpose::Small)).await;
        if done.is_ok()
            && let Some(bytes) = each.turn_to_large()
        {
            done = self.in_time(time, bytes, each.get(Purpose::Bulk)).await;
        }
        each.end(done);
    }

    /// What a node reports about itself.
    ///
    /// # Errors
    ///
    /// If the node cannot be asked. All errors name the peer.
    pub async fn status(
        &self,
        node: &NodeAddress,
        deadline: Deadline,
    ) -> Result<Vec<(String, u64)>> {
        let peer = self.peers.peer(node);
        let asked = again(|| async {
            let connection = peer.lane(Purpose::Small).connection().await?;
            let work = Requests::new(1, |_, session, now| session.status(now));
            first(carry_out(connection, work).await?)
        });
        match self.run(&peer, Time::until(deadline), 0, asked).await? {
            Outcome::Report(entries) => Ok(entries),
            _ => Err(ClientError::Nonsense.of(&peer.name)),
        }
    }

    /// Removes every object of a node.
    ///
    /// # Errors
    ///
    /// If the node cannot be asked. All errors name the peer.
    pub async fn clear(&self, node: &NodeAddress, deadline: Deadline) -> Result<()> {
        let peer = self.peers.peer(node);
        let asked = again(|| async {
            let connection = peer.lane(Purpose::Small).connection().await?;
            let work = Requests::new(1, |_, session, now| session.clear(now));
            first(carry_out(connection, work).await?)
        });
        match self.run(&peer, Time::until(deadline), 0, asked).await? {
            Outcome::Done => Ok(()),
            _ => Err(ClientError::Nonsense.of(&peer.name)),
        }
    }

    /// What was done with each node: a map for each, by its address.
    #[must_use]
    pub fn statistics(&self) -> Config {
        self.peers.statistics()
    }

    /// Ends all connections, and fails what is under way on them. Later operations make new ones.
    pub fn close(&self) {
        self.peers.close();
    }

    /// Carries out one operation, or a part of one, in what is left of its time.
    async fn run<T>(
        &self,
        peer: &Peer,
        time: Time,
        bytes: u64,
        operation: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T> {
        let done = self.in_time(time, bytes, operation).await;
        peer.statistics.operations.add(1);
        done.map_err(|error| {
            peer.statistics.failures.add(1);
            error.of(&peer.name)
        })
    }

    async fn in_time<T>(
        &self,
        time: Time,
        bytes: u64,
        operation: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let left = self.peers.settings().timeout;
        let left = left.saturating_sub(time.begun.elapsed());
        let deadline = allowance(time.deadline, left, bytes);
        let done = timeout(deadline, in_this_process(operation)).await;
        done.unwrap_or(Err(ClientError::TimedOut))
    }

    async fn run_batch<T>(
        &self,
        peer: &Peer,
        time: Time,
        bytes: u64,
        operation: impl Future<Output = Result<T, (usize, ClientError)>>,
    ) -> Result<T, Failed> {
        let mut failed = 0;
        let noted = async {
            operation.await.map_err(|(index, error)| {
                failed = index;
                error
            })
        };
        let done = self.run(peer, time, bytes, noted).await;
        done.map_err(|error| (failed, error))
    }
}

/// The time that an operation may take. Its parts share it.
#[derive(Clone, Copy, Debug)]
struct Time {
    begun: Instant,
    deadline: Deadline,
}

impl Time {
    /// That of an operation which begins now.
    fn until(deadline: Deadline) -> Self {
        Self {
            begun: Instant::now(),
            deadline,
        }
    }
}
