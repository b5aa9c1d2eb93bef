//! Messages through servers, for the shims of streams.

use proxystore::{
    Deadline,
    redis_streams::{Message, Publisher, Queue, Subscriber},
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use crate::{buffer::Gathered, convert, door};

/// Sends messages through a Redis server.
#[pyclass(frozen, name = "RedisPublisher", module = "proxystore._native")]
pub(crate) struct PyRedisPublisher(Publisher);

#[pymethods]
impl PyRedisPublisher {
    #[new]
    fn new(py: Python<'_>, options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let config = convert::config_from_python(options)?;
        door::call(py, || Publisher::open(&config)).map(Self)
    }

    fn publish(&self, channel: &str, message: &Bound<'_, PyAny>) -> PyResult<u64> {
        let message_bytes = Gathered::borrow(message)?;
        let payload = message_bytes.payload();
        door::run(message.py(), Deadline::never(), |deadline| {
            self.0.publish(channel, payload, deadline)
        })
    }

    fn push(&self, queue: &str, message: &Bound<'_, PyAny>) -> PyResult<u64> {
        let message_bytes = Gathered::borrow(message)?;
        let payload = message_bytes.payload();
        door::run(message.py(), Deadline::never(), |deadline| {
            self.0.push(queue, payload, deadline)
        })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        door::call(py, || {
            self.0.close();
            Ok(())
        })
    }
}

/// Takes messages from a list of a Redis server.
#[pyclass(frozen, name = "RedisQueue", module = "proxystore._native")]
pub(crate) struct PyRedisQueue(Queue);

#[pymethods]
impl PyRedisQueue {
    #[new]
    fn new(py: Python<'_>, options: &Bound<'_, PyDict>, queue: &str) -> PyResult<Self> {
        let config = convert::config_from_python(options)?;
        door::call(py, || Queue::open(&config, queue)).map(Self)
    }

    /// The oldest message, or none if there is none within so many seconds.
    #[pyo3(signature = (timeout=None))]
    fn pop<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let until = match timeout {
            None => Deadline::never(),
            Some(seconds) => convert::deadline_in(seconds)?,
        };
        // The queue itself keeps the deadline: it has to tell the server.
        let message = door::run(py, Deadline::never(), |_| self.0.pop(until))?;
        Ok(message.map(|message| into_bytes(py, &message)))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        door::run(py, Deadline::never(), |deadline| self.0.close(deadline))
    }
}

/// Receives what is published through a Redis server.
#[pyclass(frozen, name = "RedisSubscriber", module = "proxystore._native")]
pub(crate) struct PyRedisSubscriber(Subscriber);

#[pymethods]
impl PyRedisSubscriber {
    #[new]
    fn new(py: Python<'_>, options: &Bound<'_, PyDict>, channels: Vec<String>) -> PyResult<Self> {
        let config = convert::config_from_python(options)?;
        let subscriber = door::call(py, || Subscriber::open(&config, channels))?;
        door::run(py, Deadline::never(), |deadline| {
            subscriber.subscribe(deadline)
        })?;
        Ok(Self(subscriber))
    }

    /// The next message, however long it takes.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        loop {
            let message = door::run(py, Deadline::never(), |deadline| self.0.next(deadline))?;
            if let Some(message) = message {
                return Ok(into_bytes(py, &message));
            }
        }
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        door::call(py, || {
            self.0.close();
            Ok(())
        })
    }
}

/// Messages are `bytes` to those who receive them, so they are copied.
fn into_bytes<'py>(py: Python<'py>, message: &Message) -> Bound<'py, PyBytes> {
    match message.payload.as_slice() {
        Some(bytes) => PyBytes::new(py, bytes),
        None => PyBytes::new(py, &message.payload.to_vec()),
    }
}
