//! The behaviour every connector keeps, as runnable cases.
//!
//! Each sentence of the contract in the documentation of
//! [`Connector`](proxystore_core::Connector) is a [`Case`] with a name. A connector is handed over
//! in a [`Fixture`], which opens it and, where a case needs that, damages an object behind its
//! back, fills its disk or looks from another process. In a Rust test one line applies them all:
//!
//! ```
//! # use std::sync::Arc;
//! # use proxystore_core::{Config, Connector, Factory, Field, Key, Result, local};
//! use proxystore_conformance::{Fixture, check};
//!
//! struct Local;
//!
//! impl Fixture for Local {
//!     fn open(&self) -> Result<Arc<dyn Connector>> {
//!         local::FACTORY.open(&Config::new().with("name", "conformance"))
//!     }
//!
//!     fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
//!         local::FACTORY.open(config)
//!     }
//!
//!     fn foreign_keys(&self) -> Vec<Key> {
//!         vec![Key::text("../x"), Key::new([Field::Absent])]
//!     }
//! }
//!
//! // The cases that this fixture cannot set up are named, so that none is lost unnoticed.
//! check(
//!     &Local,
//!     &["failed-put-leaves-nothing", "failed-batch-leaves-nothing", "failed-set-changes-nothing",
//!       "truncated-object-is-an-error", "half-written-object-is-an-error",
//!       "forked-children-share-a-connector", "close-spares-what-is-not-owned"],
//! )
//! .unwrap();
//! ```
//!
//! At run time, [`run`] gives the result of every case as a value; nothing here panics, and a
//! connector that does has failed the case.
//!
//! # Layout
//!
//! * [`case`]: [`Case`], [`Outcome`], [`Failure`].
//! * [`fixture`]: [`Fixture`] and what it can be asked for.
//! * [`cases`]: [`CASES`], the table; its modules hold the cases by topic.
//! * [`program`]: what tests need that start their own program again to be another process.

#![forbid(unsafe_code)]

pub mod case;
pub mod cases;
pub mod fixture;
pub mod program;

pub use self::{
    case::{Case, Failure, Outcome, Report, check, run},
    cases::CASES,
    fixture::{Damage, Elsewhere, Fixture},
};
