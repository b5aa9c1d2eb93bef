//! The conformance suite of the core, run over connectors of Python.

use std::sync::{Arc, Mutex, PoisonError};

use proxystore::{Capabilities, Config, Connector, Key, Result, When};
use proxystore_conformance::{CASES, Damage, Elsewhere, Fixture, Outcome};
use pyo3::{
    exceptions::{PyLookupError, PyNotImplementedError},
    prelude::*,
    types::{PyDict, PyTuple},
};

use crate::{convert, door, errors, python_connector::PythonConnector};

/// The cases: a name, the sentence of the contract, and whether it moves gigabytes.
#[pyfunction]
pub(crate) fn conformance_cases() -> Vec<(&'static str, &'static str, bool)> {
    CASES
        .iter()
        .map(|case| (case.name, case.contract, case.heavy))
        .collect()
}

/// Runs one case over a subject of `proxystore.conformance`.
///
/// Returns the outcome (`'passed'`, `'not applicable'`, `'untestable'` or `'failed'`) and what there is
/// to say about it.
#[pyfunction]
pub(crate) fn run_conformance_case(
    py: Python<'_>,
    name: &str,
    subject: Py<PyAny>,
) -> PyResult<(&'static str, String)> {
    let case = CASES
        .iter()
        .find(|case| case.name == name)
        .ok_or_else(|| PyLookupError::new_err(format!("there is no case {name:?}")))?;
    let fixture = Subject::new(py, subject)?;
    door::call(py, || {
        Ok(match case.run(&fixture) {
            Ok(Outcome::Passed) => ("passed", String::new()),
            Ok(Outcome::NotApplicable) => ("not applicable", String::new()),
            Ok(Outcome::Untestable(method)) => ("untestable", method.to_owned()),
            Err(failure) => ("failed", failure.to_string()),
        })
    })
}

/// A subject, as the suite sees it.
struct Subject {
    object: Py<PyAny>,
    capabilities: Capabilities,
    /// Every connector handed out, to find its Python object again.
    opened: Mutex<Vec<Arc<PythonConnector>>>,
}

impl Subject {
    fn new(py: Python<'_>, object: Py<PyAny>) -> PyResult<Self> {
        let capabilities = object.getattr(py, "capabilities")?;
        let capabilities = capabilities_from_python(capabilities.bind(py).cast::<PyDict>()?)?;
        Ok(Self {
            object,
            capabilities,
            opened: Mutex::default(),
        })
    }

    fn ask<T>(&self, body: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> Result<T> {
        Python::attach(|py| {
            body(self.object.bind(py)).map_err(|error| errors::from_python(py, error))
        })
    }

    fn wrap(&self, connector: &Bound<'_, PyAny>) -> PyResult<Arc<dyn Connector>> {
        let make_key = self.object.bind(connector.py()).getattr("make_key")?;
        let connector = Arc::new(PythonConnector::new(
            connector.clone().unbind(),
            make_key.unbind(),
            self.capabilities,
        ));
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push(Arc::clone(&connector));
        Ok(connector)
    }

    fn object_of(&self, connector: &dyn Connector) -> Option<Arc<PythonConnector>> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened
            .iter()
            .find(|known| std::ptr::addr_eq(Arc::as_ptr(known), std::ptr::from_ref(connector)))
            .map(Arc::clone)
    }
}

impl Fixture for Subject {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        self.ask(|subject| self.wrap(&subject.call_method0("open")?))
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        self.ask(|subject| {
            let options = convert::config_to_python(subject.py(), config)?;
            self.wrap(&subject.call_method1("reopen", (options,))?)
        })
    }

    fn foreign_keys(&self) -> Vec<Key> {
        let keys = self.ask(|subject| {
            subject
                .call_method0("foreign_keys")?
                .try_iter()?
                .map(|key| convert::key_fields(&key?))
                .collect::<PyResult<Vec<_>>>()
        });
        // A case without foreign keys fails, which is what a broken subject deserves.
        keys.unwrap_or_default()
    }

    fn stored(&self) -> Option<Vec<String>> {
        self.ask(|subject| subject.call_method0("stored")?.extract())
            .ok()
            .flatten()
    }

    fn damage(&self, key: &Key, damage: Damage) -> Option<Result<()>> {
        let damage = match damage {
            Damage::FlippedBit => "flipped bit",
            Damage::HalfWritten => "half written",
            Damage::Truncated => "truncated",
        };
        let done = self.ask(|subject| {
            let key = key_of(subject, key)?;
            subject
                .call_method1("damage", (key, damage))?
                .extract::<bool>()
        });
        match done {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn while_full(&self, work: &mut dyn FnMut()) -> bool {
        let entered = self.ask(|subject| {
            let full = subject.call_method0("full")?;
            if full.is_none() {
                return Ok(None);
            }
            full.call_method0("__enter__")?;
            Ok(Some(full.unbind()))
        });
        let Ok(Some(full)) = entered else {
            return false;
        };
        work();
        self.ask(|subject| {
            let none = subject.py().None();
            full.bind(subject.py())
                .call_method1("__exit__", (&none, &none, &none))
                .map(drop)
        })
        .is_ok()
    }

    fn get_elsewhere(
        &self,
        connector: &dyn Connector,
        key: &Key,
        elsewhere: Elsewhere,
    ) -> Option<Result<Option<Vec<u8>>>> {
        let connector = self.object_of(connector)?;
        let elsewhere = match elsewhere {
            Elsewhere::Fork => "fork",
            Elsewhere::Process => "process",
        };
        Python::attach(|py| {
            let subject = self.object.bind(py);
            let found = key_of(subject, key).and_then(|key| {
                let arguments = (connector.object(py), key, elsewhere);
                subject
                    .call_method1("get_elsewhere", arguments)?
                    .extract::<Option<Vec<u8>>>()
            });
            match found {
                Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => None,
                found => Some(found.map_err(|error| errors::from_python(py, error))),
            }
        })
    }

    fn plant(&self) -> Option<Box<dyn Fn() -> bool>> {
        let planted = self
            .ask(|subject| subject.call_method0("plant").map(Bound::unbind))
            .ok()?;
        if Python::attach(|py| planted.is_none(py)) {
            return None;
        }
        Some(Box::new(move || {
            Python::attach(|py| planted.bind(py).call0()?.is_truthy()).unwrap_or(false)
        }))
    }
}

fn key_of<'py>(subject: &Bound<'py, PyAny>, key: &Key) -> PyResult<Bound<'py, PyAny>> {
    let fields: Bound<'py, PyTuple> = convert::fields_to_python(subject.py(), key)?;
    subject.call_method1("make_key", fields)
}

fn capabilities_from_python(abilities: &Bound<'_, PyDict>) -> PyResult<Capabilities> {
    let mut capabilities = Capabilities::NONE;
    for (name, value) in abilities {
        let name: String = name.extract()?;
        match name.as_str() {
            "deferrable" => capabilities.deferrable = value.extract()?,
            "crosses_processes" => capabilities.crosses_processes = value.extract()?,
            "crosses_hosts" => capabilities.crosses_hosts = value.extract()?,
            "outlives_process" => capabilities.outlives_process = value.extract()?,
            "remote" => capabilities.remote = value.extract()?,
            "seals" => capabilities.seals = value.extract()?,
            "verifies" => capabilities.verifies = when(&value)?,
            "verifies_deferred" => capabilities.verifies_deferred = when(&value)?,
            "zero_copy" => capabilities.zero_copy = when(&value)?,
            "max_object_size" => capabilities.max_object_size = value.extract()?,
            "transit_memory" => capabilities.transit_memory = value.extract()?,
            _ => {
                return Err(PyLookupError::new_err(format!(
                    "there is no capability {name:?}"
                )));
            }
        }
    }
    Ok(capabilities)
}

fn when(ability: &Bound<'_, PyAny>) -> PyResult<When> {
    Ok(match ability.extract::<Option<bool>>()? {
        Some(true) => When::Always,
        None => When::Depends,
        Some(false) => When::Never,
    })
}
