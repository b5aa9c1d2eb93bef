//! Messages through a server: by publishing them to whoever subscribes at the time, and by queues,
//! from which each message is taken once.
//!
//! All of it takes the options of the connector; `prefix`, `ttl`, `clear` and `part_size` are about
//! objects and change nothing here.

mod publisher;
mod queue;
mod receiving;
mod subscriber;

use proxystore_core::Memory;

pub use self::{publisher::Publisher, queue::Queue, subscriber::Subscriber};

/// A message.
#[derive(Debug)]
pub struct Message {
    /// The channel that it was published to, or the queue that it was taken from.
    pub channel: String,
    /// Its bytes.
    pub payload: Memory,
}
