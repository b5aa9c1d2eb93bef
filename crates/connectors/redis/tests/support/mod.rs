//! What the tests of this connector share: real servers, and a client to look behind the
//! connector's back with.

#![allow(dead_code, reason = "every test uses a part of it")]

#[path = "../../../../transports/stream/tests/support/authority.rs"]
mod authority;
pub(crate) mod cluster;
pub(crate) mod sentinel;
pub(crate) mod server;
pub(crate) mod tls;

use std::{
    convert::Infallible,
    env, io,
    process::{Command, ExitCode},
};

use proxystore_core::{Deadline, Operation, Result};
use proxystore_runtime::{Stopped, drive};

/// What a test with a `main` of its own comes to.
pub(crate) type Checked<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A test with its name.
pub(crate) type Test = (&'static str, fn() -> Checked);

/// Tells a process that was started by a test what to do.
const ROLE: &str = "REDIS_TEST_ROLE";

pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs the tests of a program with a `main` of its own, as cargo's harness would: those whose name
/// contains the first argument, if there is one.
pub(crate) fn main(tests: &[Test]) -> ExitCode {
    let filter = env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_deref().is_none_or(|filter| name.contains(filter));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        match test() {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED\n{error}");
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}

/// Starts this program in another role, waits for it, and fails as it does.
pub(crate) fn start(command: &mut Command, role: &str) -> Checked {
    let output = command.env(ROLE, role).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Err(format!("{role} ended with {}:\n{said}", output.status).into())
}

/// A command that starts this program in another role.
pub(crate) fn this_program() -> io::Result<Command> {
    Ok(Command::new(env::current_exe()?))
}

/// Carries an operation out.
pub(crate) fn now<T>(operation: Operation<'_, Result<T>>) -> Result<T> {
    let result = drive(operation, Deadline::never(), || Ok::<(), Infallible>(()));
    result.map_err(|stopped| match stopped {
        Stopped::Failed(error) => error,
        Stopped::Interrupted(never) => match never {},
    })
}
