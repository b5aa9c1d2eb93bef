//! The operations.

use std::sync::atomic::{AtomicBool, Ordering};

use proxystore_core::{
    Capabilities, CloseOptions, Config, Connector, Deadline, Error, Factory, Key, Memory,
    Operation, Payload, Result, When,
};

use crate::{
    config::{FACTORY, KIND, Options},
    directory::Directory,
    error::FileError,
    key::ObjectName,
    read::Reader,
    write::{self, Writer},
};

/// Keeps objects as files in a directory.
///
/// It holds no descriptor, lock or thread between operations, so it works on in forked children
/// and through whatever a daemon does to its descriptors.
#[derive(Debug)]
pub struct FileConnector {
    directory: Directory,
    options: Options,
    closed: AtomicBool,
}

impl FileConnector {
    pub(crate) fn open(options: Options) -> Result<Self, FileError> {
        Ok(Self {
            directory: Directory::open(options.store_dir.clone())?,
            options,
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<(), FileError> {
        if self.closed.load(Ordering::Acquire) {
            let path = self.directory.path().to_owned();
            return Err(FileError::Closed { path });
        }
        Ok(())
    }

    fn name(&self, key: &Key) -> Result<ObjectName, FileError> {
        self.check_open()?;
        ObjectName::try_from(key)
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            directory: &self.directory,
            fsync: self.options.fsync,
        }
    }

    fn put_now(&self, payload: Payload<'_>) -> Result<Key, FileError> {
        self.check_open()?;
        self.writer().put(payload).map(Key::from)
    }

    fn get_now(&self, key: &Key) -> Result<Option<Memory>, FileError> {
        Reader::new(&self.directory, &self.name(key)?).get()
    }

    fn exists_now(&self, key: &Key) -> Result<bool, FileError> {
        Reader::new(&self.directory, &self.name(key)?).exists()
    }

    fn evict_now(&self, key: &Key, deadline: Deadline) -> Result<(), FileError> {
        self.writer().evict(&self.name(key)?, deadline)
    }

    fn set_now(
        &self,
        key: &Key,
        payload: Payload<'_>,
        deadline: Deadline,
    ) -> Result<(), FileError> {
        self.writer().set(&self.name(key)?, payload, deadline)
    }

    fn close_now(&self, options: CloseOptions) -> Result<(), FileError> {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if !options.clear.unwrap_or(first && self.options.clear) {
            return Ok(());
        }
        if !self.directory.clear()? {
            tracing::warn!(
                path = %self.directory.path().display(),
                "the directory stays, as it holds files that are no objects or cannot be removed"
            );
        }
        Ok(())
    }
}

impl Connector for FileConnector {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        let file_system = self.directory.file_system;
        let when = |holds| if holds { When::Always } else { When::Never };
        Capabilities {
            verifies: when(!file_system.in_memory),
            verifies_deferred: when(!file_system.in_memory),
            zero_copy: when(file_system.mappable),
            ..FACTORY.capabilities()
        }
    }

    fn config(&self) -> Config {
        self.options.to_config()
    }

    fn put<'a>(&'a self, payload: Payload<'a>, _: Deadline) -> Operation<'a, Result<Key>> {
        Operation::ready(self.put_now(payload).map_err(told("put")))
    }

    fn get<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<Option<Memory>>> {
        Operation::ready(self.get_now(key).map_err(told_of("get", key)))
    }

    fn exists<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<bool>> {
        Operation::ready(self.exists_now(key).map_err(told_of("exists", key)))
    }

    fn evict<'a>(&'a self, key: &'a Key, deadline: Deadline) -> Operation<'a, Result<()>> {
        let result = self.evict_now(key, deadline);
        Operation::ready(result.map_err(told_of("evict", key)))
    }

    fn new_key(&self) -> Result<Key> {
        let key = self.check_open().and_then(|()| write::random());
        key.map(|(name, _)| Key::from(name))
            .map_err(told("new_key"))
    }

    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        deadline: Deadline,
    ) -> Operation<'a, Result<()>> {
        let result = self.set_now(key, payload, deadline);
        Operation::ready(result.map_err(told_of("set", key)))
    }

    fn close(&self, options: CloseOptions, _: Deadline) -> Operation<'_, Result<()>> {
        Operation::ready(self.close_now(options).map_err(told("close")))
    }
}

/// Names the operation that failed; for `map_err`.
fn told(operation: &'static str) -> impl FnOnce(FileError) -> Error {
    move |error| Error::from(error).with_operation(operation)
}

/// Names the operation that failed and its key; for `map_err`.
fn told_of(operation: &'static str, key: &Key) -> impl FnOnce(FileError) -> Error {
    move |error| told(operation)(error).with_key(key)
}
