//! Tests with a `main` of their own, which start their own program again to be another process.

use std::{
    convert::Infallible,
    env, io,
    process::{Command, ExitCode},
    time::Instant,
};

use proxystore_core::{Deadline, Operation, Result};
use proxystore_runtime::{Stopped, drive};

/// What a test comes to.
pub type Checked<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A test with its name.
pub type Test = (&'static str, fn() -> Checked);

/// The variable that tells a process what it is to do.
pub const ROLE: &str = "PROXYSTORE_TEST_ROLE";

/// What this process is to do, if a test started it.
#[must_use]
pub fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs tests as cargo's harness would: all of them, or those whose names contain the first
/// argument.
pub fn main(tests: &[Test]) -> ExitCode {
    main_of(tests.iter().map(|(name, test)| (*name, test)))
}

/// As [`main`], of tests that are not known before the program runs.
pub fn main_of<T: Fn() -> Checked>(tests: impl Iterator<Item = (&'static str, T)>) -> ExitCode {
    let wanted = env::args().skip(1).find(|word| !word.starts_with('-'));
    let wanted = wanted.unwrap_or_default();
    let tests: Vec<_> = tests.filter(|(name, _)| name.contains(&wanted)).collect();
    let mut failed = 0;
    for (name, test) in &tests {
        let start = Instant::now();
        let result = test();
        let took = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("test {name} ... ok ({took:.1} s)"),
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED ({took:.1} s)\n{error}");
            }
        }
    }
    let passed = tests.len() - failed;
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}

/// Starts a command in a role and waits for it.
///
/// # Errors
///
/// If it fails, with what it said.
pub fn start(command: &mut Command, role: &str) -> Checked {
    let output = command.env(ROLE, role).output()?;
    if output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Err(format!("{role} ended with {}:\n{said}", output.status).into())
}

/// A command that starts this program in a role.
///
/// # Errors
///
/// If the program is not where it was.
pub fn this_program(role: &str) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.env(ROLE, role);
    Ok(command)
}

/// Carries an operation out, however long it takes.
///
/// # Errors
///
/// As the operation does.
pub fn now<T>(operation: Operation<'_, Result<T>>) -> Result<T> {
    let result = drive(operation, Deadline::never(), || Ok::<(), Infallible>(()));
    result.map_err(|stopped| match stopped {
        Stopped::Failed(error) => error,
        Stopped::Interrupted(never) => match never {},
    })
}
