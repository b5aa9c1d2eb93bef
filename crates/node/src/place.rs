//! Where a node and its clients on the same host find each other.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::FlockOperation;

/// Bytes of the longest description of a node.
const LONGEST: u64 = 1 << 10;

/// Bytes of the longest path of a Unix socket, without the zero at its end.
const LONGEST_SOCKET: usize = 107;

/// How often somebody who has the lock of a node that has ended is looked at again, and after how
/// long: whoever only looks has it for a moment.
const LOOKS: (usize, Duration) = (20, Duration::from_millis(5));

/// What stands for a process that is a node and nothing else.
const DAEMON: &str = "daemon";

/// The directory of this user's sockets, for this user only: in `$XDG_RUNTIME_DIR`, or in `/tmp`
/// where there is none or its path is too long for a socket's. It is made if it is not there.
///
/// # Errors
///
/// If it cannot be made, or somebody else has made it or could change it.
pub fn directory() -> io::Result<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let given = env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute() && path.is_dir());
    let directory = given
        .map(|given| given.join("proxystore"))
        .filter(|directory| has_room(directory))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/proxystore-{user}")));
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&directory)?;
    if !found.is_dir() || found.uid() != user {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is not a directory of this user",
        ));
    }
    if found.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others may enter it; chmod 700 it",
        ));
    }
    Ok(directory)
}

/// Whether the paths of sockets in a directory are not too long.
fn has_room(directory: &Path) -> bool {
    socket_in(directory, u16::MAX).as_os_str().len() <= LONGEST_SOCKET
}

/// The Unix socket of this user's node on a port of this host. It need not be there.
///
/// # Errors
///
/// As [`directory`].
pub fn socket(port: u16) -> io::Result<PathBuf> {
    Ok(socket_in(&directory()?, port))
}

fn socket_in(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!("node-{port}.sock"))
}

fn lock_in(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!("node-{port}.lock"))
}

/// The right to be the node of this user on a port of this host: one process has it at a time, and
/// it ends with that process.
#[derive(Debug)]
pub(crate) struct Claim {
    file: fs::File,
    socket: PathBuf,
}

/// Who has a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process.
    pub process: u32,
    /// Whether that process does nothing else, and may be asked to end.
    pub is_daemon: bool,
    /// Where it listens; empty while it starts.
    pub address: String,
}

impl Claim {
    /// Takes the claim; if another process has it, that one.
    ///
    /// # Errors
    ///
    /// If the file that stands for the claim cannot be made.
    pub(crate) fn take(port: u16) -> io::Result<Result<Self, Owner>> {
        Self::take_in(&directory()?, port)
    }

    fn take_in(directory: &Path, port: u16) -> io::Result<Result<Self, Owner>> {
        let path = lock_in(directory, port);
        let file = loop {
            let mut file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_named(&file, &path)? => break file,
                // Somebody has cleared it away meanwhile.
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Err(Owner::read(&mut file))),
                Err(error) => return Err(error.into()),
            }
        };
        let claim = Self {
            file,
            socket: socket_in(directory, port),
        };
        claim.tell("", false)?;
        // Whoever had the claim before left it if it was killed.
        claim.remove_socket()?;
        if let Err(error) = clear_away(directory) {
            tracing::debug!(%error, "what nodes that have ended left cannot be removed");
        }
        Ok(Ok(claim))
    }

    /// Writes down where the node listens, for those who want to be it.
    pub(crate) fn tell(&self, address: &str, is_daemon: bool) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        file.set_len(0)?;
        let kind = if is_daemon { DAEMON } else { "process" };
        writeln!(file, "{} {kind} {address}", std::process::id())
    }

    /// The Unix socket that goes with the claim.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file that is locked.
    pub(crate) const fn file(&self) -> &fs::File {
        &self.file
    }

    /// Removes the socket's name. Clients that are connected stay so.
    pub(crate) fn remove_socket(&self) -> io::Result<()> {
        remove(&self.socket)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Others who have the lock for a moment, to look, must not be taken for this process. Programs
        // that it starts just now have copies of the file, and with them the lock unless it is undone.
        let told = self.file.set_len(0);
        let undone = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        if let Err(error) = told.and(undone.map_err(io::Error::from)) {
            tracing::debug!(%error, "a node's claim cannot be given up");
        }
    }
}

/// Removes the locks and sockets of nodes that have ended: each free port that a node ever had would
/// leave its own.
fn clear_away(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_node = path
            .file_stem()
            .and_then(OsStr::to_str)
            .is_some_and(|stem| stem.starts_with("node-"));
        let is_lock = is_node && path.extension() == Some(OsStr::new("lock"));
        let file = match fs::File::open(&path) {
            Ok(file) if is_lock => file,
            // A socket, or another process clears away, too.
            _ => continue,
        };
        let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        // Whoever takes the claim now finds that the file has no name any more, and makes another.
        if locked.is_ok() && is_named(&file, &path)? {
            for path in [path.with_extension("sock"), path] {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

/// Whether an open file is still the one of this name.
fn is_named(file: &fs::File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Owner {
    /// The node of this user on a port of this host, if there is one.
    ///
    /// # Errors
    ///
    /// As [`directory`], and if the file that stands for the claim cannot be read.
    pub fn of(port: u16) -> io::Result<Option<Self>> {
        Self::of_in(&directory()?, port)
    }

    fn of_in(directory: &Path, port: u16) -> io::Result<Option<Self>> {
        let mut file = match fs::File::open(lock_in(directory, port)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (looks, pause) = LOOKS;
        let mut look = 1;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => return Ok(None),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
            file.rewind()?;
            let owner = Self::read(&mut file);
            if owner.is_alive() || look == looks {
                return Ok(Some(owner));
            }
            thread::sleep(pause);
            look += 1;
        }
    }

    /// Whether its process is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let process = i32::try_from(self.process).ok();
        let process = process.and_then(rustix::process::Pid::from_raw);
        process.is_some_and(|process| {
            let outcome = rustix::process::test_kill_process(process);
            outcome != Err(rustix::io::Errno::SRCH)
        })
    }

    fn read(file: &mut fs::File) -> Self {
        let mut text = String::new();
        // What cannot be read is not known: it is for people.
        let _ = file.take(LONGEST).read_to_string(&mut text);
        let mut words = text.split_ascii_whitespace();
        let mut word = || words.next().unwrap_or_default();
        Self {
            process: word().parse().unwrap_or(0),
            is_daemon: word() == DAEMON,
            address: word().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_claim_and_the_others_learn_who() {
        let directory = tempfile::tempdir().expect("a directory");
        let take = || Claim::take_in(directory.path(), 7337).expect("room");
        let claim = take().expect("nobody has it");
        let process = std::process::id();
        let owner = take().expect_err("it is taken");
        assert_eq!((owner.process, owner.address.as_str()), (process, ""));
        claim.tell("127.0.0.1:7337", true).expect("room");
        let owner = take().expect_err("it is taken");
        assert_eq!(owner.address, "127.0.0.1:7337");
        assert!(owner.is_daemon && owner.is_alive());
        claim.tell("h", false).expect("room");
        assert_eq!(take().expect_err("it is taken").address, "h");
        drop(claim);
        take().expect("nobody has it");
    }

    #[test]
    fn whoever_looks_at_what_has_ended_is_no_node() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let claim = Claim::take_in(path, 1).expect("room").expect("no owner");
        claim.tell("127.0.0.1:1", false).expect("room");
        let of = || Owner::of_in(path, 1).expect("it can be seen");
        assert_eq!(of().expect("a node").address, "127.0.0.1:1");
        drop(claim);
        let looking = fs::File::open(lock_in(path, 1)).expect("it stays");
        rustix::fs::flock(&looking, FlockOperation::LockExclusive).expect("a lock");
        let owner = Claim::take_in(path, 1).expect("room").expect_err("a lock");
        assert_eq!((owner.process, owner.address.as_str()), (0, ""));
        thread::scope(|scope| {
            let running = scope.spawn(of);
            drop(looking);
            // Neither does it wait for ever, nor is this process still the node.
            let owner = running.join().expect("no panic");
            assert!(owner.is_none_or(|owner| !owner.is_alive()));
        });
    }

    #[test]
    fn sockets_are_where_their_paths_are_short() {
        let long = PathBuf::from("/tmp").join("x".repeat(87));
        assert!(!has_room(&long));
        let short = PathBuf::from("/tmp").join("x".repeat(86));
        assert!(has_room(&short));
        std::os::unix::net::SocketAddr::from_pathname(socket_in(&short, u16::MAX)).expect("short");
        std::os::unix::net::SocketAddr::from_pathname(socket_in(&long, u16::MAX))
            .expect_err("long");
    }

    #[test]
    fn what_ended_nodes_left_is_cleared_away() {
        let directory = tempfile::tempdir().expect("a directory");
        let take = |port| {
            let taken = Claim::take_in(directory.path(), port).expect("room");
            taken.expect("nobody has it")
        };
        let (running, ended) = (take(1), take(2));
        for claim in [&running, &ended] {
            fs::write(claim.socket(), "").expect("room");
        }
        drop(ended);
        let next = take(3);
        let left = fs::read_dir(directory.path()).expect("a directory");
        let mut left: Vec<_> = left
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["node-1.lock", "node-1.sock", "node-3.lock"]);
        // What was cleared away can be claimed, by one.
        let again = take(2);
        Claim::take_in(directory.path(), 2)
            .expect("room")
            .expect_err("it is taken");
        drop((running, next, again));
    }

    #[test]
    fn another_port_is_another_claim_and_dead_sockets_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let stale = directory.path().join("node-2.sock");
        fs::write(&stale, "").expect("room");
        let _first = Claim::take_in(directory.path(), 1).expect("room");
        assert!(stale.exists());
        let second = Claim::take_in(directory.path(), 2).expect("room");
        assert_eq!(second.expect("nobody has it").socket(), stale);
        assert!(!stale.exists());
    }
}
