//! What the tests of this connector share.

#![allow(dead_code, unused_imports, reason = "every test uses a part of it")]

pub(crate) mod client;
pub(crate) mod contents;
pub(crate) mod history;
pub(crate) mod layout;
pub(crate) mod processes;

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

pub(crate) use proxystore_conformance::program::{
    Checked, Test, main, main_of, role, start, this_program,
};
use tempfile::{Builder, TempDir};

/// The defect that a process has, if any.
pub(crate) const MUTANT: &str = "PROXYSTORE_SHM_MUTANT";

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
