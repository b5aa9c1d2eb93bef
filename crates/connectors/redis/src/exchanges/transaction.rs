//! Commands that are carried out together.

use crate::{
    connection::Connection,
    error::RedisError,
    resp::{Malformed, Value},
};

/// Reads the replies to `MULTI`, so many commands and `EXEC`: those of the commands. Only the
/// last one matters enough for its refusal to be an error.
pub(super) async fn transaction(
    connection: &mut Connection,
    commands: usize,
) -> Result<Vec<Value>, RedisError> {
    let mut refused = None;
    for _ in 0..=commands {
        match connection.status().await {
            Ok(()) => {}
            // The first says why, and the others follow from it.
            Err(error) if error.refusal().is_some() => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    let answers = connection.value().await;
    match (refused, answers) {
        (_, Err(error)) if error.refusal().is_none() => Err(error),
        (Some(refused), _) => Err(refused),
        (None, Ok(Value::Array(answers))) if answers.len() == commands => match answers.last() {
            Some(Value::Error(line)) => Err(connection.refused(line.as_bytes())),
            _ => Ok(answers),
        },
        (None, Ok(other)) => {
            let found = format!("{other:.40?}");
            Err(connection.malformed(Malformed::Unexpected { found }))
        }
        (None, Err(error)) => Err(error),
    }
}
