//! Drives connector operations to completion: fork-aware, with deadlines.
//!
//! # Layout
//!
//! * [`drive()`]: carries out one operation on the calling thread.
//! * [`shared`]: the tokio runtime of operations that nobody's thread waits for.
//! * [`worker`]: threads with a runtime of their own, for servers.
//! * [`colour()`]: which of the two carries out the operation that is being polled.
//! * [`socket`], [`timer`]: what operations wait for, in either colour.
//! * [`generation`]: tells whether this process was forked since it last asked.

#![forbid(unsafe_code)]

mod colour;
pub mod drive;
pub mod shared;
pub mod socket;
pub mod timer;
pub mod worker;

pub use proxystore_fork::generation;

pub use self::{
    colour::{Colour, colour},
    drive::{Stopped, drive},
    shared::{spawn, unblock},
    socket::{Interest, Socket},
    timer::{Elapsed, allowance, sleep_until, timeout},
    worker::Worker,
};
