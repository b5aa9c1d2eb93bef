//! The in-memory connector keeps the contract.

use std::sync::Arc;

use proxystore_conformance::{Fixture, check};
use proxystore_core::{Config, Connector, Factory, Field, Key, Result, local};

struct Local;

impl Fixture for Local {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        local::FACTORY.open(&Config::new().with("name", "conformance"))
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        local::FACTORY.open(config)
    }

    fn foreign_keys(&self) -> Vec<Key> {
        let nested = Field::Nested(Key::new([Field::Integer(1)]));
        vec![
            Key::new([]),
            Key::new([Field::Absent]),
            Key::new([Field::Integer(-1)]),
            Key::new([Field::Integer(1), Field::Integer(2)]),
            Key::new([nested]),
            Key::text("1"),
            Key::text("../1"),
        ]
    }
}

/// Nothing can reach behind this connector's back: its objects are private to the process, and
/// there is room as long as there is memory.
const NO_MEANS: &[&str] = &[
    "close-spares-what-is-not-owned",
    "failed-batch-leaves-nothing",
    "failed-put-leaves-nothing",
    "failed-set-changes-nothing",
    "forked-children-share-a-connector",
    "half-written-object-is-an-error",
    "truncated-object-is-an-error",
];

#[test]
fn the_local_connector_conforms() {
    // Holds the storage, which lasts as long as a connector is over it.
    let _storage = Local.open().expect("it opens");
    check(&Local, NO_MEANS).expect("the contract is kept");
}
