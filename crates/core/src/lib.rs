//! The vocabulary that every part of proxystore shares: connectors, keys, payloads, errors.
//!
//! This crate knows no runtime, interpreter, environment or clock, and of the workspace only raw
//! memory. Time comes in as [`Deadline`]s, bytes as [`Payload`]s, settings as [`Config`]s.
//!
//! # Layout
//!
//! * [`connector`]: [`Connector`], whose documentation is the contract of every connector.
//! * [`operation`]: [`Operation`], what a connector's methods return.
//! * [`key`], [`payload`], [`deadline`], [`capabilities`]: what goes in and out of them.
//! * [`error`]: [`Error`], the one public error.
//! * [`config`], [`factory`], [`registry`]: how connectors are described, found and opened.
//! * [`statistics`]: what connectors count.
//! * [`local`]: the connector that keeps objects in this process, which shows how one is written.

#![forbid(unsafe_code)]

pub mod capabilities;
pub mod config;
pub mod connector;
pub mod deadline;
pub mod error;
pub mod factory;
pub mod key;
pub mod local;
pub mod operation;
pub mod payload;
pub mod registry;
pub mod statistics;

pub use proxystore_memory::{Memory, Segment};

pub use self::{
    capabilities::{Capabilities, When},
    config::{Config, Value},
    connector::{CloseOptions, Connector},
    deadline::Deadline,
    error::{Error, ErrorKind, Result},
    factory::{Factory, OptionInfo},
    key::{Field, Key},
    operation::Operation,
    payload::{Payload, Seal},
    registry::Registry,
    statistics::{Counter, Gauge},
};
