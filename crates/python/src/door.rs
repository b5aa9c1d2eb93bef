//! The one door out of the interpreter: release it, run, answer signals, map errors.
//!
//! Nothing else in this crate detaches from the interpreter, but for the proxy's lock.

use std::panic::{self, AssertUnwindSafe};

use proxystore::{Deadline, Operation, Result, Stopped, drive};
use pyo3::prelude::*;

use crate::{buffer, errors, logging};

/// Runs a blocking call of the core, detached from the interpreter.
///
/// # Errors
///
/// The call's error as a Python exception; `InternalError` in place of a panic.
pub(crate) fn call<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    leave(py, || work().map_err(Stopped::Failed))
}

/// Runs the operation that `start` makes to its end, detached from the interpreter.
///
/// # Errors
///
/// The operation's error as a Python exception; `KeyboardInterrupt`, or whatever else a signal
/// handler raised, if a signal arrived while the operation waited; `InternalError` in place of a
/// panic.
pub(crate) fn run<'a, T: Send>(
    py: Python<'_>,
    deadline: Deadline,
    start: impl FnOnce(Deadline) -> Operation<'a, Result<T>> + Send,
) -> PyResult<T> {
    leave(py, || drive(start(deadline), deadline, answer_signals))
}

fn leave<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Stopped<PyErr>> + Send,
) -> PyResult<T> {
    logging::refresh(py)?;
    buffer::release_dropped(py);
    // Nothing that the closure borrows is used again after a panic: the operation is dropped, and
    // its connector keeps no lock across a poll.
    match py.detach(|| panic::catch_unwind(AssertUnwindSafe(work))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Stopped::Failed(error))) => Err(errors::to_python(py, &error)),
        Ok(Err(Stopped::Interrupted(error))) => Err(error),
        Err(panic) => Err(errors::from_panic(py, &*panic)),
    }
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method fixes its lifetime"
)]
fn answer_signals() -> PyResult<()> {
    Python::attach(|py| py.check_signals())
}
