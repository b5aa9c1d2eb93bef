//! A connector, used as a program would.

use std::{path::Path, sync::Arc};

pub(crate) use proxystore_conformance::program::now;
use proxystore_core::{
    CloseOptions, Config, Connector, Deadline, Factory, Field, Key, Memory, Payload, Result, Seal,
    Segment,
};
use proxystore_shm::FACTORY;
use twox_hash::XxHash3_64;

use super::{Checked, contents::Contents};

/// The options over a directory of its own.
pub(crate) fn config(directory: &Path) -> Config {
    let directory = directory.to_string_lossy().into_owned();
    Config::new().with("directory", directory)
}

/// The options under which nothing is kept: no evicted segment for the next put, no object for the
/// next process.
pub(crate) fn keeping_nothing(directory: &Path) -> Config {
    config(directory).with("pool", 0).with("hold", 0.0)
}

#[derive(Clone, Debug)]
pub(crate) struct Client(pub(crate) Arc<dyn Connector>);

impl Client {
    pub(crate) fn open(config: &Config) -> Result<Self> {
        FACTORY.open(config).map(Self)
    }

    pub(crate) fn put(&self, contents: Contents) -> Result<Key> {
        self.put_bytes(&contents.bytes())
    }

    pub(crate) fn put_bytes(&self, bytes: &[u8]) -> Result<Key> {
        let segments = [Segment::from(bytes)];
        now(self.0.put(Payload::from(&segments), Deadline::never()))
    }

    /// Puts an object whose first bytes follow from the rest.
    pub(crate) fn put_sealed(&self, contents: Contents) -> Result<Key> {
        let bytes = contents.bytes();
        let (first, rest) = bytes.split_at(bytes.len().min(64));
        let segments = [Segment::from(first), Segment::from(rest)];
        let seal = Given {
            first,
            sum: XxHash3_64::oneshot(rest),
        };
        let payload = Payload::from(&segments).with_seal(&seal);
        now(self.0.put(payload, Deadline::never()))
    }

    pub(crate) fn get(&self, key: &Key) -> Result<Option<Memory>> {
        now(self.0.get(key, Deadline::never()))
    }

    pub(crate) fn get_copy(&self, key: &Key) -> Result<Option<Memory>> {
        now(self.0.get_copy(key, Deadline::never()))
    }

    pub(crate) fn exists(&self, key: &Key) -> Result<bool> {
        now(self.0.exists(key, Deadline::never()))
    }

    pub(crate) fn evict(&self, key: &Key) -> Result<()> {
        now(self.0.evict(key, Deadline::never()))
    }

    pub(crate) fn new_key(&self) -> Result<Key> {
        self.0.new_key()
    }

    pub(crate) fn set(&self, key: &Key, contents: Contents) -> Result<()> {
        let bytes = contents.bytes();
        let segments = [Segment::from(&bytes)];
        now(self.0.set(key, Payload::from(&segments), Deadline::never()))
    }

    pub(crate) fn close(&self, clear: bool) -> Result<()> {
        let options = CloseOptions { clear: Some(clear) };
        now(self.0.close(options, Deadline::never()))
    }

    /// Wants the object to be there, and to be this.
    pub(crate) fn expect(&self, key: &Key, contents: Contents) -> Checked<Memory> {
        let found = self.get(key)?;
        let found = found.ok_or_else(|| format!("{contents:?} is not at {key}"))?;
        contents.check(&found)?;
        Ok(found)
    }

    /// Wants the object not to be there.
    pub(crate) fn expect_none(&self, key: &Key) -> Checked {
        match self.get(key)? {
            None => Ok(()),
            Some(found) => Err(format!("{} bytes are at {key}", found.len()).into()),
        }
    }
}

/// Gives the first bytes if the sum of the others is right, else others.
struct Given<'a> {
    first: &'a [u8],
    sum: u64,
}

impl Seal for Given<'_> {
    fn seal(&self, sums: &[u64]) -> Vec<u8> {
        if sums == [self.sum] {
            self.first.to_vec()
        } else {
            self.first.iter().map(|byte| !byte).collect()
        }
    }
}

/// The two words that a key of this connector consists of.
pub(crate) fn words(key: &Key) -> Checked<[u64; 2]> {
    match key.fields() {
        [Field::Integer(id), Field::Integer(word)] => {
            Ok([id.cast_unsigned(), word.cast_unsigned()])
        }
        _ => Err(format!("{key} is no key of this connector").into()),
    }
}

/// The key that `words` took apart.
pub(crate) fn key([id, word]: [u64; 2]) -> Key {
    let [id, word] = [id.cast_signed(), word.cast_signed()];
    Key::new([Field::Integer(id), Field::Integer(word)])
}
