//! The one Python class for all native connectors.

use std::{slice, sync::Arc};

use proxystore::{CloseOptions, Connector, Deadline, Factory, Key, Payload};
use pyo3::{
    prelude::*,
    types::{PyDict, PyList, PyType},
};

use crate::{
    asyncio::{self, Pace, PyFetch, Request},
    buffer::{self, Gathered, Held},
    convert, door, errors,
};

/// From this size on, a put takes long enough for a signal to arrive meanwhile. In bytes.
const LARGE: usize = 1 << 20;

/// A connector of the native table, opened with the options of a dictionary.
///
/// Keys are instances of the named tuple given to the constructor; everything else about them is
/// the connector's business.
#[pyclass(frozen, name = "Connector", module = "proxystore._native")]
pub(crate) struct PyConnector {
    connector: Arc<dyn Connector>,
    key_type: Py<PyType>,
    pace: Pace,
}

#[pymethods]
impl PyConnector {
    #[new]
    fn new(
        py: Python<'_>,
        kind: &str,
        options: &Bound<'_, PyDict>,
        key_type: Bound<'_, PyType>,
    ) -> PyResult<Self> {
        let config = convert::config_from_python(options)?;
        let connector = door::call(py, || proxystore::registry().open(kind, &config))?;
        Ok(Self {
            pace: Pace::of(&connector.capabilities()),
            connector,
            key_type: key_type.unbind(),
        })
    }

    #[pyo3(signature = (clear=None))]
    fn close(&self, py: Python<'_>, clear: Option<bool>) -> PyResult<()> {
        let options = CloseOptions { clear };
        door::run(py, Deadline::never(), |deadline| {
            self.connector.close(options, deadline)
        })
    }

    fn capabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::capabilities_to_python(py, self.connector.capabilities())
    }

    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        convert::config_to_python(py, &self.connector.config())
    }

    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let statistics = door::call(py, || Ok(self.connector.statistics()))?;
        convert::config_to_python(py, &statistics)
    }

    fn evict(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let key = self.key(key)?;
        door::run(py, Deadline::never(), |deadline| {
            self.connector.evict(&key, deadline)
        })
    }

    fn exists(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = key.py();
        let key = self.key(key)?;
        door::run(py, Deadline::never(), |deadline| {
            self.connector.exists(&key, deadline)
        })
    }

    #[pyo3(signature = (key, copy=false))]
    fn get<'py>(&self, key: &Bound<'py, PyAny>, copy: bool) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = key.py();
        let key = self.key(key)?;
        let memory = door::run(py, Deadline::never(), |deadline| {
            if copy {
                self.connector.get_copy(&key, deadline)
            } else {
                self.connector.get(&key, deadline)
            }
        })?;
        memory
            .map(|memory| buffer::into_python(py, memory))
            .transpose()
    }

    fn get_batch<'py>(&self, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = keys.py();
        let keys = self.keys(keys)?;
        let objects = door::run(py, Deadline::never(), |deadline| {
            self.connector.get_batch(&keys, deadline)
        })?;
        let objects = objects
            .into_iter()
            .map(|memory| {
                memory
                    .map(|memory| buffer::into_python(py, memory))
                    .transpose()
            })
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, objects)
    }

    fn new_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let key = self
            .connector
            .new_key()
            .map_err(|error| errors::to_python(py, &error))?;
        convert::key_to_python(&key, self.key_type.bind(py))
    }

    fn put<'py>(&self, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = obj.py();
        let object = self.borrow(obj)?;
        let payload = object.payload();
        let key = door::run(py, Deadline::never(), |deadline| {
            self.connector.put(payload, deadline)
        })?;
        let key_type = self.key_type.bind(py);
        let hand_out = || {
            answer_late_signals(py, payload.len())?;
            convert::key_to_python(&key, key_type)
        };
        hand_out().inspect_err(|_| self.take_back(py, slice::from_ref(&key)))
    }

    fn put_batch<'py>(&self, objs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = objs.py();
        let objects = objs
            .try_iter()?
            .map(|object| self.borrow(&object?))
            .collect::<PyResult<Vec<_>>>()?;
        let payloads: Vec<Payload<'_>> = objects.iter().map(Gathered::payload).collect();
        let keys = door::run(py, Deadline::never(), |deadline| {
            self.connector.put_batch(&payloads, deadline)
        })?;
        let key_type = self.key_type.bind(py);
        let hand_out = || {
            answer_late_signals(py, payloads.iter().map(Payload::len).sum())?;
            let keys = keys.iter().map(|key| convert::key_to_python(key, key_type));
            PyList::new(py, keys.collect::<PyResult<Vec<_>>>()?)
        };
        hand_out().inspect_err(|_| self.take_back(py, &keys))
    }

    fn set(&self, key: &Bound<'_, PyAny>, obj: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let key = self.key(key)?;
        let object = self.borrow(obj)?;
        let payload = object.payload();
        door::run(py, Deadline::never(), |deadline| {
            self.connector.set(&key, payload, deadline)
        })
    }

    #[pyo3(signature = (clear=None))]
    fn aclose<'py>(&self, py: Python<'py>, clear: Option<bool>) -> PyResult<Bound<'py, PyAny>> {
        self.begin(py, Ok(Request::Close(CloseOptions { clear })))
    }

    fn aevict<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.begin(key.py(), self.key(key).map(Request::Evict))
    }

    fn aexists<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.begin(key.py(), self.key(key).map(Request::Exists))
    }

    #[pyo3(signature = (key, copy=false))]
    fn aget<'py>(&self, key: &Bound<'py, PyAny>, copy: bool) -> PyResult<Bound<'py, PyAny>> {
        let request = if copy { Request::GetCopy } else { Request::Get };
        self.begin(key.py(), self.key(key).map(request))
    }

    fn aget_batch<'py>(&self, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.begin(keys.py(), self.keys(keys).map(Request::GetBatch))
    }

    fn aput<'py>(&self, obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.begin(obj.py(), hold(obj).map(Request::Put))
    }

    fn aput_batch<'py>(&self, objs: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let objects = objs
            .try_iter()
            .and_then(|objs| objs.map(|object| hold(&object?)).collect());
        self.begin(objs.py(), objects.map(Request::PutBatch))
    }

    fn aset<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        obj: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = self
            .key(key)
            .and_then(|key| Ok(Request::Set(key, hold(obj)?)));
        self.begin(key.py(), request)
    }

    /// Begins to get an object, for whoever asks the returned object for it.
    fn fetch(&self, key: &Bound<'_, PyAny>) -> PyResult<PyFetch> {
        let request = Request::Get(self.key(key)?);
        PyFetch::begin(
            &self.connector,
            self.key_type.bind(key.py()),
            self.pace,
            request,
        )
    }

    fn __repr__(&self) -> String {
        format!(
            "<proxystore._native.Connector of kind {}>",
            self.connector.kind()
        )
    }
}

impl PyConnector {
    fn begin<'py>(
        &self,
        py: Python<'py>,
        request: PyResult<Request>,
    ) -> PyResult<Bound<'py, PyAny>> {
        asyncio::begin(&self.connector, self.key_type.bind(py), self.pace, request)
    }

    fn key(&self, key: &Bound<'_, PyAny>) -> PyResult<Key> {
        convert::key_from_python(key, self.key_type.bind(key.py()))
    }

    fn keys(&self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<Key>> {
        keys.try_iter()?.map(|key| self.key(&key?)).collect()
    }

    /// The bytes of an object to put, complete but for what the connector completes.
    fn borrow<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Gathered<'py>> {
        let mut gathered = Gathered::borrow(object)?;
        gathered.seal(object.py(), || self.connector.capabilities().seals)?;
        Ok(gathered)
    }

    /// Removes objects whose keys the caller does not get to know.
    fn take_back(&self, py: Python<'_>, keys: &[Key]) {
        for key in keys {
            // What matters to the caller is why.
            let _ = door::run(py, Deadline::never(), |deadline| {
                self.connector.evict(key, deadline)
            });
        }
    }
}

/// The bytes of an object to put, held until the operation has ended.
fn hold(object: &Bound<'_, PyAny>) -> PyResult<Held> {
    Gathered::borrow(object).map(Held::hold)
}

/// Lets a signal that arrived while a large object was put be heard before its key is handed out:
/// with the key lost to the handler's exception, nobody could remove the object.
fn answer_late_signals(py: Python<'_>, len: usize) -> PyResult<()> {
    if len < LARGE {
        Ok(())
    } else {
        py.check_signals()
    }
}

/// The table of native connectors: a dictionary each with its `kind`, `summary`, `options` (name,
/// type, default, summary) and `capabilities`.
#[pyfunction]
pub(crate) fn connectors(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let table = proxystore::registry()
        .iter()
        .map(|factory| describe(py, factory));
    PyList::new(py, table.collect::<PyResult<Vec<_>>>()?)
}

fn describe<'py>(py: Python<'py>, factory: &dyn Factory) -> PyResult<Bound<'py, PyDict>> {
    let options = factory
        .options()
        .iter()
        .map(|option| (option.name, option.expects, option.default, option.summary))
        .collect::<Vec<_>>();
    let row = PyDict::new(py);
    row.set_item("kind", factory.kind())?;
    row.set_item("summary", factory.summary())?;
    row.set_item("options", options)?;
    row.set_item(
        "capabilities",
        convert::capabilities_to_python(py, factory.capabilities())?,
    )?;
    Ok(row)
}
