//! A connector's share of a namespace, which ends when the connector is closed.

use std::{
    fmt,
    ops::Deref,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    },
};

use crate::{error::ShmError, namespace::Namespace};

/// A namespace that operations use until it is closed. Closing gives the namespace up as soon as
/// the last operation under way has ended, and waits for none: there is no lock that a forked child
/// could find taken.
pub(crate) struct Share {
    /// From `Arc::into_raw`; null once it is given up.
    namespace: AtomicPtr<Namespace>,
    /// Operations under way.
    users: AtomicUsize,
    closed: AtomicBool,
}

impl Share {
    pub(crate) fn new(namespace: Arc<Namespace>) -> Self {
        Self {
            namespace: AtomicPtr::new(Arc::into_raw(namespace).cast_mut()),
            users: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// The namespace, for one operation.
    pub(crate) fn enter(&self) -> Result<Entered<'_>, ShmError> {
        // Whoever closes either sees this user or is seen by it.
        self.users.fetch_add(1, Ordering::SeqCst);
        let entered = Entered { share: self };
        if self.closed.load(Ordering::SeqCst) {
            return Err(ShmError::Closed);
        }
        Ok(entered)
    }

    /// Ends the share; whether it was this call that did.
    pub(crate) fn close(&self) -> bool {
        let first = !self.closed.swap(true, Ordering::SeqCst);
        self.give_up_if_unused();
        first
    }

    fn give_up_if_unused(&self) {
        if self.closed.load(Ordering::SeqCst) && self.users.load(Ordering::SeqCst) == 0 {
            let namespace = self.namespace.swap(ptr::null_mut(), Ordering::AcqRel);
            if !namespace.is_null() {
                // SAFETY: from `Arc::into_raw`, and taken by this call alone. Nobody uses it: who
                // came before has left, and who comes later finds the share closed.
                drop(unsafe { Arc::from_raw(namespace) });
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // In a child that was forked while another thread was in an operation, that one never ends;
        // then the namespace is left as it is.
        self.close();
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Share")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// The namespace during one operation.
pub(crate) struct Entered<'a> {
    share: &'a Share,
}

impl Entered<'_> {
    /// A share of the namespace that outlasts the operation.
    pub(crate) fn to_owned(&self) -> Arc<Namespace> {
        let namespace = self.share.namespace.load(Ordering::Acquire);
        // SAFETY: from `Arc::into_raw` and not given up while this exists, so there is a share to
        // count another one beside.
        unsafe {
            Arc::increment_strong_count(namespace);
            Arc::from_raw(namespace)
        }
    }
}

impl Deref for Entered<'_> {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        // SAFETY: from `Arc::into_raw`, and given up only when the share is closed and has no user:
        // this is one, and found it open.
        unsafe { &*self.share.namespace.load(Ordering::Acquire) }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if self.share.users.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.share.give_up_if_unused();
        }
    }
}
