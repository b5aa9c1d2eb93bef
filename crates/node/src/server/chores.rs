//! What a connection has to wait for, other than its peer.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// How many are done at once for one connection: a disk is busy with as many, and threads are left for
/// other connections.
const AT_ONCE: usize = 4;
/// From so many on nothing more is read from the peer, which cannot make a longer queue by asking.
const MANY: usize = 16;

type Chore<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work on threads that may block, a little at a time.
pub(super) struct Chores<T> {
    running: Vec<Chore<T>>,
    waiting: VecDeque<Chore<T>>,
}

impl<T> Chores<T> {
    pub(super) const fn new() -> Self {
        Self {
            running: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, chore: impl Future<Output = T> + Send + 'static) {
        self.waiting.push_back(Box::pin(chore));
    }

    /// Whether nothing that could cause more should be looked at.
    pub(super) fn are_many(&self) -> bool {
        self.running.len() + self.waiting.len() >= MANY
    }

    pub(super) fn are_none(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// The outcome of one that is done.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Option<T> {
        loop {
            for index in 0..self.running.len() {
                if let Poll::Ready(outcome) = self.running[index].as_mut().poll(context) {
                    drop(self.running.swap_remove(index));
                    return Some(outcome);
                }
            }
            if self.running.len() >= AT_ONCE {
                return None;
            }
            self.running.push(self.waiting.pop_front()?);
        }
    }
}
