//! Between a loop of asyncio and the shared runtime.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use proxystore::Error;
use proxystore_fork::PerProcess;
use proxystore_runtime::generation;
use pyo3::{
    PyTraverseError, PyVisit,
    exceptions::PyException,
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{IntoPyDict, PyAny, PyType, PyWeakrefMethods, PyWeakrefReference},
};

use super::{
    begin::into_python,
    job::{Asked, Job, Switch, Ticket, hand_over},
    mailbox::{Arrival, Mailbox, Place},
};
use crate::{buffer, errors};

/// The most results that a loop is given in one turn.
const TURN: usize = 512;

/// The most requests that wait for the end of the loop's turn: they are under way while the loop
/// makes more.
const BURST: usize = 64;

/// The bridges of this process, by the addresses of their loops.
static BRIDGES: PerProcess<Mutex<HashMap<usize, Weak<Bridge>>>> = PerProcess::new(Mutex::default);

/// Tells futures apart that were at the same address one after the other.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// What one loop has under way.
///
/// It lives as long as the loop watches its mailbox, which is until the loop is closed. Then whatever
/// is under way is stopped.
pub(super) struct Bridge {
    event_loop: Py<PyWeakrefReference>,
    address: usize,
    /// A forked child inherits loops and bridges, and must leave alone what they stand for.
    generation: u64,
    mailbox: Arc<Mailbox>,
    flush: Py<PyFlush>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Futures by their addresses.
    under_way: HashMap<usize, Entry>,
    /// What is handed over at the end of the loop's turn, or when it is many.
    jobs: Vec<Job>,
    /// Whether the loop is going to hand over what there is.
    is_flush_due: bool,
}

/// A future that waits.
struct Entry {
    serial: u64,
    future: Py<PyAny>,
    key_type: Py<PyType>,
    switch: Arc<Switch>,
}

impl Bridge {
    /// The bridge of a loop, made when the loop first needs one.
    ///
    /// # Errors
    ///
    /// What the loop raises if it cannot watch descriptors; `OSError` if there are none left.
    pub(super) fn of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let py = event_loop.py();
        let address = event_loop.as_ptr() as usize;
        let known = BRIDGES.lock().get(&address).and_then(Weak::upgrade);
        if let Some(known) = known
            && known.is_of(event_loop)
        {
            return Ok(known);
        }
        let mailbox = Mailbox::new().map_err(|error| {
            let message = "there is no descriptor to tell a loop of results by";
            errors::to_python(py, &Error::from_io(message, error))
        })?;
        let flush = Py::new(py, PyFlush(Mutex::new(Weak::new())))?;
        let bridge = Arc::new(Self {
            event_loop: PyWeakrefReference::new(event_loop)?.unbind(),
            address,
            generation: generation(),
            mailbox: Arc::new(mailbox),
            flush,
            state: Mutex::default(),
        });
        *lock(&bridge.flush.get().0) = Arc::downgrade(&bridge);
        bridge.watch(event_loop)?;
        BRIDGES.lock().insert(address, Arc::downgrade(&bridge));
        Ok(bridge)
    }

    /// Lets the loop look into the mailbox whenever there is something in it.
    fn watch(self: &Arc<Self>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = event_loop.py();
        let reader = Py::new(py, PyBridge(Arc::clone(self)))?;
        // In a context of its own: the loop would keep that of whoever comes first for good.
        let context = py.import("contextvars")?.call_method0("Context")?;
        let add_reader = event_loop.getattr("add_reader")?;
        context.call_method1("run", (add_reader, self.mailbox.descriptor(), reader))?;
        Ok(())
    }

    fn is_of(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        let own = self.event_loop.bind(event_loop.py()).upgrade();
        own.is_some_and(|own| own.is(event_loop))
    }

    /// Queues work, and returns the future of its result.
    pub(super) fn submit<'py>(
        self: &Arc<Self>,
        event_loop: &Bound<'py, PyAny>,
        key_type: &Bound<'py, PyType>,
        asked: Asked,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = event_loop.py();
        // Told its loop, it does not look for it.
        let of_loop = [(intern!(py, "loop"), event_loop)].into_py_dict(py)?;
        let future = future_class(py)?.call((), Some(&of_loop))?;
        let address = future.as_ptr() as usize;
        let switch = Arc::<Switch>::default();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let entry = Entry {
            serial,
            future: future.clone().unbind(),
            key_type: key_type.clone().unbind(),
            switch: Arc::clone(&switch),
        };
        let mut state = lock(&self.state);
        state.under_way.insert(address, entry);
        let ticket = Ticket::new(Arc::downgrade(&self.mailbox), Place { address, serial });
        state.jobs.push(Job {
            asked,
            ticket,
            switch,
        });
        let burst = if state.jobs.len() < BURST {
            Vec::new()
        } else {
            std::mem::take(&mut state.jobs)
        };
        let is_first = !std::mem::replace(&mut state.is_flush_due, true);
        drop(state);
        if is_first {
            let flush = event_loop.call_method1(intern!(py, "call_soon"), (&self.flush,));
            flush.inspect_err(|_| lock(&self.state).is_flush_due = false)?;
        }
        if !burst.is_empty() {
            hand_over(burst);
        }
        Ok(future)
    }

    /// Takes a future out, if it is the one that a place is for.
    fn withdraw(&self, address: usize, serial: Option<u64>) -> Option<Entry> {
        let mut state = lock(&self.state);
        let found = state.under_way.get(&address)?;
        if serial.is_some_and(|serial| serial != found.serial) {
            return None;
        }
        state.under_way.remove(&address)
    }

    /// Gives results to their futures.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_inherited() {
            return Ok(());
        }
        let mut arrivals = self.mailbox.take(TURN);
        let outcome = self.settle_all(py, &mut arrivals);
        self.mailbox.put_back(arrivals);
        buffer::release_dropped(py);
        outcome
    }

    fn settle_all(&self, py: Python<'_>, arrivals: &mut VecDeque<Arrival>) -> PyResult<()> {
        while let Some(Arrival { place, done }) = arrivals.pop_front() {
            match self.withdraw(place.address, Some(place.serial)) {
                Some(entry) => {
                    let key_type = entry.key_type.bind(py);
                    settle(entry.future.bind(py), || into_python(py, done, key_type))?;
                }
                // Nobody waits any more.
                None => done.held.into_iter().for_each(|held| held.release(py)),
            }
        }
        Ok(())
    }

    fn is_inherited(&self) -> bool {
        self.generation != generation()
    }

    /// Stops whatever is under way.
    fn stop(&self) {
        if self.is_inherited() {
            // The runtime that these belong to did not survive the fork.
            if let Ok(mut state) = self.state.try_lock() {
                std::mem::forget(std::mem::take(&mut *state));
            }
            return;
        }
        let State {
            under_way, jobs, ..
        } = std::mem::take(&mut *lock(&self.state));
        drop(jobs);
        for entry in under_way.values() {
            entry.switch.turn_off();
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop();
        if self.is_inherited() {
            // A thread of the parent may have been about to put something into it, and its
            // descriptor is the parent's, too: what is read from it, the parent would miss.
            std::mem::forget(Arc::clone(&self.mailbox));
            return;
        }
        drop(self.mailbox.take(usize::MAX));
        let mut bridges = BRIDGES.lock();
        let own = bridges.get(&self.address);
        // Another loop may have come to this address.
        if own.is_some_and(|bridge| bridge.strong_count() == 0) {
            bridges.remove(&self.address);
        }
        drop(bridges);
        Python::try_attach(buffer::release_dropped);
    }
}

/// Gives a future its result, after the step that is to follow on the operation, if there is one.
fn settle<'py>(
    future: &Bound<'py, PyAny>,
    outcome: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(intern!(py, "done"))?.is_truthy()? {
        // Settled by somebody else.
        return Ok(());
    }
    let step = future.getattr(intern!(py, "step"))?;
    let outcome = match outcome() {
        outcome if step.is_none() => outcome,
        Ok(value) => step.call1((py.None(), value)),
        Err(error) if error.is_instance_of::<PyException>(py) => {
            step.call1((error.into_value(py), py.None()))
        }
        Err(error) => Err(error),
    };
    let error = match outcome {
        Ok(value) => {
            future.call_method1(intern!(py, "set_result"), (value,))?;
            return Ok(());
        }
        Err(error) => error,
    };
    let refused = future.call_method1(
        intern!(py, "set_exception"),
        (error.clone_ref(py).into_value(py),),
    );
    if let Err(refusal) = refused {
        // A future takes no StopIteration.
        refusal.set_cause(py, Some(error));
        future.call_method1(intern!(py, "set_exception"), (refusal.into_value(py),))?;
        return Ok(());
    }
    if error.is_instance_of::<PyException>(py) {
        Ok(())
    } else {
        // Whatever ends a program goes through the loop as well.
        Err(error)
    }
}

/// Cancels the operation of a future that `submit` made. Nothing happens if it has ended.
#[pyfunction]
pub(crate) fn cancel_operation(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let event_loop = future.call_method0(intern!(future.py(), "get_loop"))?;
    let known = BRIDGES
        .lock()
        .get(&(event_loop.as_ptr() as usize))
        .and_then(Weak::upgrade);
    let entry = known.and_then(|bridge| bridge.withdraw(future.as_ptr() as usize, None));
    if let Some(entry) = entry {
        entry.switch.turn_off();
    }
    Ok(())
}

/// What a loop calls when results have arrived.
#[pyclass(frozen, name = "Bridge", module = "proxystore._native")]
struct PyBridge(Arc<Bridge>);

#[pymethods]
impl PyBridge {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.0.drain(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Who holds the lock is in the middle of a call, and the loop is no garbage then.
        if let Ok(state) = self.0.state.try_lock() {
            for entry in state.under_way.values() {
                visit.call(&entry.future)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.0.stop();
    }
}

/// What a loop calls at the end of a turn in which requests were made.
#[pyclass(frozen, name = "Flush", module = "proxystore._native")]
struct PyFlush(Mutex<Weak<Bridge>>);

#[pymethods]
impl PyFlush {
    fn __call__(&self, py: Python<'_>) {
        let bridge = lock(&self.0).upgrade();
        let Some(bridge) = bridge else { return };
        if bridge.is_inherited() {
            return;
        }
        let mut state = lock(&bridge.state);
        state.is_flush_due = false;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        if !jobs.is_empty() {
            hand_over(jobs);
        }
        drop(bridge);
        buffer::release_dropped(py);
    }
}

/// The class of the futures whose operations can be cancelled.
fn future_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "proxystore.connectors._asyncio", "Operation")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
