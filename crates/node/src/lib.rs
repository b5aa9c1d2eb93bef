#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`server`]: [`Node`], which keeps objects and serves them; [`storage`] is where it keeps them.
//! * [`client`]: asks nodes.
//! * [`place`]: where a node and its clients on the same host find each other.
//! * `channel`: what both sides of a connection know of it.

#![forbid(unsafe_code)]

mod channel;
pub mod client;
pub mod place;
pub mod server;
pub mod storage;

pub use self::server::{Certificates, Node, NodeError, NodeOptions, ServerLimits, read_path};
