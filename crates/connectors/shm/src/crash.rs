//! Places where tests kill a process, to show that the others cope with what it leaves.
//!
//! Without the feature `mutants`, which nothing but this crate's tests asks for, nobody is killed.

/// Kills this process, as `kill -9` would, if the environment variable `PROXYSTORE_SHM_CRASH` says
/// `NAME:COUNT` and this is the `COUNT`th time that a point of this name is passed. A forked child
/// goes on with its parent's count. `NAME:COUNT:stop` stops the process, for another one to make it
/// go on.
#[cfg(feature = "mutants")]
pub(crate) fn point(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    static WANTED: LazyLock<Option<(String, u64, i32)>> = LazyLock::new(|| {
        let wanted = std::env::var("PROXYSTORE_SHM_CRASH").ok()?;
        let (wanted, signal) = wanted
            .strip_suffix(":stop")
            .map_or((&wanted[..], libc::SIGKILL), |wanted| {
                (wanted, libc::SIGSTOP)
            });
        let (name, count) = wanted.rsplit_once(':')?;
        Some((name.to_owned(), count.parse().ok()?, signal))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);

    if let Some((wanted, count, signal)) = &*WANTED
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        // SAFETY: sends a signal to this thread, which so goes no further; it kills or stops the
        // process, and runs nothing.
        unsafe { libc::raise(*signal) };
    }
}

/// Does nothing.
#[cfg(not(feature = "mutants"))]
#[inline]
pub(crate) const fn point(_: &str) {}
