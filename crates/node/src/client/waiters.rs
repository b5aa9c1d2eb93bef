//! Who waits for what on a connection, and whose turn it is to read.

use std::task::{Context, Waker};

use proxystore_memory::{Filling, Memory};
use proxystore_wire::{StreamId, Sum};

use super::error::ClientError;

/// What a request came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The object is stored, or is not there any more.
    Done,
    /// The object is there.
    Present,
    /// The object is not there.
    Absent,
    /// The object.
    Object(Memory),
    /// The object is to be had on the connection for bulk.
    Elsewhere {
        /// Its length in bytes.
        len: u64,
    },
    /// What the node reports about itself.
    Report(Vec<(String, u64)>),
    /// There will be no answer, or it was no.
    Failed(ClientError),
}

/// A place among the waiters of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId(usize);

/// The operations that wait on a connection, and the requests that they wait for.
///
/// At most one of them is the *leader*, which reads for all. Leadership is handed over and never up
/// for grabs: whoever leaves names the next, and whoever comes finds either a leader or nobody who
/// waits.
#[derive(Debug)]
pub(crate) struct Waiters {
    places: Vec<Waiter>,
    vacant: Vec<usize>,
    /// The request of stream `n` is at `n - 1`.
    requests: Vec<Option<Request>>,
    leader: Leader,
    /// Where the next leader is looked for first.
    next: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    Nobody,
    Waiter(WaiterId),
    /// A task of its own, in the shared colour.
    Task,
}

#[derive(Debug, Default)]
struct Waiter {
    waker: Option<Waker>,
    outcomes: Vec<(usize, Outcome)>,
    outstanding: usize,
    /// Wake it when no more than this many of its requests are outstanding.
    threshold: usize,
    /// Wake it when a request can begin again.
    blocked: bool,
    /// It waits for the socket to take more, where no waker reaches it at once.
    writing: bool,
    /// It was to be woken while it did not sleep.
    roused: bool,
}

impl Waiter {
    fn rouse(&mut self, wakers: &mut Wakers) {
        match self.waker.take() {
            Some(waker) => wakers.0.push(waker),
            None => self.roused = true,
        }
    }
}

/// A request under way.
#[derive(Debug)]
struct Request {
    stream: StreamId,
    waiter: WaiterId,
    index: usize,
    body: Option<Box<Body>>,
}

/// An object that is arriving.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) filling: Filling,
    pub(crate) sum: Sum,
    /// The checksum that was put with it.
    pub(crate) expected: u64,
}

impl Body {
    /// The object, if it is what was put.
    fn finish(self) -> Outcome {
        if self.sum.finish() != self.expected {
            return Outcome::Failed(ClientError::Corrupted);
        }
        match self.filling.finish() {
            Ok(memory) => Outcome::Object(memory),
            Err(_) => Outcome::Failed(ClientError::Nonsense),
        }
    }
}

/// Wakers to be called once the connection is not locked any more.
#[derive(Debug, Default)]
#[must_use = "whoever is not woken waits for ever"]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }
}

impl Drop for Wakers {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake();
        }
    }
}

impl Waiters {
    /// Nobody waits. In the shared colour a task leads for as long as the connection lives.
    pub(crate) const fn new(led_by_task: bool) -> Self {
        Self {
            places: Vec::new(),
            vacant: Vec::new(),
            requests: Vec::new(),
            leader: if led_by_task {
                Leader::Task
            } else {
                Leader::Nobody
            },
            next: 0,
        }
    }

    /// Takes a place.
    pub(crate) fn enter(&mut self) -> WaiterId {
        if let Some(index) = self.vacant.pop() {
            // What an earlier one left is empty, and its memory is used again.
            return WaiterId(index);
        }
        self.places.push(Waiter::default());
        WaiterId(self.places.len() - 1)
    }

    /// Gives a place up, and leadership with it. The waiter's requests must be over.
    pub(crate) fn leave(&mut self, id: WaiterId, wakers: &mut Wakers) {
        let waiter = self.waiter(id);
        waiter.waker = None;
        waiter.outcomes.clear();
        waiter.outstanding = 0;
        waiter.blocked = false;
        waiter.roused = false;
        self.vacant.push(id.0);
        self.step_down(id, wakers);
    }

    /// A request of this waiter begins on `stream`; its outcome will bear `index`.
    pub(crate) fn begin(&mut self, id: WaiterId, index: usize, stream: StreamId) {
        let place = place(stream);
        if self.requests.len() <= place {
            self.requests.resize_with(place + 1, || None);
        }
        self.requests[place] = Some(Request {
            stream,
            waiter: id,
            index,
            body: None,
        });
        self.waiter(id).outstanding += 1;
    }

    /// The streams of all requests of this waiter, which are over for it.
    pub(crate) fn give_up(&mut self, id: WaiterId) -> Vec<StreamId> {
        let outstanding = self.outstanding(id);
        let mut streams = Vec::with_capacity(outstanding);
        if outstanding == 0 {
            return streams;
        }
        for request in &mut self.requests {
            if let Some(given_up) = request.take_if(|request| request.waiter == id) {
                streams.push(given_up.stream);
            }
        }
        streams
    }

    /// Gives one request of this waiter up; false if it is over already.
    pub(crate) fn withdraw(&mut self, id: WaiterId, index: usize, stream: StreamId) -> bool {
        let request = self.requests.get_mut(place(stream));
        let is_own = |request: &mut Request| request.waiter == id && request.index == index;
        if request
            .and_then(|request| request.take_if(is_own))
            .is_none()
        {
            return false;
        }
        self.waiter(id).outstanding -= 1;
        true
    }

    /// The place for the object that a request asked for, if somebody still wants it.
    pub(crate) fn body(&mut self, stream: StreamId) -> Option<&mut Option<Box<Body>>> {
        let request = self.requests.get_mut(place(stream))?.as_mut()?;
        Some(&mut request.body)
    }

    /// All of an object has arrived.
    pub(crate) fn arrived(&mut self, stream: StreamId, wakers: &mut Wakers) {
        let body = self.body(stream).and_then(Option::take);
        let outcome = body.map_or(Outcome::Failed(ClientError::Nonsense), |body| body.finish());
        self.finish(stream, outcome, wakers);
    }

    /// A request is over.
    pub(crate) fn finish(&mut self, stream: StreamId, outcome: Outcome, wakers: &mut Wakers) {
        let request = self.requests.get_mut(place(stream)).and_then(Option::take);
        let Some(Request { waiter, index, .. }) = request else {
            return;
        };
        self.end(waiter, index, outcome, wakers);
    }

    fn end(&mut self, id: WaiterId, index: usize, outcome: Outcome, wakers: &mut Wakers) {
        let waiter = self.waiter(id);
        waiter.outcomes.push((index, outcome));
        waiter.outstanding -= 1;
        if waiter.outstanding <= waiter.threshold {
            waiter.rouse(wakers);
        }
    }

    /// The connection is lost: every request is over, and everybody is woken.
    pub(crate) fn fail(&mut self, error: &ClientError, wakers: &mut Wakers) {
        for place in 0..self.requests.len() {
            if let Some(Request { waiter, index, .. }) = self.requests[place].take() {
                self.end(waiter, index, Outcome::Failed(error.clone()), wakers);
            }
        }
        for waiter in &mut self.places {
            waiter.rouse(wakers);
        }
    }

    /// The outcomes that there are by now.
    pub(crate) fn outcomes(&mut self, id: WaiterId) -> &mut Vec<(usize, Outcome)> {
        &mut self.waiter(id).outcomes
    }

    /// How many requests of this waiter are under way.
    pub(crate) fn outstanding(&self, id: WaiterId) -> usize {
        self.places[id.0].outstanding
    }

    /// Wakes the owner of a stream whose turn it is to send.
    pub(crate) fn wake_sender(&mut self, stream: StreamId, wakers: &mut Wakers) {
        if let Some(id) = self.owner(stream) {
            self.waiter(id).rouse(wakers);
        }
    }

    /// Wakes the one that leads, if it is one of them.
    pub(crate) fn wake_leader(&mut self, wakers: &mut Wakers) {
        if let Leader::Waiter(id) = self.leader {
            self.waiter(id).rouse(wakers);
        }
    }

    /// Wakes those who could not begin a request.
    pub(crate) fn wake_blocked(&mut self, wakers: &mut Wakers) {
        for waiter in &mut self.places {
            if std::mem::take(&mut waiter.blocked) {
                waiter.rouse(wakers);
            }
        }
    }

    /// Whose stream this is.
    pub(crate) fn owner(&self, stream: StreamId) -> Option<WaiterId> {
        let request = self.requests.get(place(stream))?.as_ref()?;
        Some(request.waiter)
    }

    /// Whether somebody leads.
    pub(crate) fn has_leader(&self) -> bool {
        self.leader != Leader::Nobody
    }

    /// Whether this waiter leads, or would if it asked.
    pub(crate) fn may_lead(&self, id: WaiterId) -> bool {
        self.leader == Leader::Nobody || self.is_leader(id)
    }

    /// Leads, unless somebody else does.
    pub(crate) fn lead(&mut self, id: WaiterId) -> bool {
        if self.leader == Leader::Nobody {
            self.leader = Leader::Waiter(id);
        }
        self.is_leader(id)
    }

    pub(crate) fn is_leader(&self, id: WaiterId) -> bool {
        self.leader == Leader::Waiter(id)
    }

    /// Parks a waiter: it is woken when it leads, when no more than `threshold` of its requests are
    /// outstanding, or by name. False if that has happened since it last looked.
    pub(crate) fn park(&mut self, id: WaiterId, park: Park, context: &Context<'_>) -> bool {
        let waiter = self.waiter(id);
        if std::mem::take(&mut waiter.roused) {
            return false;
        }
        waiter.threshold = park.threshold;
        waiter.blocked = park.blocked;
        waiter.writing = park.writing;
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        true
    }

    /// Hands leadership to `to`.
    pub(crate) fn hand_to(&mut self, to: WaiterId, wakers: &mut Wakers) {
        self.leader = Leader::Waiter(to);
        self.waiter(to).rouse(wakers);
    }

    /// If this waiter leads, another one does from now on: one that a waker reaches at once if there
    /// is one, in turn.
    pub(crate) fn step_down(&mut self, id: WaiterId, wakers: &mut Wakers) {
        if !self.is_leader(id) {
            return;
        }
        self.leader = Leader::Nobody;
        let count = self.places.len();
        let after = (0..count).map(|step| (self.next + step) % count);
        let waiting = after.filter(|&index| index != id.0 && self.places[index].waker.is_some());
        let best = waiting.min_by_key(|&index| self.places[index].writing);
        if let Some(index) = best {
            self.next = index + 1;
            self.hand_to(WaiterId(index), wakers);
        }
    }

    /// Places are made by [`enter`](Self::enter), and never removed.
    fn waiter(&mut self, id: WaiterId) -> &mut Waiter {
        &mut self.places[id.0]
    }
}

/// When a parked waiter is woken, beside when it leads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Park {
    pub(crate) threshold: usize,
    pub(crate) blocked: bool,
    pub(crate) writing: bool,
}

fn place(stream: StreamId) -> usize {
    usize::try_from(stream.number())
        .unwrap_or(usize::MAX)
        .saturating_sub(1)
}

#[cfg(test)]
mod tests;
