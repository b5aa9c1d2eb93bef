//! What the tests of this crate share: directories in memory, and other processes.

use std::{
    env,
    fs::Permissions,
    io::{PipeReader, PipeWriter, Read, Seek, Write},
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    thread,
};

use proxystore_core::Config;
use tempfile::TempDir;

use crate::config::Options;

/// A directory in memory that goes with the value.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in("/dev/shm")
        .expect("a directory in /dev/shm")
}

/// The options of a namespace in a directory, with objects held for so many seconds.
pub(crate) fn options(directory: &Path, hold: f64) -> Options {
    let directory = directory.to_str().expect("a path that is text");
    let config = Config::new()
        .with("directory", directory)
        .with("hold", hold);
    Options::parse(&config).expect("options")
}

const ROLE: &str = "PROXYSTORE_SHM_TEST_ROLE";
const DIRECTORY: &str = "PROXYSTORE_SHM_TEST_DIRECTORY";

/// What this process shall do in a test that starts itself again, and in which directory; none in
/// the process that the test was started in.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((env::var(ROLE).ok()?, env::var_os(DIRECTORY)?.into()))
}

/// A command that starts the calling test again, in a role: alone in its process, and in the main
/// thread.
pub(crate) fn again(role: &str, directory: &Path) -> Command {
    let test = thread::current();
    let test = test.name().expect("a thread named like its test");
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIRECTORY, directory);
    command
}

/// Runs the rest of the calling test in a process of its own, where it may fork.
pub(crate) fn alone(body: impl FnOnce(&Path)) {
    if let Some((_, directory)) = role() {
        return body(&directory);
    }
    let directory = directory();
    run(&mut again("alone", directory.path()));
}

/// Runs a process and fails as it does. Of its children, none is left behind.
pub(crate) fn run(command: &mut Command) {
    let mut output = tempfile::tempfile().expect("a file");
    let copy = || output.try_clone().expect("a descriptor");
    let command = command.stdout(copy()).stderr(copy()).process_group(0);
    let mut child = command.spawn().expect("a process");
    let group = libc::pid_t::try_from(child.id()).expect("a process");
    let status = child.wait().expect("a status");
    // SAFETY: sends a signal to what the process that just ended has left of its group.
    unsafe { libc::killpg(group, libc::SIGKILL) };
    let mut stdout = Vec::new();
    output.rewind().expect("a file");
    output.read_to_end(&mut stdout).expect("what it said");
    check(&Output {
        status,
        stdout,
        stderr: Vec::new(),
    });
}

/// Fails as a process did.
pub(crate) fn check(output: &Output) {
    let status = output.status;
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(status.success(), "{status}:\n{said}");
    assert!(said.contains("1 passed"), "the test was not found:\n{said}");
}

/// A forked child.
#[derive(Debug)]
pub(crate) struct Forked(libc::pid_t);

/// Forks a child that runs `body` and is told of it; alone with the calling thread.
pub(crate) fn fork(body: impl FnOnce()) -> Forked {
    // SAFETY: the child runs `body`, which tests write for that, and ends without returning.
    Forked::of(unsafe { libc::fork() }, body)
}

/// Forks a child without running any handler.
pub(crate) fn fork_untold(body: impl FnOnce()) -> Forked {
    // SAFETY: as for `fork`; without flags, a stack or places for identifiers, `clone` is a fork.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    Forked::of(libc::pid_t::try_from(child).expect("a process"), body)
}

impl Forked {
    fn of(child: libc::pid_t, body: impl FnOnce()) -> Self {
        assert!(child >= 0, "the process cannot be forked");
        if child == 0 {
            let body = std::panic::AssertUnwindSafe(body);
            let status = i32::from(std::panic::catch_unwind(body).is_err());
            // SAFETY: ends the child without running what its parent wants run at its exit.
            unsafe { libc::_exit(status) };
        }
        Self(child)
    }

    /// Waits for the child, and fails as it did.
    pub(crate) fn join(self) {
        assert_eq!(self.wait(), 0, "a forked child failed");
    }

    /// Kills the child and waits for it.
    pub(crate) fn kill(self) {
        // SAFETY: sends a signal to a child that has not been waited for.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        assert_eq!(self.wait(), libc::SIGKILL, "the child was killed");
    }

    /// Waits for the child, and says whether it was killed; else fails as it did.
    pub(crate) fn was_killed(self) -> bool {
        let status = self.wait();
        assert!(
            [0, libc::SIGKILL].contains(&status),
            "a forked child failed"
        );
        status == libc::SIGKILL
    }

    fn wait(&self) -> i32 {
        let mut status = 0;
        // SAFETY: `status` is a place for the child's status.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert_eq!(waited, self.0, "the child is waited for");
        status
    }
}

/// One end says something, the other waits for it; over forks.
#[derive(Debug)]
pub(crate) struct Signal {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Signal {
    pub(crate) fn new() -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        Self { reader, writer }
    }

    pub(crate) fn say(&self) {
        (&self.writer).write_all(&[1]).expect("the pipe is open");
    }

    pub(crate) fn wait(&self) {
        (&self.reader)
            .read_exact(&mut [0])
            .expect("the pipe is open");
    }
}

/// Waits for a process that was started, and says whether it was killed.
pub(crate) fn was_killed(mut child: Child) -> bool {
    let status = child.wait().expect("a child");
    status.signal() == Some(libc::SIGKILL)
}
