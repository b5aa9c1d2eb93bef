//! A get that is under way before anybody waits for it.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use proxystore::{Connector, Deadline, Error, ErrorKind, Operation};
use proxystore_runtime::{generation, shared::handle};
use pyo3::{
    prelude::*,
    types::{PyAny, PyType},
};

use super::{
    begin::{Pace, into_python, running_loop, settled},
    bridge::Bridge,
    job::{Asked, Switch, Work},
    request::{Done, Outcome, Request},
};
use crate::{door, errors};

/// A get on the shared runtime, whose result threads and loops may wait for.
#[pyclass(frozen, name = "Fetch", module = "proxystore._native")]
pub(crate) struct PyFetch {
    progress: Arc<Progress>,
    switch: Arc<Switch>,
    key_type: Py<PyType>,
    generation: u64,
}

impl PyFetch {
    /// Begins a request.
    ///
    /// # Errors
    ///
    /// If the runtime cannot be started.
    pub(crate) fn begin(
        connector: &Arc<dyn Connector>,
        key_type: &Bound<'_, PyType>,
        pace: Pace,
        request: Request,
    ) -> PyResult<Self> {
        let py = key_type.py();
        let progress = Arc::<Progress>::default();
        let switch = Arc::<Switch>::default();
        match pace.at_once(py, connector, request) {
            Ok(done) => progress.end(done?),
            Err(request) => {
                let runtime = handle().map_err(|error| errors::to_python(py, &error))?;
                let end = End(Some(Arc::clone(&progress)));
                match pace.work(connector, request) {
                    Work::Task(future) => switch.turn_on(|| {
                        let task = runtime.spawn(async move { end.with(future.await) });
                        task.abort_handle()
                    }),
                    Work::Thread(call) => switch.turn_on(|| {
                        let call = runtime.spawn_blocking(move || end.with(call()));
                        call.abort_handle()
                    }),
                }
            }
        }
        Ok(Self {
            progress,
            switch,
            key_type: key_type.clone().unbind(),
            generation: generation(),
        })
    }
}

#[pymethods]
impl PyFetch {
    /// Stops it. Whoever waits is told so.
    fn cancel(&self) {
        if !self.lost() {
            self.switch.turn_off();
        }
    }

    /// Whether `result` would return at once.
    fn done(&self) -> bool {
        !self.lost() && self.progress.is_done()
    }

    /// Whether this is a forked child's copy: the result is for the parent.
    #[getter]
    fn lost(&self) -> bool {
        self.generation != generation()
    }

    /// Waits for the result, and hands it out, once.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let progress = &*self.progress;
        let done = door::run(py, Deadline::never(), |_| {
            Operation::pending(poll_fn(|context| progress.poll(context).map(Ok)))
        })?;
        into_python(py, done, self.key_type.bind(py))
    }

    /// A future of the running loop that is done when the result is there.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = running_loop(py)?;
        if self.done() {
            return settled(&event_loop, Ok(py.None().into_bound(py)));
        }
        let progress = Arc::clone(&self.progress);
        let work = Work::Task(Box::pin(async move {
            poll_fn(|context| progress.poll_done(context)).await;
            Done {
                outcome: Ok(Outcome::Nothing),
                held: Vec::new(),
            }
        }));
        let key_type = self.key_type.bind(py);
        Bridge::of(&event_loop)?.submit(&event_loop, key_type, Asked::Alone(work))
    }
}

/// How far a request is.
#[derive(Default)]
struct Progress(Mutex<State>);

enum State {
    /// Who waits.
    Waiting(Vec<Waker>),
    /// None if the result was handed out.
    Done(Option<Done>),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl Progress {
    fn is_done(&self) -> bool {
        matches!(*self.lock(), State::Done(_))
    }

    fn end(&self, done: Done) {
        let before = std::mem::replace(&mut *self.lock(), State::Done(Some(done)));
        if let State::Waiting(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn poll_done(&self, context: &Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            State::Done(_) => Poll::Ready(()),
            State::Waiting(wakers) => {
                if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Done> {
        std::task::ready!(self.poll_done(context));
        let done = match &mut *self.lock() {
            State::Done(done) => done.take(),
            State::Waiting(_) => None,
        };
        Poll::Ready(done.unwrap_or_else(|| {
            let message = "the result of an operation is handed out once";
            Done::failed(Error::new(ErrorKind::Internal, message))
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The obligation to say how it ended.
struct End(Option<Arc<Progress>>);

impl End {
    fn with(mut self, done: Done) {
        if let Some(progress) = self.0.take() {
            progress.end(done);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(progress) = self.0.take() {
            let message = "the operation was cancelled";
            progress.end(Done::failed(Error::new(ErrorKind::Closed, message)));
        }
    }
}
