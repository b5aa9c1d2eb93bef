//! Drives connector operations to completion: fork-aware, with deadlines.
//!
//! # Layout
//!
//! * [`drive()`]: carries out one operation on the calling thread.
//! * [`generation`]: tells whether this process was forked since it last asked.

#![forbid(unsafe_code)]

pub mod drive;

pub use proxystore_fork::generation;

pub use self::drive::{Stopped, drive};
