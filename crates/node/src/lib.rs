#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`client`]: asks nodes.

#![forbid(unsafe_code)]

pub mod client;
