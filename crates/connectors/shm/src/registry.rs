//! The namespaces that this process has joined, over its forks and to its exit.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, OnceLock, Weak},
};

use crate::{
    error::ShmError,
    membership::{ForkedMembership, Inode, Leaving, Membership},
    namespace::Namespace,
    per_process::PerProcess,
};

static ENTRIES: PerProcess<Mutex<Vec<Entry>>> = PerProcess::new(Mutex::default);

#[derive(Clone, Debug)]
struct Entry {
    inode: Inode,
    namespace: Weak<Namespace>,
    /// Outlives the namespace for as long as there are views.
    membership: Weak<Membership>,
}

/// This process's share of the namespace in a directory, made if there is none.
pub(crate) fn join(
    there: Option<Inode>,
    make: impl FnOnce() -> Result<(Inode, Arc<Namespace>), ShmError>,
) -> Result<Arc<Namespace>, ShmError> {
    install_handlers();
    let mut entries = ENTRIES.lock();
    if let Some(namespace) = find_in(&entries, there) {
        return Ok(namespace);
    }
    let (inode, namespace) = make()?;
    // What was made between the look and the making may be ours already.
    if let Some(known) = find_in(&entries, Some(inode)) {
        return Ok(known);
    }
    insert(&mut entries, inode, &namespace);
    Ok(namespace)
}

/// This process's share of the namespace in a directory, if it has one.
pub(crate) fn find(there: Option<Inode>) -> Option<Arc<Namespace>> {
    find_in(&ENTRIES.lock(), there)
}

/// Knows a namespace again that was joined before a fork which nobody was told of.
pub(crate) fn keep(namespace: &Arc<Namespace>) -> Result<(), ShmError> {
    let inode = namespace.membership.directory().inode()?;
    let mut entries = ENTRIES.lock();
    let this = Arc::downgrade(namespace);
    if !entries.iter().any(|entry| entry.namespace.ptr_eq(&this)) {
        insert(&mut entries, inode, namespace);
    }
    Ok(())
}

fn find_in(entries: &[Entry], there: Option<Inode>) -> Option<Arc<Namespace>> {
    let there = there?;
    let mut found = entries.iter().filter(|entry| entry.inode == there);
    found.find_map(|entry| entry.namespace.upgrade())
}

fn insert(entries: &mut Vec<Entry>, inode: Inode, namespace: &Arc<Namespace>) {
    entries.retain(|entry| entry.membership.strong_count() > 0);
    entries.push(Entry {
        inode,
        namespace: Arc::downgrade(namespace),
        membership: Arc::downgrade(&namespace.membership),
    });
}

fn install_handlers() {
    static INSTALLED: OnceLock<()> = OnceLock::new();

    INSTALLED.get_or_init(|| {
        // SAFETY: the handlers are functions of this library, which is never unloaded. They take
        // locks of this crate, which no thread holds while it forks, and allocate, which the C
        // library allows before a fork and, in the forking thread, after it.
        let told = unsafe {
            libc::pthread_atfork(
                Some(before_fork),
                Some(after_in_parent),
                Some(after_in_child),
            )
        };
        // SAFETY: as above; exit handlers may do what any code may.
        let leaves = unsafe { libc::atexit(at_exit) };
        if told != 0 || leaves != 0 {
            tracing::warn!("there is no memory to be told of forks and of the exit");
        }
    });
}

/// All that stands still during a fork.
struct Fork {
    memberships: Vec<ForkedMembership>,
    entries: MutexGuard<'static, Vec<Entry>>,
}

thread_local! {
    /// Between the handlers, which the forking thread runs.
    static FORK: RefCell<Option<Fork>> = const { RefCell::new(None) };
}

extern "C" fn before_fork() {
    let entries = ENTRIES.lock();
    let memberships = entries
        .iter()
        .filter_map(|entry| entry.membership.upgrade())
        .map(ForkedMembership::prepare)
        .collect();
    let fork = Fork {
        memberships,
        entries,
    };
    // Without it, in a thread that ends, the child finds out by itself.
    let _ = FORK.try_with(|slot| slot.replace(Some(fork)));
}

extern "C" fn after_in_parent() {
    if let Some(fork) = take() {
        let memberships = fork.memberships.into_iter();
        let memberships: Vec<_> = memberships.map(ForkedMembership::in_parent).collect();
        drop(fork.entries);
        // Leaving a namespace takes a while that nobody else should wait for.
        drop(memberships);
    }
}

extern "C" fn after_in_child() {
    if let Some(fork) = take() {
        let memberships = fork.memberships.into_iter();
        let memberships: Vec<_> = memberships.map(ForkedMembership::in_child).collect();
        let entries = fork.entries.clone();
        drop(fork.entries);
        *ENTRIES.lock() = entries;
        drop(memberships);
    }
}

fn take() -> Option<Fork> {
    FORK.try_with(RefCell::take).ok().flatten()
}

extern "C" fn at_exit() {
    // Those of a child that was not told of its fork are its parent's.
    let entries = ENTRIES.lock().clone();
    for entry in entries {
        match (entry.namespace.upgrade(), entry.membership.upgrade()) {
            (Some(namespace), _) => namespace.leave_at_exit(),
            (None, Some(membership)) => membership.leave(Leaving::Exits),
            (None, None) => {}
        }
    }
}
