#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`config`]: what options there are, and [`FACTORY`]; `options` reads them, `url` those of a URL.
//! * [`key`]: the names of objects, parsed from keys.
//! * [`connector`]: [`RedisConnector`](connector::RedisConnector), the operations.
//! * `objects`: objects, in one value or in parts; [`manifest`] lists parts.
//! * `exchanges`: commands and the replies to them.
//! * `client`: carries exchanges out, again where that helps, and no longer than it may take.
//! * [`streams`]: messages, published or in queues.
//! * `servers` and `cluster`: which server has what.
//! * `pool` and `connection`: connections, kept and used; `pieces`: memory for what is sent.
//! * `statistics`: what was done with each server.
//! * [`resp`]: the protocol, without a socket.
//! * `error` and `refusal`: what can go wrong, and how it is told.

#![forbid(unsafe_code)]

mod client;
mod cluster;
pub mod config;
mod connection;
pub mod connector;
mod error;
mod exchanges;
pub mod key;
pub mod manifest;
mod objects;
mod options;
mod pieces;
mod pool;
mod refusal;
pub mod resp;
mod servers;
mod statistics;
pub mod streams;
mod url;

pub use self::config::FACTORY;
