#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`config`]: the options, and [`FACTORY`].
//! * [`key`]: where an object is and what opens it, parsed from keys.
//! * [`connector`]: [`TcpConnector`](connector::TcpConnector), the operations.
//! * `start`: the nodes that connectors of this process start.
//! * `report`: what a node says about itself.
//! * `error`: what can go wrong, and how it is told.
//!
//! How nodes are asked, and what they are, is `proxystore-node`'s business.

#![forbid(unsafe_code)]

pub mod config;
pub mod connector;
mod error;
pub mod key;
mod report;
mod start;

pub use self::config::FACTORY;
