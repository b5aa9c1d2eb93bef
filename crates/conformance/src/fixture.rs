//! What the cases need from whoever hands a connector over.

use std::sync::Arc;

use proxystore_core::{Config, Connector, Key, Result};

/// Opens a connector, and does what a connector's users, peers and disks do to it.
///
/// The methods with a default are needed by some cases only. Where a fixture keeps the default, such
/// a case is not run and says so. The cases may run in any order, one at a time.
pub trait Fixture: Sync {
    /// Opens another connector over the one storage of this fixture.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, which fails the case.
    fn open(&self) -> Result<Arc<dyn Connector>>;

    /// Opens a connector from a configuration that one of this fixture's gave.
    ///
    /// # Errors
    ///
    /// If it cannot be opened, which fails the case.
    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>>;

    /// Keys that the connector must refuse: forged ones, and those of other connectors.
    fn foreign_keys(&self) -> Vec<Key>;

    /// The names of all that is in the storage, of the connector's own and of others.
    fn stored(&self) -> Option<Vec<String>> {
        None
    }

    /// Damages a stored object behind the connector's back; none if that cannot be done.
    fn damage(&self, key: &Key, damage: Damage) -> Option<Result<()>> {
        let _ = (key, damage);
        None
    }

    /// Does `work` while the storage has no room for objects of 4 MiB; false if that cannot be
    /// arranged.
    fn while_full(&self, work: &mut dyn FnMut()) -> bool {
        let _ = work;
        false
    }

    /// Gets an object as another process does; none if that cannot be arranged.
    fn get_elsewhere(
        &self,
        connector: &dyn Connector,
        key: &Key,
        elsewhere: Elsewhere,
    ) -> Option<Result<Option<Vec<u8>>>> {
        let _ = (connector, key, elsewhere);
        None
    }

    /// Puts something that is not the connector's next to its objects, and returns how to find out
    /// whether it is still there; none if there is no such place.
    fn plant(&self) -> Option<Box<dyn Fn() -> bool>> {
        None
    }

    /// Does `work` while the server or peer takes requests and answers none; false if that cannot
    /// be arranged.
    fn while_stalled(&self, work: &mut dyn FnMut()) -> bool {
        let _ = work;
        false
    }

    /// Cuts every connection to the server or peer, which takes new ones at once and has kept its
    /// objects; false if that cannot be arranged.
    fn cut_connections(&self) -> bool {
        false
    }
}

/// How an object is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit in the middle of it is another.
    FlippedBit,
    /// Its second half was never written.
    HalfWritten,
    /// Its last byte is gone.
    Truncated,
}

/// In which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// A forked child, which uses the very connector.
    Fork,
    /// A fresh process, which opens a connector from the configuration.
    Process,
}
