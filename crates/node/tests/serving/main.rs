//! Nodes over real sockets.

#[path = "../support/mod.rs"]
mod support;

mod encryption;
mod hostile;
mod limits;
mod operations;
mod soak;
mod starting;
mod stopping;
