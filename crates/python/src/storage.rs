//! Looking after what connectors keep, without opening one.

use proxystore::{Config, Factory, Result, Value};
use pyo3::{prelude::*, types::PyDict};

use crate::{convert, door};

/// What the storage of connectors of this kind and options holds at present.
#[pyfunction]
pub(crate) fn report<'py>(kind: &str, options: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    look_after(kind, options, |factory, config| factory.report(config))
}

/// Frees what nobody holds in the storage of connectors of this kind and options; says what it was.
#[pyfunction]
pub(crate) fn collect_garbage<'py>(
    kind: &str,
    options: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    look_after(kind, options, |factory, config| {
        factory.collect_garbage(config)
    })
}

fn look_after<'py>(
    kind: &str,
    options: &Bound<'py, PyDict>,
    act: impl FnOnce(&dyn Factory, &Config) -> Result<Value> + Send,
) -> PyResult<Bound<'py, PyAny>> {
    let py = options.py();
    let config = convert::config_from_python(options)?;
    let content = door::call(py, || act(proxystore::registry().lookup(kind)?, &config))?;
    convert::value_to_python(py, &content)
}
