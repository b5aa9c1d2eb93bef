//! The one place where errors of the core become exceptions of Python.

use std::path::Path;

use proxystore::{Error, ErrorKind};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyType};
use rustix::io::Errno;

/// The exception for `error`: a class of `proxystore.connectors.exceptions`, chosen by kind.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).unwrap_or_else(|failure| failure)
}

/// What a panic that was caught at the door becomes.
pub(crate) fn from_panic(py: Python<'_>, panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown".to_owned());
    let message = format!("proxystore failed internally, please report it: {text}");
    class(py, "InternalError")
        .and_then(|class| class.call1((message,)))
        .map_or_else(|failure| failure, PyErr::from_value)
}

/// An error about `key`, which the connector named `kind` cannot have made.
pub(crate) fn foreign_key(py: Python<'_>, message: String) -> PyErr {
    class(py, "ConnectorKeyError")
        .and_then(|class| class.call1((message,)))
        .map_or_else(|failure| failure, PyErr::from_value)
}

/// The core's error for an exception that a connector written in Python raised.
pub(crate) fn from_python(py: Python<'_>, error: PyErr) -> Error {
    let kind = KINDS.iter().find(|(name, _)| {
        class(py, name).is_ok_and(|class| error.matches(py, class).unwrap_or(false))
    });
    let kind = kind.map_or(ErrorKind::Internal, |(_, kind)| *kind);
    Error::new(kind, error.to_string()).with_source(error)
}

/// The classes that stand for one kind each, in both directions.
const KINDS: [(&str, ErrorKind); 10] = [
    ("ConnectorClosedError", ErrorKind::Closed),
    ("ConnectorConfigError", ErrorKind::InvalidConfig),
    ("ConnectorKeyError", ErrorKind::InvalidKey),
    ("ConnectorPermissionError", ErrorKind::PermissionDenied),
    ("ConnectorTimeoutError", ErrorKind::TimedOut),
    ("ConnectorUnavailableError", ErrorKind::Unavailable),
    ("InternalError", ErrorKind::Internal),
    ("ObjectCorruptedError", ErrorKind::Corrupted),
    ("ObjectTooLargeError", ErrorKind::TooLarge),
    ("UnsupportedOperationError", ErrorKind::Unsupported),
];

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let class = class(py, class_name(error))?;
    // A server that is full says so in its own way.
    let is_full = error.kind() == ErrorKind::StorageFull;
    let full = is_full.then(|| Errno::NOSPC.raw_os_error());
    let value = match error.os_error().or(full) {
        Some(errno) if is_os_error(error.kind()) => {
            let path = error.path().map(Path::as_os_str);
            class.call1((errno, error.to_string(), path))?
        }
        _ => class.call1((error.to_string(),))?,
    };
    Ok(PyErr::from_value(value))
}

fn is_os_error(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Os | ErrorKind::PermissionDenied | ErrorKind::StorageFull
    )
}

fn class_name(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Os if error.os_error() == Some(Errno::NOENT.raw_os_error()) => {
            "ConnectorPathError"
        }
        ErrorKind::StorageFull | ErrorKind::Os => "ConnectorOSError",
        // The enumeration may grow: an unknown kind is still a connector's error.
        kind => KINDS
            .iter()
            .find(|(_, known)| *known == kind)
            .map_or("ConnectorError", |(name, _)| name),
    }
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || {
        py.import("proxystore.connectors.exceptions")
            .map(Bound::unbind)
    })?;
    Ok(module.bind(py).getattr(name)?.cast_into::<PyType>()?)
}
