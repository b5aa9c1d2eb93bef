//! The file connector keeps the contract, in memory and on a disk.
//!
//! Started as a test, this program starts itself again with the signal ignored that a limit on file
//! sizes sends, which stands in for a full disk; and once more for every get in another process.

mod support;

use std::{
    env,
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

use proxystore_conformance::{
    CASES, Damage, Elsewhere, Fixture, Outcome, check,
    program::{self, now, role, start},
};
use proxystore_core::{
    Config, Connector, Deadline, Error, ErrorKind, Factory, Field, Key, Result, Value,
};
use proxystore_file::FACTORY;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::directories;

fn main() -> ExitCode {
    match role().as_deref() {
        None => program::main(&[
            ("the_file_connector_conforms", || {
                let shell = "trap '' XFSZ; exec \"$0\"";
                let mut command = Command::new("sh");
                command.args(["-c", shell]).arg(env::current_exe()?);
                start(&mut command, "conform")
            }),
            ("objects_beyond_4_gib_are_taken", || {
                let case = CASES
                    .iter()
                    .find(|case| case.heavy)
                    .ok_or("no heavy case")?;
                let directory = support::directory_with_room(5 << 30)?;
                let fixture = Files::new(directory.path());
                match case.run(&fixture)? {
                    Outcome::Passed => Ok(()),
                    other => Err(format!("{} gives {other:?}", case.name).into()),
                }
            }),
        ]),
        Some("conform") => program::main(&[("conform", conform)]),
        Some("get") => program::main(&[("get", get)]),
        Some(other) => panic!("{other} is no role"),
    }
}

fn conform() -> program::Checked {
    for directory in directories()? {
        // What needs a fork is tried from Python, whose processes fork.
        check(
            &Files::new(directory.path()),
            &["forked-children-share-a-connector"],
        )
        .map_err(|failure| format!("{}: {failure}", directory.path().display()))?;
    }
    Ok(())
}

/// Gets the object that the environment names and writes it to a file.
fn get() -> program::Checked {
    let directory = env::var("FILE_TEST_DIRECTORY")?;
    let connector = FACTORY.open(&Config::new().with("store_dir", directory))?;
    let key = Key::text(env::var("FILE_TEST_KEY")?);
    if let Some(memory) = now(connector.get(&key, Deadline::never()))? {
        fs::write(env::var("FILE_TEST_OUTPUT")?, memory.to_vec())?;
    }
    Ok(())
}

struct Files {
    directory: PathBuf,
}

impl Files {
    fn new(parent: &Path) -> Self {
        Self {
            directory: parent.join("objects"),
        }
    }

    fn data(&self, key: &Key) -> Result<PathBuf> {
        let name = key.as_text();
        let name = name.ok_or_else(|| Error::new(ErrorKind::InvalidKey, "no file name"))?;
        Ok(self.directory.join(name))
    }

    fn change(&self, key: &Key, damage: Damage) -> Result<()> {
        let path = self.data(key)?;
        let failed = |error| Error::from_io("the object cannot be damaged", error);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(failed)?;
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        match damage {
            Damage::FlippedBit => flip(&file, len / 2),
            Damage::HalfWritten => file.set_len(len / 2),
            Damage::Truncated => file.set_len(len - 1),
        }
        .map_err(failed)
    }
}

fn flip(file: &File, offset: u64) -> std::io::Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ 1], offset)
}

impl Fixture for Files {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        let directory = Value::Text(self.directory.to_string_lossy().into_owned());
        FACTORY.open(&Config::new().with("store_dir", directory))
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        FACTORY.open(config)
    }

    fn foreign_keys(&self) -> Vec<Key> {
        const NAME: &str = "977218f4-d6ac-460a-85a8-99950957b5dc";

        let name = || Field::Text(NAME.into());
        vec![
            Key::new([]),
            Key::new([Field::Absent]),
            Key::new([Field::Integer(7)]),
            Key::new([name(), name()]),
            Key::new([Field::Nested(Key::new([name()]))]),
            Key::text(""),
            Key::text("."),
            Key::text(".."),
            Key::text("/etc/passwd"),
            Key::text(format!("../{NAME}")),
            Key::text(format!("{NAME}.ready")),
            Key::text(format!("{NAME}\0")),
            Key::text(NAME.to_uppercase()),
        ]
    }

    fn stored(&self) -> Option<Vec<String>> {
        let listing = fs::read_dir(&self.directory).ok()?;
        let names = listing.filter_map(|entry| Some(entry.ok()?.file_name()));
        let mut names: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        Some(names)
    }

    fn damage(&self, key: &Key, damage: Damage) -> Option<Result<()>> {
        Some(self.change(key, damage))
    }

    fn while_full(&self, work: &mut dyn FnMut()) -> bool {
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
        if elsewhere == Elsewhere::Fork {
            return None;
        }
        let config = connector.config();
        let Some(Value::Text(directory)) = config.value("store_dir") else {
            return None;
        };
        let output = tempfile::TempDir::new().ok()?;
        let object = output.path().join("object");
        let mut command = Command::new(env::current_exe().ok()?);
        command
            .env("FILE_TEST_DIRECTORY", directory)
            .env("FILE_TEST_KEY", key.as_text()?)
            .env("FILE_TEST_OUTPUT", &object);
        if let Err(error) = start(&mut command, "get") {
            return Some(Err(Error::new(ErrorKind::Internal, error.to_string())));
        }
        Some(Ok(fs::read(&object).ok()))
    }

    fn plant(&self) -> Option<Box<dyn Fn() -> bool>> {
        let path = self.directory.join("notes.txt");
        fs::write(&path, b"not an object").ok()?;
        Some(Box::new(move || {
            fs::read(&path).is_ok_and(|bytes| bytes == b"not an object")
        }))
    }
}
