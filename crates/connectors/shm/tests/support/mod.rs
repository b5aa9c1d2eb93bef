//! What the tests of this connector share.

#![allow(dead_code, unused_imports, reason = "every test uses a part of it")]

pub(crate) mod client;
pub(crate) mod contents;
pub(crate) mod history;
pub(crate) mod layout;
pub(crate) mod processes;

use std::{
    env,
    error::Error,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use tempfile::{Builder, TempDir};

/// What a test with a `main` of its own comes to.
pub(crate) type Checked<T = ()> = Result<T, Box<dyn Error>>;

/// A test with its name.
pub(crate) type Test = (&'static str, fn() -> Checked);

/// Tells a process that was started by a test what to do.
const ROLE: &str = "SHM_TEST_ROLE";

/// The defect that a process has, if any.
pub(crate) const MUTANT: &str = "PROXYSTORE_SHM_MUTANT";

pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Runs the tests of a program with a `main` of its own, as cargo's harness would: all of them, or
/// those whose names contain the first argument.
pub(crate) fn main(tests: &[Test]) -> ExitCode {
    main_of(tests.iter().map(|(name, test)| (*name, test)))
}

/// As `main`, of tests that are not known before the program runs.
pub(crate) fn main_of<T: Fn() -> Checked>(
    tests: impl Iterator<Item = (&'static str, T)>,
) -> ExitCode {
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

/// Starts this program in another role, waits for it, and fails as it does.
pub(crate) fn start(command: &mut Command, role: &str) -> Checked {
    let output = command.env(ROLE, role).output()?;
    if output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
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

/// A directory in memory for the namespaces of one test.
pub(crate) fn directory() -> io::Result<TempDir> {
    Builder::new()
        .prefix("proxystore-test-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in("/dev/shm")
}

pub(crate) fn directory_on_disk() -> io::Result<TempDir> {
    TempDir::new_in(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// The names of the files in a directory, sorted; none if there is no directory.
pub(crate) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut names = Vec::new();
    for entry in listing {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What a namespace has left that should have nothing: all files but its lock file, and those in the
/// folder that pin files are made in, which may be there.
pub(crate) fn leftovers(namespace: &Path) -> io::Result<Vec<String>> {
    const MAKING: &str = "joining";

    let mut left = names(namespace)?;
    left.retain(|name| name != "lock" && name != MAKING);
    left.extend(names(&namespace.join(MAKING))?);
    Ok(left)
}

/// Whether this user may mount file systems in a name space of mounts of its own.
pub(crate) fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// Fails with a formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}

pub(crate) use ensure;
