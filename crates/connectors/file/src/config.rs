//! The options, and the factory.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use proxystore_core::{Capabilities, Config, Connector, Error, Factory, OptionInfo, Result, When};

use crate::connector::FileConnector;

/// Opens [`FileConnector`]s.
pub static FACTORY: FileFactory = FileFactory;

pub(crate) const KIND: &str = "file";

const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "store_dir",
        expects: "a str",
        default: None,
        summary: "the directory that holds the objects, created if it is not there",
    },
    OptionInfo {
        name: "clear",
        expects: "a bool",
        default: Some("True"),
        summary: "whether close() removes the objects, and the directory if nothing else is in it",
    },
    OptionInfo {
        name: "buffering",
        expects: "an int",
        default: Some("-1"),
        summary: "kept for compatibility; objects are written without a buffer",
    },
    OptionInfo {
        name: "fsync",
        expects: "a bool",
        default: Some("False"),
        summary: "whether a put returns only when the object would survive a loss of power",
    },
];

/// The factory of [`FileConnector`]s.
#[derive(Debug)]
pub struct FileFactory;

impl Factory for FileFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn summary(&self) -> &'static str {
        "Keeps objects as files in a directory."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deferrable: true,
            crosses_processes: true,
            // Where the directory is on a file system that other hosts have, too.
            crosses_hosts: true,
            outlives_process: true,
            verifies: When::Depends,
            verifies_deferred: When::Depends,
            zero_copy: When::Depends,
            // The pieces under way to a disk, and the stack of the thread that sums them.
            transit_memory: Some(2 << 20),
            ..Capabilities::NONE
        }
    }

    fn options(&self) -> &'static [OptionInfo] {
        OPTIONS
    }

    fn open(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        let options = Options::parse(config)?;
        Ok(Arc::new(FileConnector::open(options)?))
    }
}

/// The options, as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Absolute and without `.` or `..`.
    pub(crate) store_dir: PathBuf,
    pub(crate) clear: bool,
    buffering: i64,
    pub(crate) fsync: bool,
}

impl Options {
    fn parse(config: &Config) -> Result<Self> {
        let reader = config.read(KIND, OPTIONS)?;
        let given: String = reader.required("store_dir")?;
        if given.is_empty() || given.contains('\0') {
            return Err(reader.invalid("store_dir", "is no path"));
        }
        let store_dir = std::path::absolute(&given)
            .map_err(|error| Error::from_io("the working directory is gone", error))?;
        Ok(Self {
            store_dir: normalised(&store_dir),
            clear: reader.optional("clear")?.unwrap_or(true),
            buffering: reader.optional("buffering")?.unwrap_or(-1),
            fsync: reader.optional("fsync")?.unwrap_or(false),
        })
    }

    pub(crate) fn to_config(&self) -> Config {
        // Lossless: the path was made from a text and a working directory. One that is no UTF-8
        // cannot be named in a configuration at all.
        let store_dir = self.store_dir.to_string_lossy().into_owned();
        let mut config = Config::new().with("store_dir", store_dir);
        if !self.clear {
            config.insert("clear", false);
        }
        if self.buffering != -1 {
            config.insert("buffering", self.buffering);
        }
        if self.fsync {
            config.insert("fsync", true);
        }
        config
    }
}

/// The path without `.` and `..`, as text: what upstream writes into its configurations.
fn normalised(path: &Path) -> PathBuf {
    let mut normalised = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normalised.pop();
            }
            other => normalised.push(other),
        }
    }
    normalised
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxystore_core::ErrorKind;

    use super::*;

    #[test]
    fn paths_become_absolute() {
        let here = std::env::current_dir().expect("a working directory");
        let parse = |path: &str| Options::parse(&Config::new().with("store_dir", path));
        let relative = parse("a/./b/../c").expect("valid");
        assert_eq!(relative.store_dir, here.join("a/c"));
        let absolute = parse("/x/../../y//z/").expect("valid");
        assert_eq!(absolute.store_dir, Path::new("/y/z"));
    }

    #[test]
    fn only_what_differs_from_the_defaults_is_written() {
        let config = Config::new()
            .with("store_dir", "/x")
            .with("clear", true)
            .with("buffering", -1)
            .with("fsync", false);
        let options = Options::parse(&config).expect("valid");
        assert_eq!(options.to_config(), Config::new().with("store_dir", "/x"));
    }

    #[test]
    fn paths_that_are_none_are_refused() {
        for path in ["", "a\0b"] {
            let config = Config::new().with("store_dir", path);
            let error = Options::parse(&config).expect_err("no path");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert_eq!(error.context("option"), Some("store_dir"));
        }
        let error = Options::parse(&Config::new()).expect_err("absent");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }

    proptest! {
        #[test]
        fn configurations_make_the_round_trip(
            path in "(/[a-z .]{1,8}){1,4}",
            clear: bool,
            buffering: i64,
            fsync: bool,
        ) {
            let config = Config::new()
                .with("fsync", fsync)
                .with("buffering", buffering)
                .with("clear", clear)
                .with("store_dir", path);
            let options = Options::parse(&config)?;
            prop_assert!(options.store_dir.is_absolute());
            prop_assert_eq!(Options::parse(&options.to_config())?, options);
        }
    }
}
