//! Pass-by-reference for distributed programs: the facade and the table of connectors.
//!
//! A producer puts an object through a [`Connector`] and hands out its [`Key`]; whoever has the key
//! gets the object.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use proxystore::{Config, Deadline, Payload, Segment, drive, registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wait = || Ok::<(), Infallible>(());
//! let connector = registry().open("local", &Config::new())?;
//! let parts = [Segment::from(b"hello, "), Segment::from(b"world")];
//! let key = drive(connector.put(Payload::from(&parts), Deadline::never()), Deadline::never(), wait)?;
//! let object = drive(connector.get(&key, Deadline::never()), Deadline::never(), wait)?;
//! assert_eq!(object.expect("it was just put").to_vec(), b"hello, world");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub use proxystore_core::*;
pub use proxystore_node as node;
pub use proxystore_redis::streams as redis_streams;
pub use proxystore_runtime::{Stopped, drive};

/// Every connector there is. Adding one costs a line here and a dependency.
pub static CONNECTORS: &[&dyn Factory] = &[
    &proxystore_file::FACTORY,
    &local::FACTORY,
    &proxystore_redis::FACTORY,
    &proxystore_shm::FACTORY,
    &proxystore_tcp::FACTORY,
];

static REGISTRY: Registry = Registry::new(CONNECTORS);

/// The registry over [`CONNECTORS`].
#[must_use]
pub fn registry() -> &'static Registry {
    &REGISTRY
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_lower_case_words() {
        let kinds: Vec<_> = registry().kinds().collect();
        let unique: HashSet<_> = kinds.iter().collect();
        assert_eq!(unique.len(), kinds.len(), "{kinds:?}");
        for kind in kinds {
            assert!(!kind.is_empty());
            assert!(kind.bytes().all(|byte| byte.is_ascii_lowercase()), "{kind}");
        }
    }

    #[test]
    fn every_connector_is_described() {
        for factory in registry().iter() {
            assert!(factory.summary().ends_with('.'), "{}", factory.kind());
            let mut names = HashSet::new();
            for option in factory.options() {
                let whole = format!("{}.{}", factory.kind(), option.name);
                assert!(names.insert(option.name), "{whole} is listed twice");
                assert!(!option.expects.is_empty(), "{whole}");
                assert!(!option.summary.is_empty(), "{whole}");
            }
        }
    }

    #[test]
    fn every_connector_refuses_an_option_it_does_not_have() {
        for factory in registry().iter() {
            let config = Config::new().with("no_such_option", 1_i64);
            let error = factory.open(&config).expect_err("unknown");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert_eq!(error.context("option"), Some("no_such_option"));
        }
    }
}
