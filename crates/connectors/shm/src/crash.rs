//! Places where tests kill a process, to show that the others cope with what it leaves.
//!
//! Without the feature `mutants`, which nothing but this crate's tests asks for, nobody is killed.

/// Kills this process, as `kill -9` would, if the environment variable `PROXYSTORE_SHM_CRASH` says
/// `NAME:COUNT` and this is the `COUNT`th time that a point of this name is passed. A forked child
/// goes on with its parent's count.
#[cfg(feature = "mutants")]
pub(crate) fn point(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = std::env::var("PROXYSTORE_SHM_CRASH").ok()?;
        let (name, count) = wanted.rsplit_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);

    if let Some((wanted, count)) = &*WANTED
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        let this = rustix::process::getpid();
        let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    }
}

/// Does nothing.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) const fn point(_: &str) {}
