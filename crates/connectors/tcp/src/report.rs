//! What a node says about itself.

use std::convert::Infallible;

use proxystore_core::{Config, Deadline, Operation, Result, Value};
use proxystore_node::client::{Client, NodeAddress};
use proxystore_runtime::{Stopped, drive};

use crate::config::Options;

/// Asks the node that the options name. The connections that this takes are closed again.
pub(crate) fn report(options: &Options) -> Result<Value> {
    let client = Client::new(options.settings()?);
    let node = NodeAddress::new(&options.hostname, options.port);
    let asked = Operation::pending(client.status(&node, Deadline::never()));
    let entries = drive(asked, Deadline::never(), || Ok::<_, Infallible>(()));
    let entries = entries.map_err(|stopped| match stopped {
        Stopped::Failed(error) => error.with_operation("report"),
        Stopped::Interrupted(never) => match never {},
    })?;
    let entries = entries.into_iter();
    let entries = entries.map(|(name, value)| (name, i64::try_from(value).unwrap_or(i64::MAX)));
    let report: Config = entries.collect();
    Ok(Value::List(vec![Value::Map(report)]))
}
