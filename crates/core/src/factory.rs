//! How a connector is described and opened.

use std::sync::Arc;

use crate::{capabilities::Capabilities, config::Config, connector::Connector, error::Result};

/// Opens connectors of one kind. Each connector crate has one static value of it, which the table
/// of connectors lists.
pub trait Factory: Sync {
    /// The name that users and configurations know the connector by: lower-case letters.
    fn kind(&self) -> &'static str;

    /// What the connector is, in one sentence.
    fn summary(&self) -> &'static str;

    /// What connectors of this kind can do; an opened one may say more exactly.
    fn capabilities(&self) -> Capabilities;

    /// The options that [`open`](Self::open) takes.
    fn options(&self) -> &'static [OptionInfo];

    /// Opens a connector.
    ///
    /// # Behavior
    ///
    /// * Unknown, missing and ill-typed options are refused, naming the option.
    /// * Opening twice with one configuration gives two connectors over one storage.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), or whatever keeps the storage from
    /// being reached.
    fn open(&self, config: &Config) -> Result<Arc<dyn Connector>>;
}

/// One option of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name.
    pub name: &'static str,
    /// The type of its values, as error messages and documentation name it.
    pub expects: &'static str,
    /// Its default, as documentation names it; none if it is required.
    pub default: Option<&'static str>,
    /// What it is for, in one sentence.
    pub summary: &'static str,
}
