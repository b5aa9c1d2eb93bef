#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`config`]: the options, and [`FACTORY`].
//! * [`key`]: the names of objects, parsed from keys.
//! * [`connector`]: [`FileConnector`](connector::FileConnector), the operations.
//! * `directory`: which file has which name, and what kind of file system it is on.
//! * [`marker`]: the record that says which bytes an object has.
//! * `write` and `read`: how objects get into the directory and out of it.
//! * `checksum`: written and verified piece by piece.
//! * `error`: what can go wrong, and how it is told.

#![forbid(unsafe_code)]

mod checksum;
pub mod config;
pub mod connector;
mod directory;
mod error;
pub mod key;
pub mod marker;
mod read;
mod write;

pub use self::config::FACTORY;
