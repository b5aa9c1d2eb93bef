//! What is said to a server: each exchange writes its commands and reads all replies to them.

mod batch;
mod get;
mod keys;
mod parts;
mod put;
mod set;
mod transaction;

pub(crate) use self::{
    batch::{GetMany, PutMany},
    get::{Found, Get, into_memory},
    keys::{Clear, Evict, Exists, Unlink},
    parts::{GetParts, Publish, PutPart},
    put::Put,
    set::Set,
};

use std::time::Duration;

use crate::resp::Command;

/// Begins `SET`, up to where the value of `len` bytes stands.
fn open_set(commands: &mut Command, name: &str, len: usize, ttl: Option<Duration>) {
    commands.begin(if ttl.is_some() { 5 } else { 3 });
    commands.argument(b"SET");
    commands.argument(name.as_bytes());
    commands.open_argument(len);
}

/// Ends `SET` after the value.
fn close_set(commands: &mut Command, ttl: Option<Duration>) {
    commands.close_argument();
    if let Some(ttl) = ttl {
        commands.argument(b"PX");
        commands.number(millis(ttl));
    }
}

/// A time to live as servers count it.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}
