//! What the tests of this connector share.

#![allow(dead_code, reason = "every test uses a part of it")]

use std::{
    convert::Infallible,
    env, io,
    path::Path,
    process::{Command, ExitCode},
};

use proxystore_core::{Deadline, Operation, Result};
use proxystore_runtime::{Stopped, drive};
use tempfile::TempDir;

/// What a test with a `main` of its own comes to.
pub(crate) type Checked = std::result::Result<(), Box<dyn std::error::Error>>;

/// A test with its name.
pub(crate) type Test = (&'static str, fn() -> Checked);

/// Tells a process that was started by a test what to do.
const ROLE: &str = "FILE_TEST_ROLE";

pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs the tests of a program with a `main` of its own, as cargo's harness would.
pub(crate) fn main(tests: &[Test]) -> ExitCode {
    let mut failed = 0;
    for (name, test) in tests {
        match test() {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED\n{error}");
            }
        }
    }
    let passed = tests.len() - failed;
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
pub(crate) fn this_program(role: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role);
    Ok(command)
}

/// A directory in memory and one on a disk, or wherever the build is.
pub(crate) fn directories() -> io::Result<[TempDir; 2]> {
    Ok([directory_in_memory()?, directory_on_disk()?])
}

pub(crate) fn directory_in_memory() -> io::Result<TempDir> {
    TempDir::new_in("/dev/shm")
}

pub(crate) fn directory_on_disk() -> io::Result<TempDir> {
    TempDir::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// A directory in memory if there is so much room, else on a disk: containers often have less.
pub(crate) fn directory_with_room(bytes: u64) -> io::Result<TempDir> {
    let directory = directory_in_memory()?;
    let status = rustix::fs::statvfs(directory.path())?;
    if status.f_bavail.saturating_mul(status.f_frsize) >= bytes {
        return Ok(directory);
    }
    directory_on_disk()
}

/// Carries an operation out.
pub(crate) fn now<T>(operation: Operation<'_, Result<T>>) -> Result<T> {
    let result = drive(operation, Deadline::never(), || Ok::<(), Infallible>(()));
    result.map_err(|stopped| match stopped {
        Stopped::Failed(error) => error,
        Stopped::Interrupted(never) => match never {},
    })
}
