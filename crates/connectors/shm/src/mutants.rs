//! Defects of the protocol that tests switch on, to show that they would be noticed.
//!
//! Without the feature `mutants`, which nothing but this crate's tests asks for, none of them exists.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A reader looks at the state before it pins, and not again.
    CheckBeforePin,
    /// A reader does not look at a cell's state again after copying it.
    NoRecheck,
    /// Neither readers nor recyclers order their pins and states.
    NoFence,
    /// Whoever leaves a namespace last unlinks its lock file.
    UnlinkLock,
    /// A process that forks makes its child a member only when the child asks for it.
    NoHeir,
    /// A forked child keeps the locks that it inherits.
    KeptLocks,
    /// A child that nobody was told of goes on as if it were its parent.
    SameProcess,
    /// Whoever sets a deferred key leaves the object that was there before.
    KeepReplaced,
    /// A reader takes a segment for what its key named whatever its generation.
    AnyGeneration,
}

/// Whether a defect is switched on: by the environment variable `PROXYSTORE_SHM_MUTANT`, which
/// names it.
#[cfg(feature = "mutants")]
pub(crate) fn is_active(mutant: Mutant) -> bool {
    use std::sync::LazyLock;

    static NAMED: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("PROXYSTORE_SHM_MUTANT").ok());
    NAMED
        .as_deref()
        .is_some_and(|named| named == format!("{mutant:?}"))
}

/// Whether a defect is switched on: never.
#[cfg(not(feature = "mutants"))]
#[inline]
pub(crate) const fn is_active(_: Mutant) -> bool {
    false
}
