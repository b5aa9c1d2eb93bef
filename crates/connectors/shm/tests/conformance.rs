//! The shared-memory connector keeps the contract.
//!
//! Started as a test, this program starts itself again on a memory file system of its own, which it
//! can make small and large; where none can be mounted, under a limit on file sizes, which stands in
//! for a full one; and once more for every get in another process.

mod support;

use std::{
    env, fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

use proxystore_conformance::{CASES, Damage, Elsewhere, Fixture, Outcome, check};
use proxystore_core::{Config, Connector, Deadline, Error, ErrorKind, Factory, Field, Key, Result};
use proxystore_shm::FACTORY;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{
    Checked, can_mount,
    client::{self, Client, config, words},
    layout::{Layout, Place, is_numbered},
    processes::fork,
    role, start,
};

const DIRECTORY: &str = "SHM_TEST_DIRECTORY";
const KEY: &str = "SHM_TEST_KEY";
const OUTPUT: &str = "SHM_TEST_OUTPUT";
/// Set where the directory is a file system of its own.
const MOUNTED: &str = "SHM_TEST_MOUNTED";

fn main() -> ExitCode {
    match role().as_deref() {
        None => support::main(&[
            ("the_shared_memory_connector_conforms", || {
                let directory = support::directory()?;
                let mut command = if can_mount() {
                    let script = format!(
                        "mount -t tmpfs -o size={ROOMY},mode=700 proxystore \"$1\" && exec \"$0\""
                    );
                    let mut command = Command::new("unshare");
                    command.args(["--mount", "sh", "-c", &script]);
                    command.arg(env::current_exe()?).arg(directory.path());
                    command.env(MOUNTED, "yes");
                    command
                } else {
                    let mut command = Command::new("sh");
                    command.args(["-c", "trap '' XFSZ; exec \"$0\""]);
                    command.arg(env::current_exe()?);
                    command
                };
                command.env(DIRECTORY, directory.path());
                start(&mut command, "conform")
            }),
            ("objects_beyond_4_gib_are_taken", || {
                let case = CASES.iter().find(|case| case.heavy);
                let case = case.ok_or("no heavy case")?;
                let directory = support::directory()?;
                match case.run(&Memory::new(directory.path()))? {
                    Outcome::Passed => Ok(()),
                    other => Err(format!("{} gives {other:?}", case.name).into()),
                }
            }),
        ]),
        Some("conform") => support::main(&[("conform", conform)]),
        Some("get") => support::main(&[("get", get)]),
        Some(other) => panic!("{other} is no role"),
    }
}

/// The size of the memory file system, unless it is full.
const ROOMY: &str = "800m";

fn conform() -> Checked {
    let directory = PathBuf::from(env::var(DIRECTORY)?);
    Ok(check(&Memory::new(&directory), &[])?)
}

/// Gets the object that the environment names and writes it to a file.
fn get() -> Checked {
    let client = Client::open(&Memory::new(Path::new(&env::var(DIRECTORY)?)).options())?;
    let key = env::var(KEY)?;
    let (id, word) = key.split_once(' ').ok_or("no key")?;
    let key = client::key([id.parse()?, word.parse()?]);
    if let Some(memory) = client.get(&key)? {
        fs::write(env::var(OUTPUT)?, memory.to_vec())?;
    }
    Ok(())
}

struct Memory {
    directory: PathBuf,
    layout: Layout,
}

impl Memory {
    fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            layout: Layout::new(directory),
        }
    }

    /// Evicted segments are not kept, as they would be room where there should be none.
    fn options(&self) -> Config {
        config(&self.directory).with("pool", 0)
    }

    fn change(&self, key: &Key, damage: Damage) -> Checked {
        let place = Place::of(key)?;
        let Some((slab, at)) = Layout::cell_header(place) else {
            let Place::Segment(number) = place else {
                return Err("it is in no segment".into());
            };
            let file = self.layout.file(&format!("s{number}"))?;
            let len = support::layout::word(
                &self.layout.control()?,
                Layout::segment_record(number) + 16,
            )?;
            match damage {
                Damage::FlippedBit => support::layout::flip(&file, len / 2, 1)?,
                Damage::HalfWritten => file.set_len(len / 2)?,
                Damage::Truncated => file.set_len(len - 1)?,
            }
            return Ok(());
        };
        // Neither of these can happen to a cell, so its header says that it did: the length is in
        // the upper bits of its second word.
        let file = self.layout.file(&format!("c{slab}"))?;
        let details = support::layout::word(&file, at + 8)?;
        let len = details >> 48;
        let len = match damage {
            Damage::HalfWritten => len / 2,
            Damage::FlippedBit | Damage::Truncated => len - 1,
        };
        let details = (len << 48) | (details & 0xffff_ffff_ffff);
        Ok(file.write_all_at(&details.to_ne_bytes(), at + 8)?)
    }

    fn get_elsewhere(
        &self,
        connector: &dyn Connector,
        key: &Key,
        elsewhere: Elsewhere,
    ) -> Checked<Option<Vec<u8>>> {
        let output = tempfile::TempDir::new()?;
        let object = output.path().join("object");
        if elsewhere == Elsewhere::Fork {
            let mut child = fork(|| {
                if let Some(memory) = client::now(connector.get(key, Deadline::never()))? {
                    fs::write(&object, memory.to_vec())?;
                }
                Ok(())
            })?;
            child.finish("a forked child")?;
        } else {
            let [id, word] = words(key)?;
            let mut command = Command::new(env::current_exe()?);
            command
                .env(DIRECTORY, &self.directory)
                .env(KEY, format!("{id} {word}"))
                .env(OUTPUT, &object);
            start(&mut command, "get")?;
        }
        match fs::read(&object) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(bytes?)),
        }
    }

    /// Makes the directory's file system so small that nothing more finds room.
    fn remount(&self, size: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,size={size}")]);
        let status = command.arg(&self.directory).status();
        status.is_ok_and(|status| status.success())
    }

    fn used(&self) -> io::Result<u64> {
        let status = rustix::fs::statvfs(&self.directory)?;
        Ok((status.f_blocks - status.f_bfree) * status.f_frsize)
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, error.to_string())
}

impl Fixture for Memory {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        FACTORY.open(&self.options())
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        FACTORY.open(config)
    }

    fn foreign_keys(&self) -> Vec<Key> {
        let integers = |id, word| Key::new([Field::Integer(id), Field::Integer(word)]);
        let segment = 1 << 61;
        vec![
            Key::new([]),
            Key::text("../control"),
            Key::new([Field::Absent, Field::Absent]),
            Key::new([Field::Integer(7)]),
            Key::new([Field::Integer(7), Field::Text("s0".into())]),
            Key::new([Field::Nested(integers(7, segment | 1))]),
            Key::new([
                Field::Integer(7),
                Field::Integer(segment | 1),
                Field::Absent,
            ]),
            // No number of a namespace, no kind of place, no segment, no generation.
            integers(-7, segment | 1),
            integers(7, -segment),
            integers(7, 1),
            integers(7, segment | (1 << 20) << 32 | 1),
            integers(7, segment),
        ]
    }

    fn stored(&self) -> Option<Vec<String>> {
        let mut stored = self.layout.objects().ok()?;
        let names = support::names(&self.layout.path).ok()?;
        let others = names.into_iter().filter(|name| {
            let own = ["s", "c", "pins-"];
            let numbered = |prefix: &&str| is_numbered(name, prefix);
            !own.iter().any(numbered) && name != "control" && name != "lock"
        });
        stored.extend(others);
        Some(stored)
    }

    fn damage(&self, key: &Key, damage: Damage) -> Option<Result<()>> {
        Some(self.change(key, damage).map_err(|error| failed(&error)))
    }

    fn while_full(&self, work: &mut dyn FnMut()) -> bool {
        if env::var_os(MOUNTED).is_some() {
            let Ok(used) = self.used() else {
                return false;
            };
            if !self.remount(&(used + (1 << 20)).to_string()) {
                return false;
            }
            work();
            return self.remount(ROOMY);
        }
        let before = getrlimit(Resource::Fsize);
        let limit = Rlimit {
            current: Some(1 << 20),
            maximum: before.maximum,
        };
        if setrlimit(Resource::Fsize, limit).is_err() {
            return false;
        }
        work();
        setrlimit(Resource::Fsize, before).is_ok()
    }

    fn get_elsewhere(
        &self,
        connector: &dyn Connector,
        key: &Key,
        elsewhere: Elsewhere,
    ) -> Option<Result<Option<Vec<u8>>>> {
        let found = self.get_elsewhere(connector, key, elsewhere);
        Some(found.map_err(|error| failed(&error)))
    }

    fn plant(&self) -> Option<Box<dyn Fn() -> bool>> {
        let path = self.layout.path.join("notes.txt");
        fs::write(&path, b"not an object").ok()?;
        Some(Box::new(move || {
            fs::read(&path).is_ok_and(|bytes| bytes == b"not an object")
        }))
    }
}
