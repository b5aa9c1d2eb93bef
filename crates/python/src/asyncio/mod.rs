//! Operations that a loop of asyncio waits for, and operations that nobody waits for yet.
//!
//! # Layout
//!
//! * `request`: an operation with all that it needs, and the one place that carries it out.
//! * `begin`: where a request is carried out: at once, by a task, or by a thread that may block.
//! * `bridge`: one for each loop: hands requests over, and gives the loop its results.
//! * `mailbox`: results on their way to a loop.
//! * `job`: a request under way, and the switch that stops it.
//! * `together`: gets of one turn of a loop that one connector carries out together.
//! * `fetch`: a get that is under way for whoever asks for its result first.
//!
//! # How a result travels
//!
//! A method like `aget` makes a future of the running loop and queues a job. At the end of the
//! loop's turn, or when they are many, all queued jobs go to the shared runtime at once. A job that
//! ends puts its result into the loop's mailbox and, unless somebody has done so already, writes to
//! the mailbox's eventfd, which the loop watches. The loop then takes results out, a bounded number
//! of them in a turn, and gives them to their futures.

mod begin;
mod bridge;
mod fetch;
mod job;
mod mailbox;
mod request;
mod together;

pub(crate) use begin::{Pace, begin};
pub(crate) use bridge::cancel_operation;
pub(crate) use fetch::PyFetch;
pub(crate) use request::Request;
