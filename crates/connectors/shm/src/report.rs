//! What the namespaces of a directory hold, and putting away what nobody does.
//!
//! Both look at what is there and make nothing: they are no use of a namespace, so that it ends when
//! it would have ended.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, ops::AddAssign, path::Path, sync::Arc};

use proxystore_core::{Config, Value};

use crate::{
    error::ShmError,
    membership::{Directory, Member, MemberId, Membership, Missing},
    namespace::Namespace,
};

/// What a part of a namespace takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) objects: u64,
    /// Bytes of the objects in memory.
    pub(crate) bytes: u64,
    /// Bytes of the objects on a disk.
    pub(crate) spilled: u64,
    /// Bytes of memory that hold no object.
    pub(crate) free: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.spilled += other.spilled;
        self.free += other.free;
    }
}

/// What the namespaces in a directory hold at present: a list with a map for each, or for the one of
/// this name.
///
/// | name | what it says |
/// |---|---|
/// | `name`, `path`, `id` | which namespace it is |
/// | `held` | whether a process uses it, or its objects are kept for one |
/// | `age_s`, `idle_s`, `hold_s` | seconds since it was made, since it was used, and for which its objects outlive the last process |
/// | `processes` | a list of maps: `pid`, `slot`, `bytes`, `alive`, `pins` (segments that it looks at) |
/// | `objects`, `bytes`, `spilled` | how many objects there are, and their bytes in memory and on a disk |
/// | `free` | bytes of memory that living processes keep for their next objects |
/// | `orphaned` | bytes of memory that nobody can use, as their processes are dead |
///
/// Of a namespace that cannot be looked at, `name`, `path` and `error` are told.
pub(crate) fn report(base: &Path, only: Option<&str>) -> Result<Value, ShmError> {
    let mut list = Vec::new();
    for name in namespaces(base, only)? {
        let entry = Membership::observe(base, &name).map(|found| found.map(describe));
        list.extend(entry_of(base, &name, entry));
    }
    Ok(Value::List(list))
}

/// Ends the namespaces in a directory, or the one of this name, whose time has passed, and frees in
/// the others what dead processes left. The list of [`report`], as it is afterwards, with some
/// more in each map:
///
/// | name | what it says |
/// |---|---|
/// | `swept` | whether the namespace was ended; of such a one, nothing but `name` and `path` is told besides |
/// | `adopted` | from how many dead processes something was taken over |
/// | `freed` | bytes of files that were removed |
pub(crate) fn collect_garbage(base: &Path, only: Option<&str>) -> Result<Value, ShmError> {
    let mut list = Vec::new();
    for name in namespaces(base, only)? {
        list.extend(entry_of(base, &name, collect(base, &name)));
    }
    Ok(Value::List(list))
}

fn collect(base: &Path, name: &str) -> Result<Option<Config>, ShmError> {
    let before = size(base, name)?;
    let mut adopted = 0;
    if let Some(namespace) = Namespace::join_to_tend(base, name)? {
        adopted = namespace.adopt();
    }
    let freed = before.saturating_sub(size(base, name)?);
    let left = Membership::observe(base, name)?;
    // Neither was there anything, nor is there.
    if left.is_none() && freed == 0 {
        return Ok(None);
    }
    let is_swept = left.is_none();
    let entry = left.map_or_else(Config::new, describe);
    Ok(Some(
        entry
            .with("swept", is_swept)
            .with("adopted", integer(adopted as u64))
            .with("freed", integer(freed)),
    ))
}

/// The names of what may be namespaces.
fn namespaces(base: &Path, only: Option<&str>) -> Result<Vec<String>, ShmError> {
    let Some(directory) = Directory::base(base, Missing::Left)? else {
        return Ok(Vec::new());
    };
    let mut names = directory.names()?;
    names.retain(|name| only.is_none_or(|only| name == only));
    names.sort();
    Ok(names)
}

/// The map of one namespace, or of why there is none.
fn entry_of(base: &Path, name: &str, described: Result<Option<Config>, ShmError>) -> Option<Value> {
    let mut entry = Config::new()
        .with("name", name)
        .with("path", base.join(name).to_string_lossy().into_owned());
    match described {
        Ok(None) => return None,
        Ok(Some(described)) => {
            for (name, value) in described.iter() {
                entry.insert(name, value.clone());
            }
        }
        Err(error) => {
            let error = proxystore_core::Error::from(error);
            entry.insert("error", error.to_string());
        }
    }
    Some(Value::Map(entry))
}

fn describe(membership: Arc<Membership>) -> Config {
    let members = membership.members();
    let alive: HashMap<MemberId, bool> = members
        .iter()
        .map(|member| (member.id, member.is_alive))
        .collect();
    let (mut usage, mut orphaned) = (Usage::default(), 0);
    let mut tell = |owner, part: Usage| {
        // Whoever has come since is alive.
        if alive.get(&owner).is_none_or(|&alive| alive) {
            usage += part;
        } else {
            orphaned += part.free;
            usage += Usage { free: 0, ..part };
        }
    };
    let times = membership.times();
    let namespace = Namespace::around(membership);
    namespace.segments.usage(&mut tell);
    namespace.slabs.usage(&mut tell);
    let is_held = times.idle < times.hold || alive.values().any(|&alive| alive);
    let processes = members.iter().map(process).collect();
    Config::new()
        .with("id", integer(namespace.id()))
        .with("held", is_held)
        .with("age_s", seconds(times.age))
        .with("idle_s", seconds(times.idle))
        .with("hold_s", seconds(times.hold))
        .with("processes", Value::List(processes))
        .with("objects", integer(usage.objects))
        .with("bytes", integer(usage.bytes))
        .with("free", integer(usage.free))
        .with("spilled", integer(usage.spilled))
        .with("orphaned", integer(orphaned))
}

fn process(member: &Member) -> Value {
    Value::Map(
        Config::new()
            .with("pid", integer(member.pid))
            .with("slot", integer(member.id.slot().into()))
            .with("bytes", integer(member.bytes))
            .with("alive", member.is_alive)
            .with("pins", integer(member.pins as u64)),
    )
}

/// Bytes that the files of a namespace take, the spilled ones included.
fn size(base: &Path, name: &str) -> Result<u64, ShmError> {
    let Some(directory) = Directory::namespace(base, name, Missing::Left)? else {
        return Ok(0);
    };
    let files = directory.names()?;
    Ok(files.iter().map(|name| directory.size(name)).sum())
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Milliseconds as seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "exact to a millisecond for longer than hosts run"
)]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}
