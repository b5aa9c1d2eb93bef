//! The options, and the factory.

use std::{path::PathBuf, sync::Arc, time::Duration};

use proxystore_core::{Capabilities, Config, Connector, Factory, OptionInfo, Result, Value, When};

use crate::{connector::ShmConnector, report};

/// Opens [`ShmConnector`]s.
pub static FACTORY: ShmFactory = ShmFactory;

pub(crate) const KIND: &str = "shm";

const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "namespace",
        expects: "a str",
        default: Some("\"default\""),
        summary: "which of the user's namespaces to use; letters, digits, dots, dashes, underscores",
    },
    OptionInfo {
        name: "directory",
        expects: "a str",
        default: Some("/dev/shm/proxystore-<uid>"),
        summary: "the directory, on a memory file system, that holds the user's namespaces",
    },
    OptionInfo {
        name: "budget",
        expects: "an int",
        default: Some("None"),
        summary: "the most bytes of memory that the namespace's objects may take together",
    },
    OptionInfo {
        name: "spill",
        expects: "a str",
        default: Some("None"),
        summary: "the directory, on a disk, for objects that there is no memory for",
    },
    OptionInfo {
        name: "hold",
        expects: "a float",
        default: Some("60.0"),
        summary: "the seconds for which objects outlive the last process that uses the namespace",
    },
    OptionInfo {
        name: "pool",
        expects: "an int",
        default: Some("None"),
        summary: "the most bytes of evicted segments that this process keeps for its next puts",
    },
    OptionInfo {
        name: "idle",
        expects: "a float",
        default: Some("10.0"),
        summary: "the seconds after which this process gives back a segment that it kept",
    },
    OptionInfo {
        name: "clear",
        expects: "a bool",
        default: Some("False"),
        summary: "whether close() evicts every object of the namespace",
    },
];

/// The factory of [`ShmConnector`]s.
#[derive(Debug)]
pub struct ShmFactory;

impl Factory for ShmFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn summary(&self) -> &'static str {
        "Keeps objects in the shared memory of one host."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deferrable: true,
            crosses_processes: true,
            outlives_process: true,
            seals: true,
            zero_copy: When::Always,
            transit_memory: Some(1 << 20),
            ..Capabilities::NONE
        }
    }

    fn options(&self) -> &'static [OptionInfo] {
        OPTIONS
    }

    fn open(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        let options = Options::parse(config)?;
        Ok(Arc::new(ShmConnector::open(options)?))
    }

    fn report(&self, config: &Config) -> Result<Value> {
        let options = Options::parse(config)?;
        Ok(report::report(
            &options.directory(),
            named(&options, config),
        )?)
    }

    fn collect_garbage(&self, config: &Config) -> Result<Value> {
        let options = Options::parse(config)?;
        let namespace = named(&options, config);
        Ok(report::collect_garbage(&options.directory(), namespace)?)
    }
}

/// The namespace, if the configuration names one rather than leaving it to the default.
fn named<'a>(options: &'a Options, config: &Config) -> Option<&'a str> {
    config
        .value("namespace")
        .map(|_| options.namespace.as_str())
}

/// The options, as meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) namespace: String,
    /// None for the user's own in /dev/shm.
    directory: Option<PathBuf>,
    /// Bytes.
    pub(crate) budget: Option<u64>,
    pub(crate) spill: Option<PathBuf>,
    pub(crate) hold: Duration,
    /// Bytes.
    pub(crate) pool: Option<u64>,
    pub(crate) idle: Duration,
    pub(crate) clear: bool,
}

const DEFAULT_NAMESPACE: &str = "default";
const DEFAULT_HOLD: f64 = 60.0;
const DEFAULT_IDLE: f64 = 10.0;

impl Options {
    pub(crate) fn parse(config: &Config) -> Result<Self> {
        let reader = config.read(KIND, OPTIONS)?;
        let namespace = reader
            .optional::<String>("namespace")?
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&namespace.len())
            || !namespace.bytes().all(plain)
            || namespace.starts_with('.')
        {
            return Err(reader.invalid(
                "namespace",
                "is no name: 1 to 64 letters, digits, dots, dashes and underscores, no dot first",
            ));
        }
        let path = |name| -> Result<Option<PathBuf>> {
            let Some(path) = reader.optional::<String>(name)?.map(PathBuf::from) else {
                return Ok(None);
            };
            if path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0) {
                Ok(Some(path))
            } else {
                Err(reader.invalid(name, "is no absolute path"))
            }
        };
        let bytes = |name| -> Result<Option<u64>> {
            let Some(number) = reader.optional::<i64>(name)? else {
                return Ok(None);
            };
            u64::try_from(number)
                .map(Some)
                .map_err(|_| reader.invalid(name, "is negative"))
        };
        let seconds = |name, default| -> Result<Duration> {
            let seconds = reader.optional::<f64>(name)?.unwrap_or(default);
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| reader.invalid(name, "is no number of seconds"))
        };
        Ok(Self {
            directory: path("directory")?,
            budget: bytes("budget")?,
            spill: path("spill")?,
            hold: seconds("hold", DEFAULT_HOLD)?,
            pool: bytes("pool")?,
            idle: seconds("idle", DEFAULT_IDLE)?,
            clear: reader.optional("clear")?.unwrap_or(false),
            namespace,
        })
    }

    /// The directory of the user's namespaces.
    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| {
            let user = rustix::process::geteuid().as_raw();
            PathBuf::from(format!("/dev/shm/proxystore-{user}"))
        })
    }

    pub(crate) fn to_config(&self) -> Config {
        let mut config = Config::new();
        if self.namespace != DEFAULT_NAMESPACE {
            config.insert("namespace", self.namespace.clone());
        }
        let mut insert_path = |name: &str, path: &Option<PathBuf>| {
            if let Some(path) = path {
                config.insert(name, path.to_string_lossy().into_owned());
            }
        };
        insert_path("directory", &self.directory);
        insert_path("spill", &self.spill);
        let mut insert_bytes = |name: &str, bytes: Option<u64>| {
            if let Some(bytes) = bytes {
                config.insert(name, i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        };
        insert_bytes("budget", self.budget);
        insert_bytes("pool", self.pool);
        if self.hold != Duration::from_secs_f64(DEFAULT_HOLD) {
            config.insert("hold", self.hold.as_secs_f64());
        }
        if self.idle != Duration::from_secs_f64(DEFAULT_IDLE) {
            config.insert("idle", self.idle.as_secs_f64());
        }
        if self.clear {
            config.insert("clear", true);
        }
        config
    }
}
