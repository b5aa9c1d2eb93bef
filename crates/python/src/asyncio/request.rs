//! An operation with all that it needs.

use std::{mem, slice, sync::Arc};

use proxystore::{CloseOptions, Connector, Deadline, Key, Memory, Operation, Payload, Result};
use proxystore_fork::generation;
use proxystore_runtime::{drive, spawn, unblock};
use pyo3::{
    prelude::*,
    types::{PyBool, PyList, PyType},
};

use super::begin::Pace;
use crate::{
    buffer::{self, Held},
    convert,
};

/// One operation of a connector, with arguments of its own.
pub(crate) enum Request {
    Close(CloseOptions),
    Evict(Key),
    Exists(Key),
    Get(Key),
    GetBatch(Vec<Key>),
    GetCopy(Key),
    Put(Held),
    PutBatch(Vec<Held>),
    Set(Key, Held),
}

impl Request {
    /// Carries the request out. Whatever the outcome, the borrowed buffers come back with it.
    pub(super) async fn carry_out(mut self, connector: &Arc<dyn Connector>, pace: Pace) -> Done {
        let outcome = match self.seal(connector, pace).await {
            Ok(()) => self.ask(connector, pace).await,
            Err(error) => Err(error),
        };
        Done {
            outcome,
            held: self.into_buffers(),
        }
    }

    /// As [`carry_out`](Self::carry_out), on the calling thread.
    pub(super) fn carry_out_here(self, connector: &Arc<dyn Connector>, pace: Pace) -> Done {
        let operation = Operation::pending(async { Ok(self.carry_out(connector, pace).await) });
        match drive(operation, Deadline::never(), || Ok::<(), Never>(())) {
            Ok(done) => done,
            Err(proxystore::Stopped::Failed(error)) => Done::failed(error),
            Err(proxystore::Stopped::Interrupted(never)) => match never {},
        }
    }

    /// How many bytes there are to put.
    pub(super) fn len(&self) -> usize {
        let bytes = self.buffers().iter().map(|held| held.payload().len());
        bytes.fold(0, usize::saturating_add)
    }

    fn buffers(&self) -> &[Held] {
        match self {
            Self::Put(held) | Self::Set(_, held) => slice::from_ref(held),
            Self::PutBatch(all) => all,
            _ => &[],
        }
    }

    fn into_buffers(self) -> Vec<Held> {
        match self {
            Self::Put(held) | Self::Set(_, held) => vec![held],
            Self::PutBatch(all) => all,
            _ => Vec::new(),
        }
    }

    /// Makes the checksums that the connector does not make while it copies.
    async fn seal(&mut self, connector: &Arc<dyn Connector>, pace: Pace) -> Result<()> {
        if !self.buffers().iter().any(Held::is_unsealed) || connector.capabilities().seals {
            return Ok(());
        }
        let seal = |request: &mut Self| match request {
            Self::Put(held) | Self::Set(_, held) => held.seal(),
            Self::PutBatch(all) => all.iter_mut().for_each(Held::seal),
            _ => {}
        };
        if pace != Pace::Remote {
            // This thread may take its time.
            seal(self);
            return Ok(());
        }
        let mut request = mem::replace(self, Self::PutBatch(Vec::new()));
        *self = unblock(move || {
            seal(&mut request);
            request
        })
        .await?;
        Ok(())
    }

    async fn ask(&self, connector: &Arc<dyn Connector>, pace: Pace) -> Result<Outcome> {
        let never = Deadline::never();
        let stored = |keys| Stored::new(keys, connector, pace);
        Ok(match self {
            Self::Close(options) => {
                connector.close(*options, never).await?;
                Outcome::Nothing
            }
            Self::Evict(key) => {
                connector.evict(key, never).await?;
                Outcome::Nothing
            }
            Self::Exists(key) => Outcome::Answer(connector.exists(key, never).await?),
            Self::Get(key) => Outcome::Object(connector.get(key, never).await?),
            Self::GetBatch(keys) => Outcome::Objects(connector.get_batch(keys, never).await?),
            Self::GetCopy(key) => Outcome::Object(connector.get_copy(key, never).await?),
            Self::Put(held) => {
                let key = connector.put(held.payload(), never).await?;
                Outcome::Put(stored(vec![key]))
            }
            Self::PutBatch(all) => {
                let payloads: Vec<Payload<'_>> = all.iter().map(Held::payload).collect();
                let keys = connector.put_batch(&payloads, never).await?;
                Outcome::PutBatch(stored(keys))
            }
            Self::Set(key, held) => {
                connector.set(key, held.payload(), never).await?;
                Outcome::Nothing
            }
        })
    }
}

enum Never {}

/// What became of a request.
pub(super) struct Done {
    pub(super) outcome: Result<Outcome>,
    /// Buffers to release.
    pub(super) held: Vec<Held>,
}

impl Done {
    pub(super) const fn failed(error: proxystore::Error) -> Self {
        Self {
            outcome: Err(error),
            held: Vec::new(),
        }
    }
}

/// What a request gives.
pub(super) enum Outcome {
    Answer(bool),
    Nothing,
    Object(Option<Memory>),
    Objects(Vec<Option<Memory>>),
    Put(Stored),
    PutBatch(Stored),
}

impl Outcome {
    /// The outcome as the method in Python returns it.
    pub(super) fn into_python<'py>(
        self,
        py: Python<'py>,
        key_type: &Bound<'py, PyType>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Answer(answer) => Ok(PyBool::new(py, answer).to_owned().into_any()),
            Self::Nothing => Ok(py.None().into_bound(py)),
            Self::Object(memory) => object(py, memory),
            Self::Objects(all) => {
                let objects = all.into_iter().map(|memory| object(py, memory));
                Ok(PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)?.into_any())
            }
            Self::Put(stored) => {
                let key = stored
                    .keys
                    .first()
                    .map(|key| convert::key_to_python(key, key_type));
                let key = key.transpose()?;
                stored.hand_out();
                Ok(key.unwrap_or_else(|| py.None().into_bound(py)))
            }
            Self::PutBatch(stored) => {
                let keys = stored
                    .keys
                    .iter()
                    .map(|key| convert::key_to_python(key, key_type));
                let keys = PyList::new(py, keys.collect::<PyResult<Vec<_>>>()?)?;
                stored.hand_out();
                Ok(keys.into_any())
            }
        }
    }
}

fn object(py: Python<'_>, memory: Option<Memory>) -> PyResult<Bound<'_, PyAny>> {
    match memory {
        Some(memory) => buffer::into_python(py, memory),
        None => Ok(py.None().into_bound(py)),
    }
}

/// Objects whose keys nobody has been given yet: they are removed again if nobody ever is.
pub(super) struct Stored {
    keys: Vec<Key>,
    connector: Arc<dyn Connector>,
    pace: Pace,
    generation: u64,
}

impl Stored {
    fn new(keys: Vec<Key>, connector: &Arc<dyn Connector>, pace: Pace) -> Self {
        Self {
            keys,
            connector: Arc::clone(connector),
            pace,
            generation: generation(),
        }
    }

    fn hand_out(mut self) {
        self.keys.clear();
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // What a forked child inherited is for its parent to remove.
        if self.keys.is_empty() || self.generation != generation() {
            return;
        }
        let keys = mem::take(&mut self.keys);
        let connector = Arc::clone(&self.connector);
        let pace = self.pace;
        // Whoever would be told of an error has turned to other things.
        let _ = spawn(async move {
            if pace == Pace::Remote {
                for key in &keys {
                    let _ = connector.evict(key, Deadline::never()).await;
                }
            } else {
                let _ = unblock(move || {
                    for key in keys {
                        drop(Request::Evict(key).carry_out_here(&connector, pace));
                    }
                })
                .await;
            }
        });
    }
}
