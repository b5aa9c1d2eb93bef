//! Gets for callers that know nothing of each other.

use std::{future::poll_fn, time::Instant};

use proxystore_core::{Error, Result, connector::Callers};
use proxystore_wire::{ObjectKey, StreamId};

use super::{
    connection::State,
    error::ClientError,
    exchange::{Exchange, Work},
    peers::{Peer, Purpose},
    waiters::{Outcome, Park, WaiterId},
    work::{UNDER_WAY, begin},
};

/// Gets of objects of one node, whose callers are told as the answers come.
pub(super) struct Each<'a> {
    peer: &'a Peer,
    keys: &'a [ObjectKey],
    callers: &'a dyn Callers,
    places: Vec<Place>,
    /// The keys that are to be asked for, by their indices; before `begun`, those that were.
    order: Vec<usize>,
    begun: usize,
    under_way: usize,
    /// What has come since callers were last told.
    arrived: Vec<(usize, Outcome)>,
    /// The bytes of all large objects.
    large: u64,
}

/// How far one get is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is to be asked for.
    Waiting,
    UnderWay(StreamId),
    /// It is to be had on the connection for bulk.
    Large,
    /// The caller was told, or has given up.
    Settled,
}

impl<'a> Each<'a> {
    pub(super) fn new(peer: &'a Peer, keys: &'a [ObjectKey], callers: &'a dyn Callers) -> Self {
        Self {
            peer,
            keys,
            callers,
            places: vec![Place::Waiting; keys.len()],
            order: (0..keys.len()).collect(),
            begun: 0,
            under_way: 0,
            arrived: Vec::new(),
            large: 0,
        }
    }

    /// Asks for all objects that are not settled, once more if the connection is lost, and tells
    /// their callers. Those that are too large for this connection are left.
    pub(super) async fn get(&mut self, purpose: Purpose) -> Result<(), ClientError> {
        let mut was_lost = false;
        loop {
            match self.attempt(purpose).await {
                Err(error) if error.is_loss() && !was_lost => was_lost = true,
                done => return done,
            }
            let is_left = |place| !matches!(place, Place::Settled | Place::Large);
            self.order.retain(|&index| is_left(self.places[index]));
            for &index in &self.order {
                self.places[index] = Place::Waiting;
            }
        }
    }

    async fn attempt(&mut self, purpose: Purpose) -> Result<(), ClientError> {
        let connection = self.peer.lane(purpose).connection().await?;
        (self.begun, self.under_way) = (0, 0);
        let exchange = Exchange::new(connection);
        let mut lost = None;
        let done = poll_fn(|context| {
            let each = &mut *self;
            let polled = exchange.poll(context, &mut Round { each, purpose });
            lost = self.tell(purpose).or(lost.take());
            polled
        });
        done.await?;
        lost.map_or(Ok(()), Err)
    }

    /// Tells callers of what has arrived, but for what is to be asked for again or elsewhere. Returns
    /// why the former is.
    fn tell(&mut self, purpose: Purpose) -> Option<ClientError> {
        let mut lost = None;
        let mut got = Vec::with_capacity(self.arrived.len());
        for (index, outcome) in self.arrived.drain(..) {
            let object = match outcome {
                Outcome::Object(memory) => Ok(Some(memory)),
                Outcome::Absent => Ok(None),
                Outcome::Failed(error) if error.is_loss() => {
                    lost = Some(error);
                    continue;
                }
                Outcome::Elsewhere { len } if purpose == Purpose::Small => {
                    self.places[index] = Place::Large;
                    self.large = self.large.saturating_add(len);
                    continue;
                }
                Outcome::Failed(error) => Err(failure(self.peer, error)),
                _ => Err(failure(self.peer, ClientError::Nonsense)),
            };
            self.places[index] = Place::Settled;
            got.push((index, object));
        }
        self.peer.statistics.operations.add(got.len() as u64);
        if !got.is_empty() {
            self.callers.tell(got);
        }
        lost
    }

    /// Whether nothing is left of an attempt.
    const fn is_over(&self) -> bool {
        self.under_way == 0 && self.begun == self.order.len()
    }

    /// Goes on with the objects that are too large for the first connection; returns their bytes,
    /// none if there are no such objects.
    pub(super) fn turn_to_large(&mut self) -> Option<u64> {
        let indices = 0..self.places.len();
        self.order = indices
            .filter(|&index| self.places[index] == Place::Large)
            .collect();
        (!self.order.is_empty()).then_some(self.large)
    }

    /// Tells those who have not been told yet why they get nothing.
    pub(super) fn end(self, done: Result<(), ClientError>) {
        let Err(error) = done else { return };
        let left = (0..self.places.len()).filter(|&index| self.places[index] != Place::Settled);
        let left: Vec<_> = left
            .map(|index| (index, Err(failure(self.peer, error.clone()))))
            .collect();
        self.peer.statistics.operations.add(left.len() as u64);
        self.callers.tell(left);
    }
}

fn failure(peer: &Peer, error: ClientError) -> Error {
    peer.statistics.failures.add(1);
    error.of(&peer.name)
}

/// The work of one attempt.
struct Round<'r, 'a> {
    each: &'r mut Each<'a>,
    purpose: Purpose,
}

impl Work<'_> for Round<'_, '_> {
    fn advance(
        &mut self,
        state: &mut State,
        id: WaiterId,
        now: Instant,
    ) -> Result<Option<Park>, ClientError> {
        let each = &mut *self.each;
        let came = state.waiters.outcomes(id);
        each.under_way -= came.len();
        for (index, _) in &*came {
            each.places[*index] = Place::Waiting;
        }
        each.arrived.append(came);
        for index in each.callers.given_up() {
            let place = std::mem::replace(&mut each.places[index], Place::Settled);
            if let Place::UnderWay(stream) = place
                && state.waiters.withdraw(id, index, stream)
            {
                state.session.cancel(stream);
                state.unsent = true;
                each.under_way -= 1;
            }
        }
        if each.is_over() {
            return Ok(None);
        }
        state.check()?;
        let mut park = Park::default();
        while let Some(&index) = each.order.get(each.begun) {
            if each.places[index] != Place::Settled {
                if each.under_way >= UNDER_WAY {
                    break;
                }
                let whole = self.purpose == Purpose::Bulk;
                let asked = state.session.get(&each.keys[index], whole, now);
                if !begin(state, id, index, asked)? {
                    park.blocked = true;
                    break;
                }
                each.under_way += 1;
                if let Ok(stream) = asked {
                    each.places[index] = Place::UnderWay(stream);
                }
            }
            each.begun += 1;
        }
        if each.is_over() {
            return Ok(None);
        }
        // Whatever comes is somebody's who waits for nothing else.
        park.threshold = each.under_way.saturating_sub(1);
        Ok(Some(park))
    }
}
