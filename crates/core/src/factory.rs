//! How a connector is described and opened.

use std::sync::Arc;

use crate::{
    capabilities::Capabilities,
    config::{Config, Value},
    connector::Connector,
    error::{Error, ErrorKind, Result},
};

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

    /// What the storage that `config` names holds at present, without opening a connector: a list
    /// of maps of plain values whose names the connector's documentation gives.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if the storage needs no such care.
    fn report(&self, config: &Config) -> Result<Value> {
        let _ = config;
        Err(needs_no_care(self.kind(), "report"))
    }

    /// Frees what nobody holds any more in the storage that `config` names, and says what that was,
    /// in the form of [`report`](Self::report).
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if the storage needs no such care.
    fn collect_garbage(&self, config: &Config) -> Result<Value> {
        let _ = config;
        Err(needs_no_care(self.kind(), "collect_garbage"))
    }
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

fn needs_no_care(kind: &str, operation: &'static str) -> Error {
    let message = format!("the storage of the {kind} connector needs no care");
    Error::new(ErrorKind::Unsupported, message).with_operation(operation)
}
