//! Every case passes for a connector that keeps the contract, and fails for one that breaks the
//! very sentence: no case is unable to fail.

use std::{
    collections::{BTreeMap, HashMap},
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use proxystore_conformance::{CASES, Case, Damage, Elsewhere, Fixture, Outcome, check};
use proxystore_core::{
    Capabilities, CloseOptions, Config, Connector, Deadline, Error, ErrorKind, Field, Key, Memory,
    Operation, Payload, Result, Segment, When,
};

/// What is wrong with a connector, and which case must notice.
const DEFECTS: &[(Defect, &str)] = &[
    (Defect::AcceptsForeignKeys, "foreign-keys-are-refused"),
    (Defect::BatchKeepsWhatItPut, "failed-batch-leaves-nothing"),
    (Defect::BuffersPuts, "put-is-visible-to-others"),
    (Defect::CannotBeSet, "undeferrable-connectors-say-so"),
    (Defect::ClearsEverything, "close-spares-what-is-not-owned"),
    (
        Defect::CloseAlwaysClears,
        "close-without-clear-keeps-objects",
    ),
    (Defect::ClosesOnce, "close-is-idempotent"),
    (Defect::ClosesTwice, "close-is-idempotent"),
    (Defect::ConfigForgets, "configuration-opens-the-storage"),
    (Defect::CountsIn32Bits, "objects-beyond-4-gib"),
    (Defect::DropClears, "dropping-removes-nothing"),
    (Defect::DropsLastPart, "parts-are-joined"),
    (Defect::EmptyIsMissing, "empty-object-is-an-object"),
    (Defect::EvictsOnce, "evict-is-idempotent"),
    (Defect::ExistsAlways, "exists-agrees-with-get"),
    (Defect::ExistsBeforeSet, "deferred-object-waits-for-set"),
    (
        Defect::ForgetsForeignKeyInBatch,
        "failed-get-batch-names-the-key",
    ),
    (Defect::GivesLastByteUp, "get-returns-what-was-put"),
    (Defect::GivesLastByteUp, "memory-is-private-and-writable"),
    (Defect::GivesLastByteUp, "memory-outlives-its-object"),
    (Defect::GivesLastByteUp, "objects-of-many-sizes"),
    (Defect::HangsWhenStalled, "deadline-ends-operations"),
    (
        Defect::IsPrivateToProcess,
        "forked-children-share-a-connector",
    ),
    (
        Defect::IsPrivateToProcess,
        "put-is-visible-in-other-processes",
    ),
    (Defect::JoinsParts, "transit-memory-is-bounded"),
    (Defect::KeysAreAddresses, "keys-survive-being-taken-apart"),
    (Defect::LeavesHalfBehind, "failed-put-leaves-nothing"),
    (Defect::MissingIsEmpty, "missing-object-is-none"),
    (Defect::NamesNoPeer, "deadline-ends-operations"),
    (Defect::NeverClears, "close-with-clear-removes-objects"),
    (Defect::NeverReconnects, "lost-server-is-reconnected"),
    (Defect::Panics, "get-returns-what-was-put"),
    (Defect::PutsThroughOneSlot, "tasks-share-a-connector"),
    (Defect::PutsThroughOneSlot, "threads-share-a-connector"),
    (Defect::RepeatsKeys, "keys-are-unique"),
    (Defect::ReversesBatches, "batches-keep-their-order"),
    (Defect::SetEvictsFirst, "failed-set-changes-nothing"),
    (Defect::SetKeepsTheFirst, "set-replaces-an-object"),
    (Defect::SetsInTwoSteps, "set-is-never-seen-half-done"),
    (Defect::SumsBeforeCopying, "changing-source-is-stored-whole"),
    (Defect::TrustsBits, "flipped-bit-is-an-error"),
    (Defect::TrustsLengths, "half-written-object-is-an-error"),
    (Defect::TrustsLengths, "truncated-object-is-an-error"),
    (Defect::WorksWhenClosed, "closed-connectors-refuse"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    AcceptsForeignKeys,
    BatchKeepsWhatItPut,
    BuffersPuts,
    CannotBeSet,
    ClearsEverything,
    CloseAlwaysClears,
    ClosesOnce,
    ClosesTwice,
    ConfigForgets,
    CountsIn32Bits,
    DropClears,
    DropsLastPart,
    EmptyIsMissing,
    EvictsOnce,
    ExistsAlways,
    ExistsBeforeSet,
    ForgetsForeignKeyInBatch,
    GivesLastByteUp,
    HangsWhenStalled,
    IsPrivateToProcess,
    JoinsParts,
    KeysAreAddresses,
    LeavesHalfBehind,
    MissingIsEmpty,
    NamesNoPeer,
    NeverClears,
    NeverReconnects,
    Panics,
    PutsThroughOneSlot,
    RepeatsKeys,
    ReversesBatches,
    SetEvictsFirst,
    SetKeepsTheFirst,
    SetsInTwoSteps,
    SumsBeforeCopying,
    TrustsBits,
    TrustsLengths,
    WorksWhenClosed,
}

/// The cases run one at a time, as one of them measures the memory of the process.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_connector_without_defects_passes_every_case() {
    let _turn = lock(&TURN);
    check(&World::new(None), &[]).expect("the contract is kept");
    let undeferrable = World {
        deferrable: false,
        ..World::new(None)
    };
    check(&undeferrable, &[]).expect("the contract is kept");
}

#[test]
fn every_defect_is_noticed() {
    let _turn = lock(&TURN);
    for (defect, name) in DEFECTS {
        let world = World::new(Some(*defect));
        let outcome = case(name).run(&world);
        assert!(outcome.is_err(), "{name} gives {outcome:?} for {defect:?}");
    }
}

#[test]
fn every_case_can_fail() {
    for case in CASES {
        let known = DEFECTS.iter().any(|(_, name)| *name == case.name);
        assert!(
            known,
            "no defect shows that {} can fail: add one",
            case.name
        );
    }
}

#[test]
fn names_are_unique() {
    for (index, case) in CASES.iter().enumerate() {
        let others = &CASES[index + 1..];
        assert!(
            others.iter().all(|other| other.name != case.name),
            "{case:?}"
        );
    }
}

#[test]
fn a_check_wants_every_omission_named() {
    struct Poor(World);

    impl Fixture for Poor {
        fn open(&self) -> Result<Arc<dyn Connector>> {
            self.0.open()
        }

        fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
            self.0.reopen(config)
        }

        fn foreign_keys(&self) -> Vec<Key> {
            self.0.foreign_keys()
        }
    }

    let _turn = lock(&TURN);
    let poor = Poor(World::new(None));
    let failure = check(&poor, &["no-such-case", "close-is-idempotent"]);
    let failure = failure.expect_err("much is not run").to_string();
    for expected in [
        "\n  deadline-ends-operations was not run: the fixture lacks while_stalled",
        "\n  close-is-idempotent passed, so it must not be listed",
        "\n  no-such-case is no case",
    ] {
        assert!(failure.contains(expected), "{failure}");
    }
    let outcome = case("truncated-object-is-an-error").run(&poor);
    assert_eq!(outcome.expect("no failure"), Outcome::Untestable("damage"));
    let outcome = case("undeferrable-connectors-say-so").run(&poor);
    assert_eq!(outcome.expect("no failure"), Outcome::NotApplicable);
}

fn case(name: &str) -> &'static Case {
    let found = CASES.iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("{name} is no case"))
}

/// All storages there are, by number, as configurations name them.
static STORAGES: LazyLock<Mutex<HashMap<i64, Arc<Storage>>>> = LazyLock::new(Mutex::default);

/// A server and its connectors, all in this process.
struct World {
    number: i64,
    storage: Arc<Storage>,
    deferrable: bool,
    defect: Option<Defect>,
}

#[derive(Debug, Default)]
struct Storage {
    objects: Mutex<BTreeMap<i64, Object>>,
    next: AtomicU64,
    full: AtomicBool,
    stalled: AtomicBool,
    /// Counts how often connections were cut.
    epoch: AtomicU64,
    planted: AtomicBool,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Vec<u8>,
    /// Of what was put; of objects too large to keep only this is known.
    len: usize,
    sum: u64,
}

/// From this many bytes on, objects are only counted.
const COUNTED: usize = 200 << 20;

impl Object {
    fn is_counted(&self) -> bool {
        self.len >= COUNTED
    }
}

impl World {
    fn new(defect: Option<Defect>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        let number = NEXT.fetch_add(1, Ordering::Relaxed).cast_signed();
        let storage = Arc::new(Storage::default());
        lock(&STORAGES).insert(number, Arc::clone(&storage));
        Self {
            number,
            storage,
            deferrable: defect != Some(Defect::CannotBeSet),
            defect,
        }
    }

    fn connector(&self, storage: Arc<Storage>, elsewhere: bool) -> Simulated {
        Simulated {
            number: self.number,
            epoch: AtomicU64::new(storage.epoch.load(Ordering::Acquire)),
            storage,
            deferrable: self.deferrable,
            defect: self.defect,
            elsewhere,
            closed: AtomicBool::new(false),
            evicted: Mutex::default(),
            buffered: Mutex::default(),
            slot: Mutex::default(),
        }
    }
}

impl Fixture for World {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        Ok(Arc::new(self.connector(Arc::clone(&self.storage), false)))
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        let number = match config.value("number") {
            Some(proxystore_core::Value::Integer(number)) => *number,
            _ => -1,
        };
        let storage = lock(&STORAGES).get(&number).cloned();
        Ok(Arc::new(self.connector(storage.unwrap_or_default(), false)))
    }

    fn foreign_keys(&self) -> Vec<Key> {
        vec![Key::text("7"), Key::new([Field::Absent]), Key::new([])]
    }

    fn stored(&self) -> Option<Vec<String>> {
        let objects = lock(&self.storage.objects);
        let names = objects
            .iter()
            .map(|(key, object)| format!("{key}: {}", object.len));
        Some(names.collect())
    }

    fn damage(&self, key: &Key, damage: Damage) -> Option<Result<()>> {
        let mut objects = lock(&self.storage.objects);
        let bytes = &mut objects.get_mut(&number(key)?)?.bytes;
        let middle = bytes.len() / 2;
        match damage {
            Damage::FlippedBit => bytes[middle] ^= 1,
            Damage::HalfWritten => bytes.truncate(middle),
            Damage::Truncated => drop(bytes.pop()),
        }
        Some(Ok(()))
    }

    fn while_full(&self, work: &mut dyn FnMut()) -> bool {
        self.storage.full.store(true, Ordering::Release);
        work();
        self.storage.full.store(false, Ordering::Release);
        true
    }

    fn get_elsewhere(
        &self,
        _: &dyn Connector,
        key: &Key,
        _: Elsewhere,
    ) -> Option<Result<Option<Vec<u8>>>> {
        let other = self.connector(Arc::clone(&self.storage), true);
        let object = other.get_now(key);
        Some(object.map(|object| object.map(|memory| memory.to_vec())))
    }

    fn plant(&self) -> Option<Box<dyn Fn() -> bool>> {
        let storage = Arc::clone(&self.storage);
        storage.planted.store(true, Ordering::Release);
        Some(Box::new(move || storage.planted.load(Ordering::Acquire)))
    }

    fn while_stalled(&self, work: &mut dyn FnMut()) -> bool {
        self.storage.stalled.store(true, Ordering::Release);
        work();
        self.storage.stalled.store(false, Ordering::Release);
        true
    }

    fn cut_connections(&self) -> bool {
        self.storage.epoch.fetch_add(1, Ordering::AcqRel);
        true
    }
}

/// A connector to a server in this process, which has at most one defect.
#[derive(Debug)]
struct Simulated {
    number: i64,
    storage: Arc<Storage>,
    deferrable: bool,
    defect: Option<Defect>,
    /// Plays the part of another process.
    elsewhere: bool,
    closed: AtomicBool,
    epoch: AtomicU64,
    evicted: Mutex<Vec<i64>>,
    buffered: Mutex<BTreeMap<i64, Object>>,
    slot: Mutex<Option<Object>>,
}

impl Simulated {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// What stands before every operation.
    fn begin(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) && !self.has(Defect::WorksWhenClosed) {
            return Err(Error::new(ErrorKind::Closed, "closed"));
        }
        let epoch = self.storage.epoch.load(Ordering::Acquire);
        let lost = self.epoch.load(Ordering::Acquire) != epoch;
        if lost && !self.has(Defect::NeverReconnects) {
            self.epoch.store(epoch, Ordering::Release);
        }
        if lost {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the connection was lost",
            ));
        }
        Ok(())
    }

    fn number(&self, key: &Key) -> Result<i64> {
        if self.has(Defect::KeysAreAddresses)
            && !lock(&ADDRESSES).contains(&(key.fields().as_ptr() as usize))
        {
            return Ok(i64::MAX);
        }
        match number(key) {
            None if self.has(Defect::AcceptsForeignKeys) => Ok(i64::MAX),
            None => Err(Error::new(ErrorKind::InvalidKey, "a foreign key").with_key(key)),
            Some(number) => Ok(number),
        }
    }

    fn key(&self, number: i64) -> Key {
        let key = Key::new([Field::Integer(number)]);
        if self.has(Defect::KeysAreAddresses) {
            lock(&ADDRESSES).push(key.fields().as_ptr() as usize);
        }
        key
    }

    fn next(&self) -> i64 {
        let step = u64::from(!self.has(Defect::RepeatsKeys));
        self.storage
            .next
            .fetch_add(step, Ordering::AcqRel)
            .cast_signed()
    }

    fn object(&self, payload: Payload<'_>) -> Object {
        assert!(!self.has(Defect::Panics), "as it has to");
        let mut segments = payload.segments();
        if self.has(Defect::DropsLastPart) && segments.len() > 2 {
            segments = &segments[..segments.len() - 1];
        }
        let len = payload.len();
        if len >= COUNTED {
            if self.has(Defect::JoinsParts) {
                std::hint::black_box(copied(segments));
            }
            let (bytes, sum) = (Vec::new(), 0);
            return Object { bytes, len, sum };
        }
        let before = self
            .has(Defect::SumsBeforeCopying)
            .then(|| copied(segments));
        let bytes = copied(segments);
        let len = bytes.len();
        let sum = sum(before.as_ref().unwrap_or(&bytes));
        Object { bytes, len, sum }
    }

    fn store(&self, number: i64, object: Object) -> Result<()> {
        self.begin()?;
        if self.storage.full.load(Ordering::Acquire) && object.len >= 4 << 20 {
            if self.has(Defect::LeavesHalfBehind) {
                lock(&self.storage.objects).insert(-number - 1, object);
            }
            return Err(Error::new(ErrorKind::StorageFull, "full"));
        }
        let objects = if self.has(Defect::BuffersPuts) {
            &self.buffered
        } else {
            &self.storage.objects
        };
        lock(objects).insert(number, object);
        Ok(())
    }

    fn get_now(&self, key: &Key) -> Result<Option<Memory>> {
        self.begin()?;
        let number = self.number(key)?;
        if self.elsewhere && self.has(Defect::IsPrivateToProcess) {
            return Ok(None);
        }
        let found = lock(&self.buffered).get(&number).cloned();
        let found = found.or_else(|| lock(&self.storage.objects).get(&number).cloned());
        let Some(mut object) = found else {
            let empty = self.has(Defect::MissingIsEmpty);
            return if empty {
                memory(&[]).map(Some)
            } else {
                Ok(None)
            };
        };
        if object.len == 0 && self.has(Defect::EmptyIsMissing) {
            return Ok(None);
        }
        if object.is_counted() {
            let wrapped = self.has(Defect::CountsIn32Bits);
            let len = object.len & usize::try_from(u32::MAX).unwrap_or(usize::MAX);
            let len = if wrapped { len } else { object.len };
            return memory(&vec![0; len]).map(Some);
        }
        let cut = object.bytes.len() != object.len && !self.has(Defect::TrustsLengths);
        let trusted = self.has(Defect::TrustsBits) || self.has(Defect::TrustsLengths);
        if cut || (!trusted && sum(&object.bytes) != object.sum) {
            return Err(Error::new(ErrorKind::Corrupted, "damaged").with_key(key));
        }
        if self.has(Defect::GivesLastByteUp) {
            object.bytes.pop();
        }
        memory(&object.bytes).map(Some)
    }

    fn exists_now(&self, key: &Key) -> Result<bool> {
        self.begin()?;
        let number = self.number(key)?;
        let pending = self.has(Defect::ExistsBeforeSet);
        let there = lock(&self.storage.objects).contains_key(&number);
        let buffered = lock(&self.buffered).contains_key(&number);
        Ok(there || buffered || pending || self.has(Defect::ExistsAlways))
    }

    fn evict_now(&self, key: &Key) -> Result<()> {
        self.begin()?;
        let number = self.number(key)?;
        lock(&self.storage.objects).remove(&number);
        lock(&self.buffered).remove(&number);
        if self.has(Defect::EvictsOnce) && lock(&self.evicted).contains(&number) {
            return Err(Error::new(ErrorKind::Internal, "not there"));
        }
        lock(&self.evicted).push(number);
        Ok(())
    }

    fn check_deferrable(&self) -> Result<()> {
        if self.deferrable || self.has(Defect::CannotBeSet) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, "not deferrable"))
    }

    fn set_now(&self, key: &Key, payload: Payload<'_>) -> Result<()> {
        self.begin()?;
        self.check_deferrable()?;
        let number = self.number(key)?;
        let object = self.object(payload);
        if self.has(Defect::SetEvictsFirst) {
            lock(&self.storage.objects).remove(&number);
        }
        let present = lock(&self.storage.objects).contains_key(&number);
        if present && self.has(Defect::SetKeepsTheFirst) {
            return Ok(());
        }
        if self.has(Defect::SetsInTwoSteps) {
            let mut half = object.clone();
            let middle = half.bytes.len() / 2;
            half.bytes[middle..].fill(255);
            half.sum = sum(&half.bytes);
            self.store(number, half)?;
            thread::sleep(Duration::from_millis(1));
        }
        self.store(number, object)
    }

    fn close_now(&self, options: CloseOptions) -> Result<()> {
        let again = self.closed.swap(true, Ordering::AcqRel);
        if again && self.has(Defect::ClosesOnce) {
            return Err(Error::new(ErrorKind::Closed, "closed already"));
        }
        let twice = again && self.has(Defect::ClosesTwice);
        let asked = options.clear.unwrap_or(twice) && !self.has(Defect::NeverClears);
        if asked || self.has(Defect::CloseAlwaysClears) {
            lock(&self.storage.objects).clear();
        }
        if self.has(Defect::ClearsEverything) {
            self.storage.planted.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// Answers at once, or, while the server is stalled, with an error at the deadline.
    fn answer<'a, T: Send + 'a>(
        &self,
        name: &'static str,
        deadline: Deadline,
        result: impl FnOnce() -> Result<T>,
    ) -> Operation<'a, Result<T>> {
        if !self.storage.stalled.load(Ordering::Acquire) {
            return Operation::ready(result());
        }
        let hangs = self.has(Defect::HangsWhenStalled);
        let names = !self.has(Defect::NamesNoPeer);
        let mut waiting = false;
        Operation::pending(poll_fn(move |context| {
            let left = deadline.remaining(Instant::now());
            let left = left.filter(|_| !hangs);
            if left == Some(Duration::ZERO) {
                let error = Error::new(ErrorKind::TimedOut, "no answer").with_operation(name);
                let error = if names {
                    error.with_peer("simulated")
                } else {
                    error
                };
                return Poll::Ready(Err(error));
            }
            if let Some(left) = left
                && !waiting
            {
                waiting = true;
                let waker = context.waker().clone();
                thread::spawn(move || {
                    thread::sleep(left);
                    waker.wake();
                });
            }
            Poll::Pending
        }))
    }
}

impl Connector for Simulated {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deferrable: self.deferrable,
            crosses_processes: true,
            crosses_hosts: true,
            outlives_process: true,
            remote: true,
            verifies: When::Always,
            transit_memory: Some(0),
            ..Capabilities::NONE
        }
    }

    fn config(&self) -> Config {
        let forgets = self.has(Defect::ConfigForgets);
        Config::new().with("number", if forgets { -1 } else { self.number })
    }

    fn put<'a>(&'a self, payload: Payload<'a>, by: Deadline) -> Operation<'a, Result<Key>> {
        if self.has(Defect::PutsThroughOneSlot) {
            let object = self.object(payload);
            *lock(&self.slot) = Some(object);
            return Operation::pending(async move {
                // Whoever begins meanwhile takes the slot.
                thread::sleep(Duration::from_micros(100));
                let object = lock(&self.slot).clone();
                let number = self.next();
                let failed = || Error::new(ErrorKind::Internal, "no object");
                self.store(number, object.ok_or_else(failed)?)?;
                Ok(self.key(number))
            });
        }
        self.answer("put", by, || {
            self.begin()?;
            let number = self.next();
            self.store(number, self.object(payload))?;
            Ok(self.key(number))
        })
    }

    fn get<'a>(&'a self, key: &'a Key, by: Deadline) -> Operation<'a, Result<Option<Memory>>> {
        self.answer("get", by, || self.get_now(key))
    }

    fn exists<'a>(&'a self, key: &'a Key, by: Deadline) -> Operation<'a, Result<bool>> {
        self.answer("exists", by, || self.exists_now(key))
    }

    fn evict<'a>(&'a self, key: &'a Key, by: Deadline) -> Operation<'a, Result<()>> {
        self.answer("evict", by, || self.evict_now(key))
    }

    fn put_batch<'a>(
        &'a self,
        payloads: &'a [Payload<'a>],
        by: Deadline,
    ) -> Operation<'a, Result<Vec<Key>>> {
        Operation::pending(async move {
            self.begin()?;
            let mut keys = Vec::new();
            for payload in payloads {
                match self.put(*payload, by).await {
                    Ok(key) => keys.push(key),
                    Err(error) => {
                        if !self.has(Defect::BatchKeepsWhatItPut) {
                            keys.iter().try_for_each(|key| self.evict_now(key))?;
                        }
                        return Err(error);
                    }
                }
            }
            if self.has(Defect::ReversesBatches) {
                keys.reverse();
            }
            Ok(keys)
        })
    }

    fn get_batch<'a>(
        &'a self,
        keys: &'a [Key],
        _: Deadline,
    ) -> Operation<'a, Result<Vec<Option<Memory>>>> {
        let lenient = self.has(Defect::ForgetsForeignKeyInBatch);
        let objects = keys.iter().map(|key| match self.get_now(key) {
            Err(error) if lenient && error.kind() == ErrorKind::InvalidKey => Ok(None),
            other => other,
        });
        let objects = self.begin().and_then(|()| objects.collect());
        Operation::ready(objects)
    }

    fn new_key(&self) -> Result<Key> {
        self.begin()?;
        self.check_deferrable()?;
        Ok(self.key(self.next()))
    }

    fn set<'a>(
        &'a self,
        key: &'a Key,
        payload: Payload<'a>,
        by: Deadline,
    ) -> Operation<'a, Result<()>> {
        self.answer("set", by, || self.set_now(key, payload))
    }

    fn close(&self, options: CloseOptions, _: Deadline) -> Operation<'_, Result<()>> {
        Operation::ready(self.close_now(options))
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        if self.has(Defect::DropClears) {
            lock(&self.storage.objects).clear();
        }
    }
}

/// Where the keys are that a connector takes by address.
static ADDRESSES: Mutex<Vec<usize>> = Mutex::new(Vec::new());

fn number(key: &Key) -> Option<i64> {
    match key.fields() {
        [Field::Integer(number)] => Some(*number),
        _ => None,
    }
}

fn copied(segments: &[Segment<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in segments {
        bytes.extend(segment.to_vec());
    }
    bytes
}

fn memory(bytes: &[u8]) -> Result<Memory> {
    Memory::copied_from(&[Segment::from(bytes)]).map_err(|error| Error::from_io("memory", error))
}

fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
