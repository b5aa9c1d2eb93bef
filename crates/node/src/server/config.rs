//! What a node is told, as a configuration.

use std::path::PathBuf;

use proxystore_core::{Config, OptionInfo, Result};
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
        let port = match reader.optional::<i64>("port")? {
            None => Self::PORT,
            Some(port) => u16::try_from(port)
                .map_err(|_| reader.invalid("port", "is no port: those are 0 to 65535"))?,
        };
        let budget = match reader.optional::<i64>("budget")? {
            None => None,
            Some(bytes) => {
                let bytes = u64::try_from(bytes);
                Some(bytes.map_err(|_| reader.invalid("budget", "is negative"))?)
            }
        };
        let path = |name| -> Result<Option<PathBuf>> {
            Ok(reader.optional::<String>(name)?.map(PathBuf::from))
        };
        let certificates = match (
            path("certificate")?,
            path("certificate_key")?,
            path("authority")?,
        ) {
            (None, None, None) => None,
            (Some(certificate), Some(key), Some(authority)) => Some(Certificates {
                certificate,
                key,
                authority,
            }),
            (certificate, key, _) => {
                let absent = match (certificate, key) {
                    (None, _) => "certificate",
                    (_, None) => "certificate_key",
                    _ => "authority",
                };
                let problem = "is missing: certificates need all three of certificate, \
                               certificate_key and authority";
                return Err(reader.invalid(absent, problem));
            }
        };
        Ok(Self {
            secret: reader
                .optional::<String>("secret")?
                .map(|option| Secret::parse(&option)),
            certificates,
            encrypt: reader.optional("encrypt")?,
            budget,
            spill: path("spill")?,
            unix: reader.optional("unix")?.unwrap_or(true),
            is_daemon: reader.optional("daemon")?.unwrap_or(false),
            ..Self::new(host, port)
        })
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
        ] {
            let error = NodeOptions::from_config(&config).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert_eq!(error.context("option"), Some(name));
        }
    }
}
