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
