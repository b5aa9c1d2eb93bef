//! A connector written in Python, usable wherever a native one is.

use std::fmt;

use proxystore::{
    Capabilities, CloseOptions, Config, Connector, Deadline, Error, ErrorKind, Key, Memory,
    Operation, Payload, Result,
};
use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};

use crate::{
    buffer::{self, Gathered},
    convert, errors,
};

/// Calls the methods of a Python object that has the protocol of connectors.
///
/// Objects cross as `bytes`, since that is what connectors of others take, hence one copy each way.
/// The object is called with the interpreter attached, and blocks the calling thread.
pub(crate) struct PythonConnector {
    object: Py<PyAny>,
    /// Makes the connector's key from the fields of a core key.
    make_key: Py<PyAny>,
    capabilities: Capabilities,
}

impl PythonConnector {
    /// A connector around `object`; `make_key` is called with the fields of a key and returns the
    /// key as the connector made it, so a named tuple does.
    pub(crate) fn new(object: Py<PyAny>, make_key: Py<PyAny>, capabilities: Capabilities) -> Self {
        Self {
            object,
            make_key,
            capabilities,
        }
    }

    /// The connector in Python.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.object.bind(py).clone()
    }

    fn call<T>(
        &self,
        key: Option<&Key>,
        body: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Operation<'static, Result<T>> {
        let outcome = Python::try_attach(|py| {
            body(self.object.bind(py)).map_err(|error| {
                let error = errors::from_python(py, error);
                match key {
                    Some(key) => error.with_key(key),
                    None => error,
                }
            })
        });
        Operation::ready(outcome.unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::Closed,
                "the interpreter is shutting down",
            ))
        }))
    }

    fn check_deferrable(&self) -> Result<()> {
        if self.capabilities.deferrable {
            return Ok(());
        }
        let message = "the connector cannot name an object before it is put";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn key<'py>(&self, py: Python<'py>, key: &Key) -> PyResult<Bound<'py, PyAny>> {
        self.make_key
            .bind(py)
            .call1(convert::fields_to_python(py, key)?)
    }
}

impl fmt::Debug for PythonConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("PythonConnector")
            .field(&self.object)
            .finish()
    }
}

impl Connector for PythonConnector {
    fn kind(&self) -> &'static str {
        "python"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn config(&self) -> Config {
        let config = self.call(None, |object| {
            convert::config_from_python(object.call_method0("config")?.cast::<PyDict>()?)
        });
        // What has no configuration of plain values cannot be opened again either.
        config
            .into_ready()
            .ok()
            .and_then(Result::ok)
            .unwrap_or_default()
    }

    fn put<'a>(&'a self, payload: Payload<'a>, _: Deadline) -> Operation<'a, Result<Key>> {
        self.call(None, |object| {
            let key = object.call_method1("put", (buffer::join(object.py(), payload)?,))?;
            convert::key_fields(&key)
        })
    }

    fn get<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<Option<Memory>>> {
        self.call(Some(key), |object| {
            memory(&object.call_method1("get", (self.key(object.py(), key)?,))?)
        })
    }

    fn put_batch<'a>(
        &'a self,
        payloads: &'a [Payload<'a>],
        _: Deadline,
    ) -> Operation<'a, Result<Vec<Key>>> {
        self.call(None, |object| {
            let objects = payloads
                .iter()
                .map(|payload| buffer::join(object.py(), *payload));
            let objects = objects.collect::<PyResult<Vec<_>>>()?;
            object
                .call_method1("put_batch", (objects,))?
                .try_iter()?
                .map(|key| convert::key_fields(&key?))
                .collect()
        })
    }

    fn get_batch<'a>(
        &'a self,
        keys: &'a [Key],
        _: Deadline,
    ) -> Operation<'a, Result<Vec<Option<Memory>>>> {
        let mut culprit = None;
        let found = self.call(None, |object| {
            let objects = keys.iter().map(|key| self.key(object.py(), key));
            let objects = objects.collect::<PyResult<Vec<_>>>()?;
            object
                .call_method1("get_batch", (&objects,))
                .inspect_err(|error| {
                    let said = error.to_string();
                    let mut pairs = keys.iter().zip(&objects);
                    culprit = pairs
                        .find(|(_, object)| object.cast().is_ok_and(|key| names(&said, key)))
                        .map(|(key, _)| key);
                })?
                .try_iter()?
                .map(|found| memory(&found?))
                .collect()
        });
        match found.into_ready() {
            Ok(found) => Operation::ready(found.map_err(|error| match culprit {
                Some(key) => error.with_key(key),
                None => error,
            })),
            Err(found) => found,
        }
    }

    fn exists<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<bool>> {
        self.call(Some(key), |object| {
            object
                .call_method1("exists", (self.key(object.py(), key)?,))?
                .is_truthy()
        })
    }

    fn evict<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<()>> {
        self.call(Some(key), |object| {
            object
                .call_method1("evict", (self.key(object.py(), key)?,))
                .map(drop)
        })
    }

    fn new_key(&self) -> Result<Key> {
        self.check_deferrable()?;
        self.call(None, |object| {
            convert::key_fields(&object.call_method0("new_key")?)
        })
        .into_ready()
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a key was not ready")))
    }

    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        _: Deadline,
    ) -> Operation<'a, Result<()>> {
        if let Err(error) = self.check_deferrable() {
            return Operation::ready(Err(error));
        }
        self.call(Some(key), |object| {
            let py = object.py();
            object
                .call_method1("set", (self.key(py, key)?, buffer::join(py, payload)?))
                .map(drop)
        })
    }

    fn close(&self, options: CloseOptions, _: Deadline) -> Operation<'_, Result<()>> {
        self.call(None, |object| match options.clear {
            // Only what keeps objects beyond the process has something to clear.
            Some(clear) if self.capabilities.outlives_process => {
                object.call_method1("close", (clear,)).map(drop)
            }
            _ => object.call_method0("close").map(drop),
        })
    }
}

/// Whether a message names a key, or one within it, as Python shows it or as the core does.
fn names(message: &str, key: &Bound<'_, PyTuple>) -> bool {
    let as_python = key
        .repr()
        .is_ok_and(|key| message.contains(&*key.to_string_lossy()));
    let as_core = || convert::key_fields(key).is_ok_and(|key| message.contains(&key.to_string()));
    let within = || {
        key.iter()
            .any(|item| item.cast().is_ok_and(|key| names(message, key)))
    };
    as_python || as_core() || within()
}

/// What a connector's `get` returned.
fn memory(found: &Bound<'_, PyAny>) -> PyResult<Option<Memory>> {
    if found.is_none() {
        return Ok(None);
    }
    let bytes = Gathered::borrow(found)?;
    Ok(Some(Memory::copied_from(bytes.payload().segments())?))
}
