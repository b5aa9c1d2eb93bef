//! Processes are killed, disks fill up and sets race: nothing is ever seen half done.

mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Write, stdout},
    path::Path,
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    sync::Arc,
};

use proxystore_conformance::program::{self, Checked, ROLE, now, role, start, this_program};
use proxystore_core::{
    CloseOptions, Config, Connector, Deadline, ErrorKind, Factory, Key, Payload, Result, Segment,
};
use proxystore_file::FACTORY;

use crate::support::{directories, directory_on_disk};

const DIRECTORY: &str = "FILE_TEST_DIRECTORY";
const KEY: &str = "FILE_TEST_KEY";

fn main() -> ExitCode {
    match role().as_deref() {
        None => program::main(&[
            ("a_killed_put_leaves_no_half_object", killed_put),
            ("a_killed_set_leaves_one_object_or_the_other", killed_set),
            (
                "processes_that_set_one_key_never_show_torn_bytes",
                racing_sets,
            ),
            ("a_full_disk_keeps_nothing_of_what_it_refuses", full_disk),
        ]),
        Some("put") => program::main(&[("put", put_for_ever)]),
        Some("set") => program::main(&[("set", set_for_ever)]),
        Some("fill") => program::main(&[("fill", fill)]),
        Some(other) => panic!("{other} is no role"),
    }
}

fn killed_put() -> Checked {
    for parent in directories()? {
        let directory = parent.path().join("objects");
        let mut done = Vec::new();
        for round in 0..12 {
            let (mut child, mut lines) = spawn("put", &directory, None)?;
            // Killed while it is anywhere in the next put, as it goes on at once.
            for _ in 0..=round {
                let line = next_line(&mut lines)?;
                let (key, len) = line.split_once(' ').ok_or("no key")?;
                done.push((Key::text(key), len.parse()?));
            }
            kill(&mut child)?;
        }
        let connector = open(&directory)?;
        for (key, len) in &done {
            let object = get(&*connector, key)?.ok_or("an object that was put is not there")?;
            check_whole(&object, *len)?;
        }
        // What is there besides was put just before the process died, or is not there at all.
        for name in names(&directory)? {
            let Some(key) = name.get(..36).map(Key::text) else {
                return Err(format!("{name} is in the directory").into());
            };
            if let Some(object) = get(&*connector, &key)? {
                check_whole(&object, object.len())?;
            }
        }
        now(connector.close(CloseOptions { clear: Some(true) }, Deadline::never()))?;
        if directory.exists() {
            return Err("leftovers of killed processes were not cleared".into());
        }
    }
    Ok(())
}

fn killed_set() -> Checked {
    for parent in directories()? {
        let directory = parent.path().join("objects");
        let connector = open(&directory)?;
        let key = connector.new_key()?;
        for round in 0..12 {
            let (mut child, mut lines) = spawn("set", &directory, Some(&key))?;
            let mut last = 0;
            for _ in 0..=round {
                last = next_line(&mut lines)?.parse()?;
            }
            kill(&mut child)?;
            // Everything that was said to be done, and at most what came after it.
            let mut rest = String::new();
            while lines.read_line(&mut rest)? > 0 {
                if let Some(line) = rest.strip_suffix('\n') {
                    last = line.parse()?;
                }
                rest.clear();
            }
            let object = get(&*connector, &key)?.ok_or("the object vanished")?;
            let turn = check_whole(&object, length(last))
                .or_else(|_| check_whole(&object, length(last + 1)))?;
            let expected = [value(last), value(last + 1)];
            if !expected.contains(&turn) {
                return Err(format!("the object is {turn} after set {last}").into());
            }
        }
        // The dead hold no lock.
        put_as(&*connector, &key, b"alive")?;
        if get(&*connector, &key)?.as_deref() != Some(b"alive") {
            return Err("the key cannot be set any more".into());
        }
    }
    Ok(())
}

fn racing_sets() -> Checked {
    for parent in directories()? {
        let directory = parent.path().join("objects");
        let connector = open(&directory)?;
        let key = connector.new_key()?;
        put_as(&*connector, &key, &vec![value(0); length(0)])?;
        let mut children = Vec::new();
        for _ in 0..3 {
            children.push(spawn("set", &directory, Some(&key))?);
        }
        for (_, lines) in &mut children {
            next_line(lines)?;
        }
        let mut seen = BTreeSet::new();
        // The writers go on until they are killed, so this ends.
        while seen.len() < 20 {
            let object = get(&*connector, &key)?.ok_or("the object vanished")?;
            seen.insert(check_whole(&object, object.len())?);
            for (child, _) in &mut children {
                if let Some(status) = child.try_wait()? {
                    return Err(format!("a writer ended with {status}").into());
                }
            }
        }
        for (child, _) in &mut children {
            kill(child)?;
        }
        let object = get(&*connector, &key)?.ok_or("the object vanished")?;
        check_whole(&object, object.len())?;
    }
    Ok(())
}

/// Runs `fill` on a small file system of its own, or, where none can be mounted, under a limit on
/// the size of files.
fn full_disk() -> Checked {
    let parent = directory_on_disk()?;
    let program = env::current_exe()?;
    let mount = "mount -t tmpfs -o size=4m,nr_inodes=40 proxystore \"$1\" && exec \"$0\"";
    let limit = "trap '' XFSZ; ulimit -f 4096; exec \"$0\"";
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        if script == mount {
            command.args(["--mount", "--map-root-user", "sh", "-c", script]);
        } else {
            command = Command::new("sh");
            command.args(["-c", script]);
        }
        command.arg(&program).arg(parent.path());
        command.env(DIRECTORY, parent.path().join("objects"));
        command
    };
    let can_mount = shell(mount).env(ROLE, "nothing").output();
    // In the role that there is none of, the program fails after the mount.
    let can_mount = can_mount
        .is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("nothing is no role"));
    println!(
        "full disk: {}",
        if can_mount {
            "tmpfs of 4 MiB"
        } else {
            "limit on sizes"
        }
    );
    start(&mut shell(if can_mount { mount } else { limit }), "fill")
}

fn fill() -> Checked {
    let directory = env::var(DIRECTORY)?;
    let directory = Path::new(&directory);
    let connector = open(directory)?;
    let key = put(&*connector, b"before")?;
    let mut keys = Vec::new();
    // Uses up the space, then the inodes, so that every file that a put makes is refused once.
    for len in [1 << 20, 100_000, 0] {
        for _ in 0..30 {
            let before = names(directory)?;
            match put(&*connector, &vec![1; len]) {
                Ok(key) => keys.push((key, len)),
                Err(error) => {
                    check_refused(&error)?;
                    check_same(&before, &names(directory)?)?;
                    break;
                }
            }
        }
    }
    let before = names(directory)?;
    let large = vec![2; 8 << 20];
    let error = put(&*connector, &large).err();
    check_refused(&error.ok_or("8 MiB found room")?)?;
    let error = put_as(&*connector, &key, &large).err();
    check_refused(&error.ok_or("8 MiB found room")?)?;
    check_same(&before, &names(directory)?)?;
    if get(&*connector, &key)?.as_deref() != Some(b"before") {
        return Err("a set that was refused changed the object".into());
    }
    for (key, len) in &keys {
        let object = get(&*connector, key)?.ok_or("an object vanished")?;
        if object != vec![1; *len] {
            return Err("an object changed when the disk was full".into());
        }
        now(connector.evict(key, Deadline::never()))?;
    }
    put(&*connector, &vec![3; 1 << 20])?;
    Ok(())
}

fn check_refused(error: &proxystore_core::Error) -> Checked {
    let named = error.path().is_some() && error.os_error().is_some();
    if error.kind() == ErrorKind::StorageFull && named {
        return Ok(());
    }
    Err(format!("a full disk is told as {error:?}").into())
}

fn check_same(before: &[String], after: &[String]) -> Checked {
    if before == after {
        return Ok(());
    }
    Err(format!("a full disk turned {before:?} into {after:?}").into())
}

/// Puts objects of many sizes and says so, until it is killed.
fn put_for_ever() -> Checked {
    let connector = open(Path::new(&env::var(DIRECTORY)?))?;
    for turn in 0.. {
        let len = length(turn);
        let key = put(&*connector, &vec![value(turn); len])?;
        writeln!(stdout(), "{} {len}", key.as_text().unwrap_or_default())?;
    }
    Ok(())
}

/// Sets one key and says so, until it is killed.
fn set_for_ever() -> Checked {
    let connector = open(Path::new(&env::var(DIRECTORY)?))?;
    let key = Key::text(env::var(KEY)?);
    for turn in 0.. {
        put_as(&*connector, &key, &vec![value(turn); length(turn)])?;
        writeln!(stdout(), "{turn}")?;
    }
    Ok(())
}

fn length(turn: usize) -> usize {
    [100, 300_000, 1, 5_000_000, 4096][turn % 5]
}

fn value(turn: usize) -> u8 {
    u8::try_from(turn % 251).unwrap_or_default()
}

/// Wants every byte of an object to be the same, and returns it.
fn check_whole(object: &[u8], len: usize) -> std::result::Result<u8, Box<dyn std::error::Error>> {
    let first = object.first().copied().unwrap_or_default();
    if object.len() == len && object.iter().all(|byte| *byte == first) {
        return Ok(first);
    }
    let found = object.len();
    Err(format!("an object of {len} bytes is torn, or has {found} bytes").into())
}

fn open(directory: &Path) -> Result<Arc<dyn Connector>> {
    let directory = directory.to_string_lossy().into_owned();
    FACTORY.open(&Config::new().with("store_dir", directory))
}

fn put(connector: &dyn Connector, bytes: &[u8]) -> Result<Key> {
    let segments = [Segment::from(bytes)];
    now(connector.put(Payload::from(&segments), Deadline::never()))
}

fn put_as(connector: &dyn Connector, key: &Key, bytes: &[u8]) -> Result<()> {
    let segments = [Segment::from(bytes)];
    now(connector.set(key, Payload::from(&segments), Deadline::never()))
}

fn get(connector: &dyn Connector, key: &Key) -> Result<Option<Vec<u8>>> {
    let memory = now(connector.get(key, Deadline::never()))?;
    Ok(memory.map(|memory| memory.to_vec()))
}

fn names(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn spawn(
    role: &str,
    directory: &Path,
    key: Option<&Key>,
) -> std::io::Result<(Child, BufReader<ChildStdout>)> {
    let mut command = this_program(role)?;
    command.env(DIRECTORY, directory).stdout(Stdio::piped());
    if let Some(key) = key.and_then(Key::as_text) {
        command.env(KEY, key);
    }
    let mut child = command.spawn()?;
    let lines = child.stdout.take().map(BufReader::new);
    Ok((child, lines.ok_or(std::io::ErrorKind::BrokenPipe)?))
}

fn next_line(lines: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if lines.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn kill(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}
