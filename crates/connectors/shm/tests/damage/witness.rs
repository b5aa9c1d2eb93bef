//! Processes that put objects and look at them, and what they see.

use std::sync::atomic::{AtomicU64, Ordering};

use proxystore_core::{Config, Error, ErrorKind, Key};

use crate::support::{
    Checked,
    client::{self, Client, words},
    contents::Contents,
    ensure,
    processes::{Child, Ended, Line, fork, line, set_patience, shared_words},
};

/// Objects of every kind, and what they consist of.
pub(crate) const OBJECTS: [Contents; 6] = [
    Contents::new(1, 100),
    Contents::new(2, 300_000),
    Contents::new(3, 0),
    Contents::new(4, 12_000),
    Contents::new(5, 70_000),
    // That of a deferred key.
    Contents::new(6, 50_000),
];

/// Which of them are alone in their file.
pub(crate) const LARGE: usize = 1;
pub(crate) const SMALL: usize = 0;
pub(crate) const DEFERRED: usize = 5;

/// What a process sees of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// What was put.
    Right,
    /// That it is not there.
    Nothing,
    /// Something else.
    Wrong,
    /// An error, of the kind of this number.
    Error(ErrorKind),
}

const KINDS: [ErrorKind; 12] = [
    ErrorKind::Closed,
    ErrorKind::Corrupted,
    ErrorKind::Internal,
    ErrorKind::InvalidConfig,
    ErrorKind::InvalidKey,
    ErrorKind::Os,
    ErrorKind::PermissionDenied,
    ErrorKind::StorageFull,
    ErrorKind::TimedOut,
    ErrorKind::TooLarge,
    ErrorKind::Unavailable,
    ErrorKind::Unsupported,
];

impl Seen {
    fn of(client: &Client, key: &Key, contents: Contents) -> Self {
        match client.get(key) {
            Ok(Some(found)) if contents.check(&found).is_ok() => Self::Right,
            Ok(Some(_)) => Self::Wrong,
            Ok(None) => Self::Nothing,
            Err(error) => Self::Error(error.kind()),
        }
    }

    fn to_word(self) -> u64 {
        match self {
            Self::Right => 0,
            Self::Nothing => 1,
            Self::Wrong => 2,
            Self::Error(kind) => {
                let number = (3..).zip(KINDS).find(|(_, known)| *known == kind);
                number.map_or(2, |(number, _)| number)
            }
        }
    }

    fn from_word(word: u64) -> Self {
        match word {
            0 => Self::Right,
            1 => Self::Nothing,
            2 => Self::Wrong,
            word => (3..)
                .zip(KINDS)
                .find(|(number, _)| *number == word)
                .map_or(Self::Wrong, |(_, kind)| Self::Error(kind)),
        }
    }
}

/// What a process tells the test.
#[derive(Clone, Copy, Debug)]
struct Told(&'static [AtomicU64]);

impl Told {
    fn new() -> Checked<Self> {
        Ok(Self(shared_words(2 * OBJECTS.len() + 1)?))
    }

    fn tell_keys(&self, keys: &[Key]) -> Checked {
        for (pair, key) in self.0.chunks(2).zip(keys) {
            for (place, word) in pair.iter().zip(words(key)?) {
                place.store(word, Ordering::Release);
            }
        }
        Ok(())
    }

    fn keys(&self) -> Vec<Key> {
        let pairs = self.0.chunks_exact(2).map(|pair| {
            let [id, word] = [0, 1].map(|at: usize| pair[at].load(Ordering::Acquire));
            client::key([id, word])
        });
        pairs.collect()
    }

    fn tell_seen(&self, client: &Client, keys: &[Key]) {
        for ((place, key), contents) in self.0.iter().zip(keys).zip(OBJECTS) {
            let seen = Seen::of(client, key, contents);
            place.store(seen.to_word(), Ordering::Release);
        }
    }

    fn tell_failed(&self, error: &Error) {
        for place in self.0.iter().take(OBJECTS.len()) {
            let seen = Seen::Error(error.kind());
            place.store(seen.to_word(), Ordering::Release);
        }
        self.0[2 * OBJECTS.len()].store(1, Ordering::Release);
    }

    fn seen(&self) -> View {
        let words = self.0.iter().map(|word| word.load(Ordering::Acquire));
        let seen = words.take(OBJECTS.len()).map(Seen::from_word);
        View {
            objects: seen.collect(),
            joined: self.0[2 * OBJECTS.len()].load(Ordering::Acquire) == 0,
        }
    }
}

/// What one process sees of the objects, or why it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) objects: Vec<Seen>,
    pub(crate) joined: bool,
}

impl View {
    /// Wants everything to be there, but perhaps for some objects, which may be errors.
    pub(crate) fn check_but(&self, damaged: &[usize]) -> Checked {
        for (index, seen) in self.objects.iter().enumerate() {
            let allowed = *seen == Seen::Right
                || damaged.contains(&index) && *seen == Seen::Error(ErrorKind::Corrupted);
            ensure!(allowed, "{:?} is seen as {seen:?}", OBJECTS[index]);
        }
        Ok(())
    }

    /// Wants no object to be seen as something else, or as if it had not been put.
    pub(crate) fn check_honest(&self) -> Checked {
        for (index, seen) in self.objects.iter().enumerate() {
            let honest = matches!(seen, Seen::Right | Seen::Error(_));
            ensure!(honest, "{:?} is seen as {seen:?}", OBJECTS[index]);
        }
        Ok(())
    }
}

/// A process that has put all objects, and lives.
#[derive(Debug)]
pub(crate) struct Keeper {
    line: Line,
    process: Child,
    told: Told,
    pub(crate) keys: Vec<Key>,
}

impl Keeper {
    pub(crate) fn start(options: &Config) -> Checked<Self> {
        let told = Told::new()?;
        let (mut line, mut theirs) = line()?;
        let mut process = fork(move || {
            let client = Client::open(options)?;
            let keys = put_all(&client)?;
            told.tell_keys(&keys)?;
            let mut held = None;
            theirs.say(b'r')?;
            while let Some(asked) = theirs.hear()? {
                set_patience(60);
                match asked {
                    b'l' => {
                        told.tell_seen(&client, &keys);
                        if let Some(held) = &held {
                            OBJECTS[LARGE].check(held)?;
                        }
                    }
                    b'h' => held = Some(client.expect(&keys[LARGE], OBJECTS[LARGE])?),
                    b'u' => use_it(&client)?,
                    b'e' => keys.iter().try_for_each(|key| client.evict(key))?,
                    _ => break,
                }
                theirs.say(asked)?;
            }
            Ok(client.close(false)?)
        })?;
        if line.wait().is_err() {
            process.finish("the keeper")?;
        }
        Ok(Self {
            keys: told.keys(),
            line,
            process,
            told,
        })
    }

    fn ask(&mut self, what: u8) -> Checked {
        self.line.say(what)?;
        match self.line.wait() {
            Ok(_) => Ok(()),
            Err(_) => self.process.finish("the keeper"),
        }
    }

    /// What it sees.
    pub(crate) fn look(&mut self) -> Checked<View> {
        self.ask(b'l')?;
        Ok(self.told.seen())
    }

    /// Has it hold a view of an object from now on, which must not change.
    pub(crate) fn hold(&mut self) -> Checked {
        self.ask(b'h')
    }

    /// Has it put, get and evict other objects.
    pub(crate) fn work(&mut self) -> Checked {
        self.ask(b'u')
    }

    /// Has it evict what it put.
    pub(crate) fn evict(&mut self) -> Checked {
        self.ask(b'e')
    }

    pub(crate) fn kill(mut self) -> Checked<Vec<Key>> {
        let ended = self.process.kill()?;
        ensure!(ended == Ended::KILLED, "the keeper ended: {ended:?}");
        Ok(self.keys)
    }

    pub(crate) fn leave(mut self) -> Checked {
        self.line.say(b'x')?;
        self.process.finish("the keeper")
    }
}

/// What a process sees that joins only now, and then works as well as it can.
pub(crate) fn look_afresh(options: &Config, keys: &[Key]) -> Checked<View> {
    let told = Told::new()?;
    let mut process = fork(|| {
        match Client::open(options) {
            Ok(client) => {
                told.tell_seen(&client, keys);
                // Whatever comes of it, it ends.
                let _ = use_it(&client);
            }
            Err(error) => told.tell_failed(&error),
        }
        Ok(())
    })?;
    process.finish("whoever looks afresh")?;
    Ok(told.seen())
}

fn put_all(client: &Client) -> Checked<Vec<Key>> {
    let mut keys = Vec::new();
    for contents in &OBJECTS[..DEFERRED] {
        keys.push(client.put(*contents)?);
    }
    let deferred = client.new_key()?;
    client.set(&deferred, OBJECTS[DEFERRED])?;
    keys.push(deferred);
    Ok(keys)
}

/// Puts, gets and evicts objects as if nothing were wrong.
pub(crate) fn use_it(client: &Client) -> Checked {
    for len in [100, 12_000, 100_000, 300_000] {
        let contents = Contents::new(len, len);
        let key = client.put(contents)?;
        client.expect(&key, contents)?;
        client.evict(&key)?;
        client.expect_none(&key)?;
    }
    let key = client.new_key()?;
    client.set(&key, Contents::new(7, 50_000))?;
    client.expect(&key, Contents::new(7, 50_000))?;
    client.evict(&key)?;
    client.expect_none(&key)
}
