//! The Python extension module `proxystore._native`.
//!
//! # Layout
//!
//! * `door`: the one way out of the interpreter.
//! * `buffer`: bytes in and out by the buffer protocol, without a copy; frames around them.
//! * `convert`, `errors`, `logging`: keys and configurations, exceptions, log records.
//! * `connector`: the one class for all native connectors.
//! * `asyncio`: operations that a loop of asyncio waits for.
//! * `python_connector`: a connector written in Python, usable wherever a native one is.
//! * `conformance`: the contract of connectors, run over either.
//! * `node`: nodes in this process, and what is known of others.
//! * `storage`: looking after what connectors keep.
//! * `streams`: messages through servers.
//! * `proxy`: the native half of the Proxy.

mod asyncio;
mod buffer;
mod conformance;
mod connector;
mod convert;
mod door;
mod errors;
mod logging;
mod node;
mod proxy;
mod python_connector;
mod storage;
mod streams;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::asyncio::{PyFetch, cancel_operation};
    #[pymodule_export]
    use crate::buffer::{PyFrameHeader, PyMemory, join_buffers, make_frame, open_frame};
    #[pymodule_export]
    use crate::conformance::{conformance_cases, run_conformance_case};
    #[pymodule_export]
    use crate::connector::{PyConnector, connectors};
    #[pymodule_export]
    use crate::node::{PyNode, node_owner};
    #[pymodule_export]
    use crate::storage::{collect_garbage, report};
    #[pymodule_export]
    use crate::streams::{PyRedisPublisher, PyRedisQueue, PyRedisSubscriber};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::proxy::register(module)?;
        crate::logging::install(module.py())
    }
}
