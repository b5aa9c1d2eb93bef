//! Nodes over real sockets.

#[path = "../support/mod.rs"]
mod support;

mod hostile;
mod limits;
mod operations;
mod starting;
mod stopping;
