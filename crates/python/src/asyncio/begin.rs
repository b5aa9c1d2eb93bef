//! Where a request is carried out.

use std::sync::Arc;

use proxystore::{Capabilities, Connector};
use pyo3::{
    exceptions::PyException,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyAny, PyType},
};

use super::{
    bridge::Bridge,
    job::{Asked, Work},
    request::{Done, Request},
};
use crate::{buffer, door, errors};

/// From this size on, copying an object into memory keeps a loop from its other work for longer
/// than handing it over to a thread does. In bytes.
const LARGE: usize = 256 << 10;

/// How long the methods of a connector take to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As long as memory takes.
    Memory,
    /// As long as a file system takes, which may wait for a disk or for another host.
    Blocking,
    /// They wait for a server or a peer, and never block meanwhile.
    Remote,
}

impl Pace {
    /// The pace of a connector with these abilities.
    pub(crate) const fn of(capabilities: &Capabilities) -> Self {
        if capabilities.remote {
            Self::Remote
        } else if capabilities.crosses_hosts {
            // Without a server, what other hosts see is a file system.
            Self::Blocking
        } else {
            Self::Memory
        }
    }

    /// Whether a request takes so little time that a loop can wait for it.
    fn is_instant(self, request: &Request) -> bool {
        match request {
            _ if self != Self::Memory => false,
            Request::Close(_) | Request::GetCopy(_) => false,
            Request::Put(_) | Request::PutBatch(_) | Request::Set(..) => request.len() < LARGE,
            _ => true,
        }
    }

    /// How a loop asks for a request that is not instant.
    fn ask(self, connector: &Arc<dyn Connector>, request: Request) -> Asked {
        match request {
            Request::Get(key) if self == Self::Remote => Asked::Get(Arc::clone(connector), key),
            request => Asked::Alone(self.work(connector, request)),
        }
    }

    /// How the request is carried out by itself if it is not instant.
    pub(super) fn work(self, connector: &Arc<dyn Connector>, request: Request) -> Work {
        let connector = Arc::clone(connector);
        if self == Self::Remote {
            Work::Task(Box::pin(async move {
                request.carry_out(&connector, self).await
            }))
        } else {
            Work::Thread(Box::new(move || request.carry_out_here(&connector, self)))
        }
    }

    /// The outcome of a request that is instant.
    ///
    /// # Errors
    ///
    /// The request, if it is not.
    pub(super) fn at_once(
        self,
        py: Python<'_>,
        connector: &Arc<dyn Connector>,
        request: Request,
    ) -> Result<PyResult<Done>, Request> {
        if !self.is_instant(&request) {
            return Err(request);
        }
        Ok(door::call(py, || {
            Ok(request.carry_out_here(connector, self))
        }))
    }
}

/// Begins a request for the loop that runs in this thread, and returns its future.
///
/// # Errors
///
/// `RuntimeError` if no loop runs in this thread. Whatever is wrong with the request itself, the
/// future says.
pub(crate) fn begin<'py>(
    connector: &Arc<dyn Connector>,
    key_type: &Bound<'py, PyType>,
    pace: Pace,
    request: PyResult<Request>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = key_type.py();
    let event_loop = running_loop(py)?;
    let request = match request {
        Ok(request) => request,
        Err(error) => return settled(&event_loop, Err(error)),
    };
    let done = match pace.at_once(py, connector, request) {
        Ok(done) => done?,
        Err(request) => {
            let asked = pace.ask(connector, request);
            return Bridge::of(&event_loop)?.submit(&event_loop, key_type, asked);
        }
    };
    settled(&event_loop, into_python(py, done, key_type))
}

/// What a request gives, in Python. Its buffers are released.
pub(super) fn into_python<'py>(
    py: Python<'py>,
    done: Done,
    key_type: &Bound<'py, PyType>,
) -> PyResult<Bound<'py, PyAny>> {
    for held in done.held {
        held.release(py);
    }
    buffer::release_dropped(py);
    match done.outcome {
        Ok(outcome) => outcome.into_python(py, key_type),
        Err(error) => Err(errors::to_python(py, &error)),
    }
}

/// The loop that runs in this thread.
///
/// # Errors
///
/// `RuntimeError` if there is none.
pub(super) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let function = FUNCTION.get_or_try_init(py, || {
        py.import("asyncio")?
            .getattr("get_running_loop")
            .map(Bound::unbind)
    })?;
    function.bind(py).call0()
}

/// A future of the loop that is done.
pub(super) fn settled<'py>(
    event_loop: &Bound<'py, PyAny>,
    outcome: PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let future = event_loop.call_method0(intern!(py, "create_future"))?;
    match outcome {
        Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
        Err(error) if error.is_instance_of::<PyException>(py) => {
            future.call_method1(intern!(py, "set_exception"), (error.into_value(py),))?
        }
        // Whatever ends a program ends it here and now.
        Err(error) => return Err(error),
    };
    Ok(future)
}
