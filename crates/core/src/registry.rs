//! Finds connectors by name.

use std::{fmt, sync::Arc};

use crate::{
    config::Config,
    connector::Connector,
    error::{Error, ErrorKind, Result},
    factory::Factory,
};

/// The connectors that there are: a table that everything else loops over.
#[derive(Clone, Copy)]
pub struct Registry(&'static [&'static dyn Factory]);

impl Registry {
    /// A registry over a table.
    #[must_use]
    pub const fn new(factories: &'static [&'static dyn Factory]) -> Self {
        Self(factories)
    }

    /// All factories, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn Factory> + use<> {
        self.0.iter().copied()
    }

    /// The names of all connectors, in the order of the table.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.iter().map(Factory::kind)
    }

    /// The factory of the connector `kind`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] naming the connectors that there are.
    pub fn lookup(&self, kind: &str) -> Result<&'static dyn Factory> {
        let found = self.iter().find(|factory| factory.kind() == kind);
        found.ok_or_else(|| {
            let known: Vec<_> = self.kinds().collect();
            let known = known.join(", ");
            let message = format!("there is no connector '{kind}'; there are: {known}");
            Error::new(ErrorKind::InvalidConfig, message)
        })
    }

    /// Opens a connector of the given kind.
    ///
    /// # Errors
    ///
    /// As [`lookup`](Self::lookup) and [`Factory::open`].
    pub fn open(&self, kind: &str, config: &Config) -> Result<Arc<dyn Connector>> {
        self.lookup(kind)?.open(config)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.kinds()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local;

    static TABLE: [&dyn Factory; 1] = [&local::FACTORY];
    static REGISTRY: Registry = Registry::new(&TABLE);

    #[test]
    fn an_unknown_kind_is_answered_with_the_known_ones() {
        let error = REGISTRY.lookup("nope").err().expect("unknown");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(
            error.to_string(),
            "there is no connector 'nope'; there are: local"
        );
    }

    #[test]
    fn a_known_kind_opens() {
        let connector = REGISTRY.open("local", &Config::new()).expect("it opens");
        assert_eq!(connector.kind(), "local");
    }
}
