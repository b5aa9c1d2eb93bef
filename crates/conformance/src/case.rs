//! One case, and what comes of it.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use proxystore_core::{Capabilities, Error};

use crate::{cases::CASES, fixture::Fixture};

/// One sentence of the contract, and how to find out whether a connector keeps it.
#[derive(Clone, Copy)]
pub struct Case {
    /// Lower-case words with hyphens, unique.
    pub name: &'static str,
    /// The sentence.
    pub contract: &'static str,
    /// Which connectors it is about.
    pub selects: fn(&Capabilities) -> bool,
    /// Moves gigabytes, so that it takes seconds.
    pub heavy: bool,
    pub(crate) body: fn(&dyn Fixture) -> Result<Outcome, Failure>,
}

impl Case {
    /// Finds out whether the fixture's connector keeps the sentence.
    ///
    /// # Errors
    ///
    /// [`Failure`] if it does not, if it panics, or if it cannot be opened.
    pub fn run(&self, fixture: &dyn Fixture) -> Result<Outcome, Failure> {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let capabilities = fixture.open()?.capabilities();
            if !(self.selects)(&capabilities) {
                return Ok(Outcome::NotApplicable);
            }
            (self.body)(fixture)
        }));
        outcome.unwrap_or_else(|panic| Err(Failure::panicked(&*panic)))
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Case").field(&self.name).finish()
    }
}

/// What came of a case that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The connector keeps the sentence.
    Passed,
    /// The sentence does not apply to connectors with these capabilities.
    NotApplicable,
    /// The fixture cannot set the case up: it does not implement the named method.
    Untestable(&'static str),
}

/// How a connector does not keep a sentence.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
}

impl Failure {
    /// A failure; `message` says what was expected and what happened.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }

    fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Self::new(format!("it panicked: {}", text.unwrap_or("unknown reason")))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(format!("an operation that must succeed failed: {error:?}"))
    }
}

/// One case's result for one fixture.
#[derive(Debug)]
pub struct Report {
    /// The case.
    pub case: &'static Case,
    /// What came of it.
    pub result: Result<Outcome, Failure>,
}

/// Runs all cases but the heavy ones, or these as well.
pub fn run(fixture: &dyn Fixture, heavy: bool) -> Vec<Report> {
    let cases = CASES.iter().filter(|case| heavy || !case.heavy);
    let reports = cases.map(|case| Report {
        case,
        result: case.run(fixture),
    });
    reports.collect()
}

/// Runs all cases but the heavy ones. Every one that applies to this connector has to pass, except
/// those that the fixture is known to be unable to set up.
///
/// # Errors
///
/// A readable list of the cases that failed, of those not run without being in `untestable`, and of
/// those in `untestable` that ran after all.
pub fn check(fixture: &dyn Fixture, untestable: &[&str]) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let mut passed = 0;
    for Report { case, result } in run(fixture, false) {
        let expected = untestable.contains(&case.name);
        let problem = match result {
            Ok(Outcome::Passed) if expected => "passed, so it must not be listed".to_owned(),
            Ok(Outcome::Passed) => {
                passed += 1;
                continue;
            }
            Ok(Outcome::NotApplicable) if expected => "does not apply to it".to_owned(),
            Ok(Outcome::NotApplicable) => continue,
            Ok(Outcome::Untestable(_)) if expected => continue,
            Ok(Outcome::Untestable(method)) => format!("was not run: the fixture lacks {method}"),
            Err(failure) => format!("failed: {failure}\n    contract: {}", case.contract),
        };
        problems.push(format!("\n  {} {problem}", case.name));
    }
    for name in untestable {
        if CASES.iter().all(|case| case.name != *name) {
            problems.push(format!("\n  {name} is no case"));
        }
    }
    if problems.is_empty() && passed > 0 {
        return Ok(());
    }
    let problems = problems.concat();
    Err(Failure::new(format!(
        "{passed} cases passed; these did not:{problems}"
    )))
}

/// Fails with a formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::case::Failure::new(format!($($message)+)));
        }
    };
}

pub(crate) use ensure;
