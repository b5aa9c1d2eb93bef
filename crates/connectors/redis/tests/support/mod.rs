//! What the tests of this connector share: real servers, and a client to look behind the
//! connector's back with.

#![allow(dead_code, reason = "every test uses a part of it")]

#[path = "../../../../transports/stream/tests/support/authority.rs"]
mod authority;
pub(crate) mod cluster;
pub(crate) mod operations;
pub(crate) mod sentinel;
pub(crate) mod server;
pub(crate) mod tls;

pub(crate) use proxystore_conformance::program::{Checked, now};
