//! How the operation that is being polled is carried out.

use std::{cell::RefCell, os::fd::OwnedFd, sync::Arc, time::Instant};

use rustix::event::PollFlags;

/// How an operation is carried out. Descriptors, timers and connections belong to one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colour {
    /// By [`drive`](crate::drive()), on the thread that wants the result.
    Blocking,
    /// By a task on a tokio runtime.
    Shared,
}

impl Colour {
    /// Both, in the order of [`index`](Self::index).
    pub const ALL: [Self; 2] = [Self::Blocking, Self::Shared];

    /// Zero or one, for a table with a place for each.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Blocking => 0,
            Self::Shared => 1,
        }
    }
}

/// How the operation is carried out whose poll is going on in this thread.
#[must_use]
pub fn colour() -> Colour {
    let driven = WAITS.with_borrow(Option::is_some);
    if driven {
        Colour::Blocking
    } else {
        Colour::Shared
    }
}

thread_local! {
    /// What the operation that this thread is driving waits for; none while it drives none.
    static WAITS: RefCell<Option<Waits>> = const { RefCell::new(None) };
}

/// What a pending operation waits for, beside its waker.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    pub(crate) sockets: Vec<(Arc<OwnedFd>, PollFlags)>,
    pub(crate) until: Option<Instant>,
}

impl Waits {
    fn clear(&mut self) {
        self.sockets.clear();
        self.until = None;
    }
}

/// Polls in the blocking colour: whatever is registered meanwhile is then in `waits`.
pub(crate) fn polling<T>(waits: &mut Waits, poll: impl FnOnce() -> T) -> T {
    /// Puts back what an outer poll had, if this one panics, too.
    struct Restore<'a> {
        waits: &'a mut Waits,
        outer: Option<Waits>,
    }
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            let outer = self.outer.take();
            let inner = WAITS.with_borrow_mut(|waits| std::mem::replace(waits, outer));
            *self.waits = inner.unwrap_or_default();
        }
    }
    waits.clear();
    let fresh = std::mem::take(waits);
    let outer = WAITS.with_borrow_mut(|current| current.replace(fresh));
    let restore = Restore { waits, outer };
    let outcome = poll();
    drop(restore);
    outcome
}

/// Lets the driver of the current operation wait for a socket. Nothing happens in the shared
/// colour.
pub(crate) fn wait_for(socket: &Arc<OwnedFd>, events: PollFlags) {
    WAITS.with_borrow_mut(|waits| {
        let Some(waits) = waits else { return };
        let known = waits.sockets.iter_mut();
        match known
            .into_iter()
            .find(|(known, _)| Arc::ptr_eq(known, socket))
        {
            Some((_, flags)) => *flags |= events,
            None => waits.sockets.push((Arc::clone(socket), events)),
        }
    });
}

/// Lets the driver of the current operation poll again at `instant` at the latest.
pub(crate) fn wait_until(instant: Instant) {
    WAITS.with_borrow_mut(|waits| {
        if let Some(waits) = waits {
            waits.until = Some(waits.until.map_or(instant, |until| until.min(instant)));
        }
    });
}
