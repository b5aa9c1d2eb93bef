//! Nodes in this process, and what is known of those in others.

use std::sync::{Mutex, PoisonError};

use proxystore::{
    Error, ErrorKind, Result,
    node::{Node, NodeOptions, place::Owner},
};
use pyo3::{prelude::*, types::PyDict};

use crate::{convert, door};

/// A node of this process.
#[pyclass(frozen, name = "Node", module = "proxystore._native")]
pub(crate) struct PyNode {
    /// None once it has stopped.
    node: Mutex<Option<Node>>,
    address: String,
}

#[pymethods]
impl PyNode {
    #[new]
    fn new(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = options.py();
        let config = convert::config_from_python(options)?;
        let node = door::call(py, || Ok(Node::start(NodeOptions::from_config(&config)?)?))?;
        Ok(Self {
            address: node.address().to_string(),
            node: Mutex::new(Some(node)),
        })
    }

    /// Where it listens.
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = door::call(py, || {
            let node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
            let closed = || Error::new(ErrorKind::Closed, "the node has stopped");
            node.as_ref().map(Node::status).ok_or_else(closed)
        })?;
        let status = status.into_iter();
        let status = status.map(|(name, value)| (name, i64::try_from(value).unwrap_or(i64::MAX)));
        convert::config_to_python(py, &status.collect())
    }

    /// Stops it, once its clients have finished or the seconds are over; whether they have.
    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let deadline = convert::deadline_in(timeout)?;
        door::call(py, || {
            let node = self.take();
            Ok(node.is_none_or(|node| node.stop(deadline)))
        })
    }
}

impl PyNode {
    fn take(&self) -> Option<Node> {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        node.take()
    }
}

impl Drop for PyNode {
    fn drop(&mut self) {
        let Some(node) = self.take() else {
            return;
        };
        // Its threads may be about to log something, which they do in the interpreter.
        let _ = Python::try_attach(|py| {
            door::call(py, || {
                drop(node);
                Ok(())
            })
        });
    }
}

/// The node of this user on a port of this host: its process, whether that is a daemon, and where it
/// listens; none if there is no node.
#[pyfunction]
pub(crate) fn node_owner(py: Python<'_>, port: u16) -> PyResult<Option<(u32, bool, String)>> {
    let owner = door::call(py, || -> Result<_> {
        Owner::of(port).map_err(|error| Error::from_io("it cannot be seen who is a node", error))
    })?;
    Ok(owner.map(|owner| (owner.process, owner.is_daemon, owner.address)))
}
