//! Exchanges about names, which move no objects.

use super::{
    set::{look, push_look},
    transaction::transaction,
};
use crate::{
    client::{Exchange, Limit},
    connection::Connection,
    error::RedisError,
    key::ObjectName,
    manifest::Manifest,
    options::SMALLEST_PART,
    resp::{Malformed, Value},
};

/// How many names one command removes at most.
const MOST: usize = 1000;

/// Tells whether there is an object.
pub(crate) struct Exists<'a>(pub(crate) &'a ObjectName);

impl Exchange for Exists<'_> {
    type Answer = bool;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        _: &Limit,
    ) -> Result<bool, RedisError> {
        connection.expect(&[b"EXISTS", self.0.as_str().as_bytes()]);
        connection.flush().await?;
        Ok(connection.integer().await? != 0)
    }
}

/// Removes an object, and returns the list of its parts, if it was stored in parts.
pub(crate) struct Evict<'a>(pub(crate) &'a ObjectName);

impl Evict<'_> {
    /// Whether the object's size tells that it is in one value.
    fn is_whole(&self) -> bool {
        let expected = self.0.expected();
        expected.is_some_and(|expected| expected.len < SMALLEST_PART)
    }
}

impl Exchange for Evict<'_> {
    type Answer = Option<Manifest>;

    async fn perform(
        &mut self,
        connection: &mut Connection,
        _: &Limit,
    ) -> Result<Option<Manifest>, RedisError> {
        let name = self.0.as_str();
        if self.is_whole() {
            connection.expect(&[b"UNLINK", name.as_bytes()]);
            connection.flush().await?;
            connection.integer().await?;
            return Ok(None);
        }
        connection.commands.push(&[b"MULTI"]);
        push_look(&mut connection.commands, name);
        connection.commands.push(&[b"UNLINK", name.as_bytes()]);
        connection.commands.push(&[b"EXEC"]);
        connection.owe(4);
        connection.flush().await?;
        let answers = transaction(connection, 2).await?;
        Ok(answers.first().and_then(look))
    }

    fn is_single(&self) -> bool {
        self.is_whole()
    }
}

/// Removes names of one slot, or, of one server, of any.
pub(crate) struct Unlink<'a>(pub(crate) &'a [String]);

impl Exchange for Unlink<'_> {
    type Answer = ();

    async fn perform(&mut self, connection: &mut Connection, _: &Limit) -> Result<(), RedisError> {
        for names in self.0.chunks(MOST) {
            unlink(connection, names).await?;
        }
        Ok(())
    }
}

async fn unlink<N: AsRef<[u8]>>(
    connection: &mut Connection,
    names: &[N],
) -> Result<(), RedisError> {
    if names.is_empty() {
        return Ok(());
    }
    connection.commands.begin(names.len() + 1);
    connection.commands.argument(b"UNLINK");
    for name in names {
        connection.commands.argument(name.as_ref());
    }
    connection.owe(1);
    connection.flush().await?;
    connection.integer().await.map(drop)
}

/// Removes everything on a server that begins with a prefix, or simply everything.
pub(crate) struct Clear<'a> {
    pub(crate) prefix: &'a str,
    /// Whether names that begin alike may be in different slots.
    pub(crate) cluster: bool,
}

impl Exchange for Clear<'_> {
    type Answer = ();

    async fn perform(&mut self, connection: &mut Connection, _: &Limit) -> Result<(), RedisError> {
        if self.prefix.is_empty() {
            connection.expect(&[b"FLUSHDB"]);
            connection.flush().await?;
            return connection.status().await;
        }
        let prefix = escaped(self.prefix);
        // Parts are kept in the slot of their object by braces around its name.
        for pattern in [format!("{prefix}*"), format!("{{{prefix}*")] {
            self.clear(connection, pattern.as_bytes()).await?;
        }
        Ok(())
    }
}

impl Clear<'_> {
    async fn clear(&self, connection: &mut Connection, pattern: &[u8]) -> Result<(), RedisError> {
        let mut cursor = b"0".to_vec();
        loop {
            connection.expect(&[b"SCAN", &cursor, b"MATCH", pattern, b"COUNT", b"1000"]);
            connection.flush().await?;
            let answer = connection.value().await?;
            let Some((next, names)) = scanned(answer) else {
                let found = "no page of names".to_owned();
                return Err(connection.malformed(Malformed::Unexpected { found }));
            };
            let step = if self.cluster { 1 } else { MOST };
            for names in names.chunks(step) {
                unlink(connection, names).await?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
    }
}

fn scanned(answer: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let bytes = |value| match value {
        Value::Bulk(bytes) => Some(bytes),
        _ => None,
    };
    let Value::Array(parts) = answer else {
        return None;
    };
    let [cursor, Value::Array(names)] = <[Value; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let names: Option<Vec<_>> = names.into_iter().map(bytes).collect();
    Some((bytes(cursor)?, names?))
}

/// A text as a pattern that only this text matches.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_literally() {
        assert_eq!(escaped("a*b[c]?\\"), "a\\*b\\[c\\]\\?\\\\");
    }
}
