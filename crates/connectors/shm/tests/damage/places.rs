//! Directories that are gone, or were never there, or are others.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use proxystore_core::{Config, ErrorKind, Key};

use crate::{
    support::{
        self, Checked,
        client::{self, Client, config, words},
        contents::Contents,
        directory, ensure,
        processes::{fork, set_patience},
        start,
    },
    witness::use_it,
};

const DIRECTORY: &str = "SHM_TEST_DIRECTORY";
const KEY: &str = "SHM_TEST_KEY";

const LARGE: Contents = Contents::new(1, 300_000);
const SMALL: Contents = Contents::new(2, 100);

/// Somebody removes all that a user has in memory while a process of that user lives.
pub(crate) fn removed() -> Checked {
    let directory = directory()?;
    let user = directory.path().join("user");
    let options = config(&user).with("pool", 64 << 20);
    let mut process = fork(|| {
        set_patience(30);
        let client = Client::open(&options)?;
        let keys = [client.put(LARGE)?, client.put(SMALL)?];
        let evicted = client.put(LARGE)?;
        client.evict(&evicted)?;
        let held = client.expect(&keys[0], LARGE)?;
        fs::remove_dir_all(&user)?;
        LARGE.check(&held)?;
        for (key, contents) in keys.iter().zip([LARGE, SMALL]) {
            match client.get(key) {
                Ok(Some(found)) => contents.check(&found)?,
                Ok(None) => return Err("an object is told not to be there".into()),
                Err(error) => told(&error, "removed")?,
            }
        }
        let put = client.put(LARGE);
        told(&put.err().ok_or("a put into nothing succeeds")?, "removed")?;
        // Small objects need no file each, so it takes a moment until this is noticed.
        let error = loop {
            if let Err(error) = client.put(SMALL) {
                break error;
            }
        };
        told(&error, "removed")?;
        // Others are not kept from anything, and neither is this process when it opens another.
        let mut next = fork(|| use_it(&Client::open(&options)?))?;
        next.finish("the next process")?;
        let again = Client::open(&options)?;
        use_it(&again)?;
        for key in &keys {
            let error = again.get(key).err().ok_or("a lost object is no error")?;
            told(&error, "out of reach")?;
        }
        LARGE.check(&held)?;
        Ok(())
    })?;
    process.finish("the process")
}

fn told(error: &proxystore_core::Error, says: &str) -> Checked {
    ensure!(
        error.kind() == ErrorKind::Unavailable && error.to_string().contains(says),
        "it is told as {error:?}"
    );
    Ok(())
}

/// A key that comes from another mount of the same directory.
pub(crate) fn other_mount() -> Checked {
    let directory = directory()?;
    let options = config(directory.path());
    let mut process = fork(|| {
        let client = Client::open(&options)?;
        for contents in [LARGE, SMALL] {
            let [id, word] = words(&client.put(contents)?)?;
            let mut command = mounted(directory.path())?;
            command
                .env(DIRECTORY, directory.path())
                .env(KEY, format!("{id} {word}"));
            start(&mut command, "private")?;
        }
        Ok(client.close(true)?)
    })?;
    process.finish("whoever is outside")
}

/// A command that starts this program where a fresh memory file system is mounted at `path`.
fn mounted(path: &Path) -> Checked<Command> {
    ensure!(
        support::can_mount(),
        "this needs to mount a file system; run it as root"
    );
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o mode=700 proxystore \"$1\" && exec \"$0\"";
    command.args(["--mount", "sh", "-c", script]);
    command.arg(env::current_exe()?).arg(path);
    Ok(command)
}

/// In another mount: the key of outside is of no namespace here, and everything else works.
pub(crate) fn private() -> Checked {
    let options = config(&PathBuf::from(env::var(DIRECTORY)?));
    let key = key_given()?;
    let client = Client::open(&options)?;
    for error in [
        client.get(&key).map(drop).err(),
        client.exists(&key).map(drop).err(),
        client.evict(&key).err(),
    ] {
        told(
            &error.ok_or("a key of outside is no error")?,
            "out of reach",
        )?;
    }
    use_it(&client)
}

fn key_given() -> Checked<Key> {
    let key = env::var(KEY)?;
    let (id, word) = key.split_once(' ').ok_or("no key")?;
    Ok(client::key([id.parse()?, word.parse()?]))
}

/// Neither a machine without `/dev/shm` nor a directory on a disk is a riddle.
pub(crate) fn no_memory() -> Checked {
    ensure!(
        support::can_mount(),
        "this needs to mount a file system; run it as root"
    );
    // An empty memory file system over /dev hides what is mounted below it.
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs proxystore /dev && exec \"$0\"";
    command.args(["--mount", "sh", "-c", script]);
    command.arg(env::current_exe()?);
    start(&mut command, "default")?;
    on_disk()
}

/// Where there is no `/dev/shm`.
pub(crate) fn default() -> Checked {
    let error = Client::open(&Config::new()).err();
    let error = error.ok_or("it works without /dev/shm")?;
    let text = error.to_string();
    ensure!(
        error.kind() == ErrorKind::InvalidConfig
            && text.contains("/dev/shm")
            && text.contains("directory="),
        "it is told as {error:?}"
    );
    Ok(())
}

fn on_disk() -> Checked {
    let directory = support::directory_on_disk()?;
    let options = config(directory.path());
    let mut process = fork(|| match Client::open(&options) {
        Ok(client) => use_it(&client),
        Err(error) => {
            let named = error
                .path()
                .is_some_and(|path| path.starts_with(directory.path()));
            ensure!(named, "it is told as {error:?}");
            Ok(())
        }
    })?;
    process.finish("the process")
}
