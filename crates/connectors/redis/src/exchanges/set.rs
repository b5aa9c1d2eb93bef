//! Storing an object under a name that was there before.

use std::time::Duration;

use proxystore_core::Payload;

use super::{close_set, open_set, transaction::transaction};
use crate::{
    client::{Exchange, Limit},
    connection::Connection,
    error::RedisError,
    key::ObjectName,
    manifest::{LENGTH, Manifest},
    resp::{Command, Value},
};

/// Stores an object as one value in the place of what is there, and returns the list of the parts
/// of that, if it was stored in parts.
pub(crate) struct Set<'a> {
    pub(crate) payload: Payload<'a>,
    pub(crate) name: &'a ObjectName,
    pub(crate) ttl: Option<Duration>,
    /// Whether the server may have done it, though nobody knows.
    pub(crate) sent: bool,
}

impl Exchange for Set<'_> {
    type Answer = Option<Manifest>;

    const REPEATABLE: bool = false;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        _: &Limit,
    ) -> Result<Option<Manifest>, RedisError> {
        self.sent = false;
        let name = self.name.as_str();
        connection.commands.push(&[b"MULTI"]);
        push_look(&mut connection.commands, name);
        open_set(&mut connection.commands, name, self.payload.len(), self.ttl);
        let mut tail = Command::new();
        close_set(&mut tail, self.ttl);
        tail.push(&[b"EXEC"]);
        connection.owe(4);
        connection
            .send_object(self.payload.segments(), tail.as_bytes())
            .await?;
        self.sent = true;
        let answers = transaction(connection, 2).await;
        if matches!(&answers, Err(error) if error.refusal().is_some()) {
            self.sent = false;
        }
        Ok(answers?.first().and_then(look))
    }

    fn is_repeatable(&self) -> bool {
        // Another one may have replaced the object in between.
        !self.sent
    }

    fn is_single(&self) -> bool {
        false
    }
}

/// Adds the command that shows whether an object is stored in parts.
pub(super) fn push_look(commands: &mut Command, name: &str) {
    commands.begin(4);
    commands.argument(b"GETRANGE");
    commands.argument(name.as_bytes());
    commands.number(0);
    // One more than there may be, as a longer value is another.
    commands.number(LENGTH as u64);
}

/// What the command showed.
pub(super) fn look(answer: &Value) -> Option<Manifest> {
    match answer {
        // One that is damaged has no parts that anybody could find.
        Value::Bulk(bytes) => Manifest::parse(bytes).ok().flatten(),
        _ => None,
    }
}
