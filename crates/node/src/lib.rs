#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`storage`]: the objects of a node.
//! * [`client`]: asks nodes.

#![forbid(unsafe_code)]

pub mod client;
pub mod storage;
