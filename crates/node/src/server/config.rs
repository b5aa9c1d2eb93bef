//! What a node is told, as a configuration.

use std::path::PathBuf;

use proxystore_core::{Config, OptionInfo, Result, config::ConfigReader};
use proxystore_stream::Secret;

use super::options::{Certificates, NodeOptions};

/// What nodes are called in messages.
const KIND: &str = "node";

const OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        name: "hostname",
        expects: "a str",
        default: Some("\"127.0.0.1\""),
        summary: "the name or address to listen at",
    },
    OptionInfo {
        name: "port",
        expects: "an int",
        default: Some("7337"),
        summary: "the port; 0 is any that is free",
    },
    OptionInfo {
        name: "secret",
        expects: "a str",
        default: Some("the user's own secret file"),
        summary: "what all clients must know: \"env:NAME\", \"file:PATH\" or the secret",
    },
    OptionInfo {
        name: "certificate",
        expects: "a str",
        default: Some("None"),
        summary: "the file with the certificate to show to clients, as PEM",
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
        summary: "the file with the certificates that clients' must be signed by, as PEM",
    },
    OptionInfo {
        name: "budget",
        expects: "an int",
        default: Some("None"),
        summary: "the most bytes of memory that objects may take",
    },
    OptionInfo {
        name: "spill",
        expects: "a str",
        default: Some("None"),
        summary: "the directory, on a disk, for what is over the budget",
    },
    OptionInfo {
        name: "unix",
        expects: "a bool",
        default: Some("True"),
        summary: "whether processes on this host reach the node by a Unix socket",
    },
    OptionInfo {
        name: "encrypt",
        expects: "a bool",
        default: Some("None"),
        summary: "whether TCP connections are encrypted; None encrypts all but those within a host",
    },
    OptionInfo {
        name: "daemon",
        expects: "a bool",
        default: Some("False"),
        summary: "whether its process does nothing else, and may be asked to end",
    },
];

impl NodeOptions {
    /// The options that a configuration names.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](proxystore_core::ErrorKind::InvalidConfig) naming the option.
    pub fn from_config(config: &Config) -> Result<Self> {
        let reader = config.read(KIND, OPTIONS)?;
        let host = reader.optional::<String>("hostname")?;
        let host = host.unwrap_or_else(|| Self::HOST.to_owned());
        Ok(Self {
            secret: reader
                .optional::<String>("secret")?
                .map(|option| Secret::parse(&option)),
            certificates: Certificates::read(&reader)?,
            encrypt: reader.optional("encrypt")?,
            budget: Self::read_budget(&reader)?,
            spill: read_path(&reader, "spill")?,
            unix: reader.optional("unix")?.unwrap_or(true),
            is_daemon: reader.optional("daemon")?.unwrap_or(false),
            ..Self::new(host, Self::read_port(&reader)?)
        })
    }

    /// The option `port`: [`PORT`](Self::PORT) if it is not given.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](proxystore_core::ErrorKind::InvalidConfig) if it is no port.
    pub fn read_port(reader: &ConfigReader<'_>) -> Result<u16> {
        match reader.optional::<i64>("port")? {
            None => Ok(Self::PORT),
            Some(port) => u16::try_from(port)
                .map_err(|_| reader.invalid("port", "is no port: those are 0 to 65535")),
        }
    }

    /// The option `budget`, in bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](proxystore_core::ErrorKind::InvalidConfig) if it is negative.
    pub fn read_budget(reader: &ConfigReader<'_>) -> Result<Option<u64>> {
        let budget = reader.optional::<i64>("budget")?.map(u64::try_from);
        let budget = budget.transpose();
        budget.map_err(|_| reader.invalid("budget", "is negative"))
    }
}

impl Certificates {
    /// The options `certificate`, `certificate_key` and `authority`: all of them, or none.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](proxystore_core::ErrorKind::InvalidConfig) naming the one that is missing,
    /// or no absolute path.
    pub fn read(reader: &ConfigReader<'_>) -> Result<Option<Self>> {
        let certificate = read_path(reader, "certificate")?;
        let key = read_path(reader, "certificate_key")?;
        let absent = match (certificate, key, read_path(reader, "authority")?) {
            (None, None, None) => return Ok(None),
            (Some(certificate), Some(key), Some(authority)) => {
                return Ok(Some(Self {
                    certificate,
                    key,
                    authority,
                }));
            }
            (None, ..) => "certificate",
            (_, None, _) => "certificate_key",
            (_, _, None) => "authority",
        };
        let problem = "is missing: certificates need all three of certificate, certificate_key and \
                       authority";
        Err(reader.invalid(absent, problem))
    }
}

/// An option that is a path, good in every process.
///
/// # Errors
///
/// [`InvalidConfig`](proxystore_core::ErrorKind::InvalidConfig) if it is no absolute path.
pub fn read_path(reader: &ConfigReader<'_>, name: &'static str) -> Result<Option<PathBuf>> {
    let Some(path) = reader.optional::<String>(name)?.map(PathBuf::from) else {
        return Ok(None);
    };
    if path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0) {
        Ok(Some(path))
    } else {
        Err(reader.invalid(name, "is no absolute path"))
    }
}

#[cfg(test)]
mod tests {
    use proxystore_core::{ErrorKind, Value};

    use super::*;

    fn with(name: &str, value: impl Into<Value>) -> Config {
        Config::new().with(name, value)
    }

    #[test]
    fn there_is_a_default_for_everything() {
        let options = NodeOptions::from_config(&Config::new()).expect("valid");
        assert_eq!((options.host.as_str(), options.port), ("127.0.0.1", 7337));
        assert!(options.unix && !options.is_daemon && options.budget.is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let certificate = with("certificate", "/c");
        let without_authority = certificate.clone().with("certificate_key", "/k");
        for (config, name) in [
            (with("port", 65_536_i64), "port"),
            (with("port", "x"), "port"),
            (with("budget", -1_i64), "budget"),
            (certificate, "certificate_key"),
            (without_authority, "authority"),
            (with("authority", "/a"), "certificate"),
            (with("no_such", 1_i64), "no_such"),
            (with("spill", "relative"), "spill"),
        ] {
            let error = NodeOptions::from_config(&config).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert_eq!(error.context("option"), Some(name));
        }
    }
}
