#![doc = include_str!("../README.md")]
//!
//! # Layout
//!
//! * [`config`]: the options, and [`FACTORY`].
//! * `key`: where an object is, and the keys that say it.
//! * [`connector`]: [`ShmConnector`](connector::ShmConnector), the operations.
//! * `share`: a connector's share of a namespace, which ends when it is closed.
//! * `objects`: objects wherever they are: in cells, in segments, or behind a deferred key.
//! * `namespace`: one process's share of a namespace: membership, segments, slabs, and how what the
//!   dead left is adopted.
//! * `membership`: this process among those that use a namespace: its lock, its pins, who is alive.
//! * `registry`: the namespaces that this process has joined, over its forks and to its exit.
//! * `report`: what the namespaces of a directory hold, and putting away what nobody does.
//! * `control`: the file that holds what all processes know of each other and of the objects.
//! * `segments`: large objects, one file each, mapped by whoever gets them.
//! * `slabs`: small objects in cells, and tickets for objects that are to come.
//! * `word`: the words that processes share; `mutants`: defects that tests must catch; `crash`:
//!   where tests kill a process.
//! * `allotment`: what this process may take of the memory that there is.
//! * `mapped`, `per_process`: shared mappings, and what forked children must not inherit.
//! * `error`: what can go wrong, and how it is told.

mod allotment;
pub mod config;
pub mod connector;
mod control;
mod crash;
mod error;
mod key;
mod mapped;
mod membership;
mod mutants;
mod namespace;
mod objects;
mod per_process;
mod registry;
mod report;
mod segments;
mod share;
mod slabs;
#[cfg(test)]
mod testing;
mod word;

pub use self::config::FACTORY;
