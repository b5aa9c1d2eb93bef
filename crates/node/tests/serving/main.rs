//! Nodes over real sockets.

#[path = "../../../transports/stream/tests/support/authority.rs"]
mod authority;
#[path = "../support/mod.rs"]
mod support;

mod encryption;
mod hostile;
mod limits;
mod operations;
mod soak;
mod starting;
mod stopping;
