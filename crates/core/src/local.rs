//! The connector that keeps objects in the memory of this process.
//!
//! It stands for the contract: small enough to read whole, and every case of the conformance suite
//! that its [`Capabilities`] select holds for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use proxystore_memory::{Memory, Segment};

use crate::{
    capabilities::Capabilities,
    config::Config,
    connector::{CloseOptions, Connector},
    deadline::Deadline,
    error::{Error, ErrorKind, Result},
    factory::{Factory, OptionInfo},
    key::{Field, Key},
    operation::Operation,
    payload::Payload,
};

/// Opens [`Local`] connectors.
pub static FACTORY: LocalFactory = LocalFactory;

const KIND: &str = "local";

const OPTIONS: &[OptionInfo] = &[OptionInfo {
    name: "name",
    expects: "a str",
    default: Some("a storage of its own"),
    summary: "which storage of this process to share",
}];

/// Storages that connectors of this process share by name, each for as long as a connector is over
/// it; an unnamed one has a number.
static STORAGES: Mutex<Option<HashMap<String, Weak<Storage>>>> = Mutex::new(None);

static NEXT_STORAGE: AtomicU64 = AtomicU64::new(0);

/// The factory of [`Local`] connectors.
#[derive(Debug)]
pub struct LocalFactory;

impl Factory for LocalFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn summary(&self) -> &'static str {
        "Keeps objects in the memory of this process."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deferrable: true,
            transit_memory: Some(0),
            ..Capabilities::NONE
        }
    }

    fn options(&self) -> &'static [OptionInfo] {
        OPTIONS
    }

    fn open(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        let reader = config.read(KIND, OPTIONS)?;
        let name = reader.optional::<String>("name")?.unwrap_or_else(|| {
            let number = NEXT_STORAGE.fetch_add(1, Ordering::Relaxed);
            format!("local-{number}")
        });
        Ok(Arc::new(Local::open(name)))
    }
}

/// Keeps objects in the memory of this process.
#[derive(Debug)]
pub struct Local {
    name: String,
    storage: Arc<Storage>,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Storage {
    objects: Mutex<HashMap<i64, Arc<Memory>>>,
    next: AtomicU64,
}

impl Local {
    fn open(name: String) -> Self {
        let mut storages = lock(&STORAGES);
        let storages = storages.get_or_insert_default();
        storages.retain(|_, storage| storage.strong_count() > 0);
        let shared = storages.get(&name).and_then(Weak::upgrade);
        let storage = shared.unwrap_or_else(|| {
            let storage = Arc::default();
            storages.insert(name.clone(), Arc::downgrade(&storage));
            storage
        });
        Self {
            name,
            storage,
            closed: AtomicBool::new(false),
        }
    }

    fn objects(&self) -> Result<MutexGuard<'_, HashMap<i64, Arc<Memory>>>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Closed,
                "the local connector is closed; open another one",
            ));
        }
        Ok(lock(&self.storage.objects))
    }

    fn get_now(&self, key: &Key) -> Result<Option<Memory>> {
        let number = number(key)?;
        let found = self.objects()?.get(&number).map(Arc::clone);
        found.map(|memory| copy(&[memory.as_segment()])).transpose()
    }

    fn store(&self, number: i64, payload: Payload<'_>) -> Result<()> {
        let memory = Arc::new(copy(payload.segments())?);
        self.objects()?.insert(number, memory);
        Ok(())
    }

    fn next(&self) -> i64 {
        let number = self.storage.next.fetch_add(1, Ordering::Relaxed);
        number.cast_signed()
    }
}

impl Connector for Local {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        FACTORY.capabilities()
    }

    fn config(&self) -> Config {
        Config::new().with("name", self.name.as_str())
    }

    fn put<'a>(&'a self, payload: Payload<'a>, _: Deadline) -> Operation<'a, Result<Key>> {
        let number = self.next();
        Operation::ready(self.store(number, payload).map(|()| key(number)))
    }

    fn get<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<Option<Memory>>> {
        Operation::ready(self.get_now(key))
    }

    fn exists<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<bool>> {
        Operation::ready(number(key).and_then(|number| Ok(self.objects()?.contains_key(&number))))
    }

    fn evict<'a>(&'a self, key: &'a Key, _: Deadline) -> Operation<'a, Result<()>> {
        let removed = number(key).and_then(|number| Ok(self.objects()?.remove(&number)));
        Operation::ready(removed.map(drop))
    }

    fn new_key(&self) -> Result<Key> {
        let open = self.objects();
        open.map(|_| key(self.next()))
    }

    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        _: Deadline,
    ) -> Operation<'a, Result<()>> {
        Operation::ready(number(key).and_then(|number| self.store(number, payload)))
    }

    fn close(&self, options: CloseOptions, _: Deadline) -> Operation<'_, Result<()>> {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if first && options.clear == Some(true) {
            lock(&self.storage.objects).clear();
        }
        Operation::ready(Ok(()))
    }
}

fn key(number: i64) -> Key {
    Key::new([Field::Integer(number)])
}

fn number(key: &Key) -> Result<i64> {
    match key.fields() {
        [Field::Integer(number)] if *number >= 0 => Ok(*number),
        _ => {
            let message = "the key was not made by a local connector";
            Err(Error::new(ErrorKind::InvalidKey, message).with_key(key))
        }
    }
}

fn copy(segments: &[Segment<'_>]) -> Result<Memory> {
    Memory::copied_from(segments)
        .map_err(|error| Error::from_io("there is no memory for the object", error))
}

/// No code runs under these locks that could leave the data half-changed, so a panic elsewhere in
/// the thread that held one does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
