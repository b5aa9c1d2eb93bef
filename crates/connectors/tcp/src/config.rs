//! The options, and the factory.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use proxystore_core::{Capabilities, Config, Connector, Factory, OptionInfo, Result, Value, When};
use proxystore_node::{
    Certificates, NodeOptions,
    client::{Credentials, Settings},
    read_path,
};
use proxystore_stream::{Secret, TlsClient, tls::TlsFiles};

use crate::{connector::TcpConnector, key::is_hostname, report::report};

/// Opens [`TcpConnector`]s.
pub static FACTORY: TcpFactory = TcpFactory;

pub(crate) const KIND: &str = "tcp";

const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "hostname",
        expects: "a str",
        default: Some("\"127.0.0.1\""),
        summary: "the name or address of the node's host, as those who get the objects reach it",
    },
    OptionInfo {
        name: "port",
        expects: "an int",
        default: Some("7337"),
        summary: "the node's port; 0 starts a node in this process on any free port",
    },
    OptionInfo {
        name: "node",
        expects: "a str",
        default: Some("\"process\""),
        summary: "what to do if no node runs there: \"process\" starts one in this process, \
                  \"daemon\" one that outlives it, \"join\" starts none",
    },
    OptionInfo {
        name: "secret",
        expects: "a str",
        default: Some("the user's own secret file"),
        summary: "what all who use the node must know: \"env:NAME\", \"file:PATH\" or the secret",
    },
    OptionInfo {
        name: "certificate",
        expects: "a str",
        default: Some("None"),
        summary: "the file with the certificate to show to the other side, as PEM",
    },
    OptionInfo {
        name: "certificate_key",
        expects: "a str",
        default: Some("None"),
        summary: "the file with the private key of the certificate, as PEM",
    },
    OptionInfo {
        name: "authority",
        expects: "a str",
        default: Some("None"),
        summary: "the file with the certificates that the other side's must be signed by, as PEM",
    },
    OptionInfo {
        name: "budget",
        expects: "an int",
        default: Some("None"),
        summary: "the most bytes of memory that a node started here keeps objects in",
    },
    OptionInfo {
        name: "spill",
        expects: "a str",
        default: Some("None"),
        summary: "the directory, on a disk, where a node started here keeps what is over its budget",
    },
    OptionInfo {
        name: "unix",
        expects: "a bool",
        default: Some("True"),
        summary: "whether processes on the node's host reach it by a Unix socket",
    },
    OptionInfo {
        name: "encrypt",
        expects: "a bool",
        default: Some("None"),
        summary: "whether TCP connections are encrypted; None encrypts all but those within a host",
    },
    OptionInfo {
        name: "timeout",
        expects: "a float",
        default: Some("60.0"),
        summary: "the seconds that an operation may take, besides one for each megabyte",
    },
    OptionInfo {
        name: "clear",
        expects: "a bool",
        default: Some("False"),
        summary: "whether close() removes every object of the node",
    },
];

/// The factory of [`TcpConnector`]s.
#[derive(Debug)]
pub struct TcpFactory;

impl Factory for TcpFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn summary(&self) -> &'static str {
        "Keeps objects in the memory of nodes, which serve them over the network."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deferrable: true,
            crosses_processes: true,
            // Where the node listens on more than the loopback interface.
            crosses_hosts: true,
            // Where the node is not one that this process started.
            outlives_process: true,
            remote: true,
            verifies: When::Always,
            // Frames that wait to be sent and are on their way.
            transit_memory: Some(4 << 20),
            ..Capabilities::NONE
        }
    }

    fn options(&self) -> &'static [OptionInfo] {
        OPTIONS
    }

    fn open(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        let options = Options::parse(config)?;
        Ok(Arc::new(TcpConnector::open(options)?))
    }

    fn report(&self, config: &Config) -> Result<Value> {
        report(&Options::parse(config)?)
    }
}

/// What to do if no node runs at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Start one in this process, if the address is one of this host.
    Process,
    /// Start one that outlives this process.
    Daemon,
    /// Leave it to others.
    Join,
}

impl Start {
    const ALL: [Self; 3] = [Self::Process, Self::Daemon, Self::Join];

    const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Daemon => "daemon",
            Self::Join => "join",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|start| start.name() == name)
    }
}

/// The options, as meant.
#[derive(Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) hostname: String,
    pub(crate) port: u16,
    pub(crate) start: Start,
    /// None for the user's own secret file.
    pub(crate) secret: Option<Secret>,
    pub(crate) certificates: Option<Certificates>,
    /// Bytes.
    pub(crate) budget: Option<u64>,
    pub(crate) spill: Option<PathBuf>,
    pub(crate) unix: bool,
    /// None to go by the address.
    pub(crate) encrypt: Option<bool>,
    pub(crate) timeout: Duration,
    pub(crate) clear: bool,
}

const DEFAULT_TIMEOUT: f64 = 60.0;

/// The longest timeout that is meant as one: more cannot be added to every clock.
const LONGEST_TIMEOUT: f64 = 1e9;

impl Options {
    pub(crate) fn parse(config: &Config) -> Result<Self> {
        let reader = config.read(KIND, OPTIONS)?;
        let hostname = reader.optional::<String>("hostname")?;
        let hostname = hostname.unwrap_or_else(|| NodeOptions::HOST.to_owned());
        if !is_hostname(&hostname) {
            return Err(reader.invalid("hostname", "is neither the name of a host nor an address"));
        }
        let port = NodeOptions::read_port(&reader)?;
        let start = match reader.optional::<String>("node")? {
            None => Start::Process,
            Some(name) => Start::parse(&name).ok_or_else(|| {
                reader.invalid("node", "is neither \"process\" nor \"daemon\" nor \"join\"")
            })?,
        };
        if port == 0 && start != Start::Process {
            return Err(reader.invalid("port", "is 0, where another process could not find it"));
        }
        let secret = match reader.optional::<String>("secret")? {
            Some(empty) if empty.is_empty() => return Err(reader.invalid("secret", "is empty")),
            secret => secret.as_deref().map(Secret::parse),
        };
        let certificates = Certificates::read(&reader)?;
        if certificates.is_some() && secret.is_some() {
            let problem = "is given besides certificates; choose one of the two";
            return Err(reader.invalid("secret", problem));
        }
        let timeout = reader
            .optional::<f64>("timeout")?
            .unwrap_or(DEFAULT_TIMEOUT);
        if !(timeout > 0.0 && timeout <= LONGEST_TIMEOUT) {
            return Err(reader.invalid("timeout", "is no number of seconds above 0"));
        }
        Ok(Self {
            hostname,
            port,
            start,
            secret,
            certificates,
            budget: NodeOptions::read_budget(&reader)?,
            spill: read_path(&reader, "spill")?,
            unix: reader.optional("unix")?.unwrap_or(true),
            encrypt: reader.optional("encrypt")?,
            timeout: Duration::from_secs_f64(timeout),
            clear: reader.optional("clear")?.unwrap_or(false),
        })
    }

    /// How nodes are asked.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let credentials = match &self.certificates {
            Some(files) => Credentials::Certificates(TlsClient::from_files(TlsFiles {
                authority: Some(&files.authority),
                certificate: Some(&files.certificate),
                key: Some(&files.key),
            })?),
            None => Credentials::Secret(self.secret.clone().unwrap_or_else(Secret::of_this_user)),
        };
        Ok(Settings {
            credentials,
            unix: self.unix,
            encrypt: self.encrypt,
            timeout: self.timeout,
        })
    }

    /// What a node that is started here is told.
    pub(crate) fn node(&self) -> NodeOptions {
        let mut options = NodeOptions::new(self.hostname.clone(), self.port);
        options.secret.clone_from(&self.secret);
        options.certificates.clone_from(&self.certificates);
        options.encrypt = self.encrypt;
        options.budget = self.budget;
        options.spill.clone_from(&self.spill);
        options.unix = self.unix;
        options
    }

    pub(crate) fn to_config(&self) -> Config {
        let mut config = Config::new();
        if self.hostname != NodeOptions::HOST {
            config.insert("hostname", self.hostname.clone());
        }
        if self.port != NodeOptions::PORT {
            config.insert("port", i64::from(self.port));
        }
        if self.start != Start::Process {
            config.insert("node", self.start.name());
        }
        if let Some(secret) = self.secret.as_ref().and_then(Secret::to_option) {
            config.insert("secret", secret);
        }
        let mut insert_path = |name: &str, path: &PathBuf| {
            config.insert(name, path.to_string_lossy().into_owned());
        };
        if let Some(files) = &self.certificates {
            insert_path("certificate", &files.certificate);
            insert_path("certificate_key", &files.key);
            insert_path("authority", &files.authority);
        }
        if let Some(spill) = &self.spill {
            insert_path("spill", spill);
        }
        if let Some(budget) = self.budget {
            config.insert("budget", i64::try_from(budget).unwrap_or(i64::MAX));
        }
        if !self.unix {
            config.insert("unix", false);
        }
        if let Some(encrypt) = self.encrypt {
            config.insert("encrypt", encrypt);
        }
        if self.timeout != Duration::from_secs_f64(DEFAULT_TIMEOUT) {
            config.insert("timeout", self.timeout.as_secs_f64());
        }
        if self.clear {
            config.insert("clear", true);
        }
        config
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("hostname", &self.hostname)
            .field("port", &self.port)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxystore_core::ErrorKind;

    use super::*;

    #[test]
    fn there_is_a_default_for_everything() {
        let options = Options::parse(&Config::new()).expect("valid");
        assert_eq!(
            (options.hostname.as_str(), options.port),
            ("127.0.0.1", 7337)
        );
        assert_eq!(options.timeout, Duration::from_mins(1));
        assert!(options.unix);
        assert!(options.to_config().is_empty());
    }

    #[test]
    fn options_that_cannot_be_meant_are_refused() {
        let refused = |config: Config, name: &str| {
            let error = Options::parse(&config).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert_eq!(error.context("option"), Some(name));
        };
        let with = |name: &str, value: Value| Config::new().with(name, value);
        for host in ["", "a b", "../x", "a:80", "[::1]"] {
            refused(with("hostname", host.into()), "hostname");
        }
        for port in [-1, 65536] {
            refused(with("port", port.into()), "port");
        }
        refused(with("port", 0.into()).with("node", "join"), "port");
        refused(with("port", 0.into()).with("node", "daemon"), "port");
        refused(with("node", "Process".into()), "node");
        refused(with("secret", "".into()), "secret");
        refused(with("certificate", "c.pem".into()), "certificate");
        let pem = with("certificate", "/c.pem".into());
        refused(pem.clone(), "certificate_key");
        let pem = pem.with("certificate_key", "/k.pem");
        refused(pem.clone(), "authority");
        let pem = pem.with("authority", "/a.pem");
        assert!(Options::parse(&pem).is_ok());
        refused(pem.with("secret", "env:X"), "secret");
        refused(with("budget", (-1).into()), "budget");
        refused(with("spill", "relative".into()), "spill");
        for timeout in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e10] {
            refused(with("timeout", timeout.into()), "timeout");
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let config = Config::new().with("secret", "hush");
        let options = Options::parse(&config).expect("valid");
        assert!(!format!("{options:?}").contains("hush"));
    }

    proptest! {
        #[test]
        fn configurations_make_the_round_trip(
            hostname in "[a-z]{1,8}",
            port in 1..65536_i64,
            node in "process|daemon|join",
            budget in proptest::option::of(0..i64::MAX),
            unix: bool,
            encrypt: Option<bool>,
            timeout in 0.001..100_000.0_f64,
            clear: bool,
        ) {
            let optional = |value: Option<Value>| value.unwrap_or(Value::Null);
            let config = Config::new()
                .with("hostname", hostname)
                .with("port", port)
                .with("node", node)
                .with("budget", optional(budget.map(Value::from)))
                .with("spill", "/var/spill")
                .with("unix", unix)
                .with("encrypt", optional(encrypt.map(Value::from)))
                .with("timeout", timeout)
                .with("clear", clear);
            let options = Options::parse(&config)?;
            prop_assert_eq!(Options::parse(&options.to_config())?, options);
        }
    }
}
