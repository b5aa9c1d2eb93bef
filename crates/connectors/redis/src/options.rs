//! The options, as meant.

mod reading;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use proxystore_core::{Config, Result, Value};
use proxystore_stream::{Address, Secret, TlsClient, tls::TlsFiles};

use self::reading::{duration, path_value, secret, servers, text, tls};
use crate::{
    config::{KIND, OPTIONS},
    error::RedisError,
    url,
};

/// The largest value that a server takes unless it is told otherwise.
pub(crate) const PART: u64 = 512 << 20;

/// The smallest parts that objects are cut into. Smaller objects are never in parts.
pub(crate) const SMALLEST_PART: u64 = 64 << 10;

const TIMEOUT: Duration = Duration::from_mins(1);

/// Longer than anybody waits, and short enough to be added to any instant.
const FOREVER: f64 = 1e9;

/// As many seconds as every server can add to its clock in milliseconds.
const LONGEST_TTL: f64 = 1e11;

/// The options, as meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) servers: Servers,
    pub(crate) clear: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    pub(crate) tls: Option<Tls>,
    pub(crate) timeout: Duration,
    pub(crate) ttl: Option<Duration>,
    pub(crate) prefix: String,
    pub(crate) part_size: u64,
}

/// Which servers have the objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Servers {
    /// The one that is there.
    One(Address),
    /// Those of a cluster, of which this is one.
    Cluster(Address),
    /// The one that sentinels name.
    Sentinel {
        sentinels: Vec<Address>,
        master: String,
        username: Option<String>,
        password: Option<Secret>,
    },
}

impl Servers {
    /// Writes the options that name these servers.
    fn write(&self, config: &mut Config) {
        match self {
            Servers::One(Address::Unix(path)) => config.insert("path", path_value(path)),
            Servers::One(Address::Tcp { host, port })
            | Servers::Cluster(Address::Tcp { host, port }) => {
                config.insert("hostname", host.as_str());
                config.insert("port", i64::from(*port));
            }
            // Refused when parsed.
            Servers::Cluster(Address::Unix(_)) => {}
            Servers::Sentinel {
                sentinels,
                master,
                username,
                password,
            } => {
                let sentinels = sentinels
                    .iter()
                    .map(|address| Value::Text(address.to_string()));
                config.insert("sentinel", sentinels.collect::<Vec<_>>());
                config.insert("sentinel_master", master.as_str());
                if let Some(username) = username {
                    config.insert("sentinel_username", username.as_str());
                }
                if let Some(password) = password.as_ref().and_then(Secret::to_option) {
                    config.insert("sentinel_password", password);
                }
            }
        }
    }
}

/// Who is trusted, by files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Tls {
    /// Writes the options that name these files.
    fn write(&self, config: &mut Config) {
        config.insert("tls", true);
        let files = [
            ("authority", &self.authority),
            ("certificate", &self.certificate),
            ("certificate_key", &self.key),
        ];
        for (name, path) in files {
            if let Some(path) = path {
                config.insert(name, path_value(path));
            }
        }
    }
}

/// How to log in at a server.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) tls: Option<TlsClient>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    /// Whether to go on only if the server is a master.
    pub(crate) master: bool,
}

impl Options {
    pub(crate) fn parse(config: &Config) -> Result<Self> {
        let reader = config.read(KIND, OPTIONS)?;
        let given = match reader.optional::<String>("url")? {
            None => url::Location::default(),
            Some(text) => {
                url::Location::parse(&text).map_err(|problem| reader.invalid("url", &problem))?
            }
        };
        let username = text(&reader, "username")?.or(given.username);
        let password = secret(&reader, "password")?.or(given.password);
        if username.is_some() && password.is_none() {
            return Err(reader.invalid("username", "comes without a password"));
        }
        let database = match reader.optional::<i64>("database")? {
            None => given.database,
            Some(number) => u32::try_from(number)
                .map_err(|_| reader.invalid("database", "is no number of a database"))?,
        };
        let servers = servers(&reader, given.address)?;
        if database != 0 && matches!(servers, Servers::Cluster(_)) {
            return Err(reader.invalid("database", "is not 0, and a cluster has no other"));
        }
        let timeout = reader.optional::<f64>("timeout")?;
        let prefix = text(&reader, "prefix")?.unwrap_or_default();
        if prefix.len() > 256 || prefix.contains("{}") || prefix.chars().any(char::is_control) {
            let problem = "is longer than 256 bytes, or has {} or a control character in it";
            return Err(reader.invalid("prefix", problem));
        }
        let part_size = reader.optional::<i64>("part_size")?.map(u64::try_from);
        let part_size = match part_size {
            None => PART,
            Some(Ok(size)) if size >= SMALLEST_PART => size,
            Some(_) => return Err(reader.invalid("part_size", "is less than 65536")),
        };
        Ok(Self {
            servers,
            clear: reader.optional("clear")?.unwrap_or(false),
            username,
            password,
            database,
            tls: tls(&reader, given.tls)?,
            timeout: match timeout {
                None => TIMEOUT,
                Some(seconds) => duration(seconds, FOREVER)
                    .ok_or_else(|| reader.invalid("timeout", "is no number of seconds to wait"))?,
            },
            ttl: match reader.optional::<f64>("ttl")? {
                None => None,
                Some(seconds) => Some(
                    duration(seconds, LONGEST_TTL)
                        .filter(|ttl| ttl.as_millis() > 0)
                        .ok_or_else(|| reader.invalid("ttl", "is no number of seconds to live"))?,
                ),
            },
            prefix,
            part_size,
        })
    }

    pub(crate) fn to_config(&self) -> Config {
        let mut config = Config::new();
        self.servers.write(&mut config);
        if self.clear {
            config.insert("clear", true);
        }
        if let Some(username) = &self.username {
            config.insert("username", username.as_str());
        }
        if let Some(password) = self.password.as_ref().and_then(Secret::to_option) {
            config.insert("password", password);
        }
        if self.database != 0 {
            config.insert("database", i64::from(self.database));
        }
        if let Some(tls) = &self.tls {
            tls.write(&mut config);
        }
        if matches!(self.servers, Servers::Cluster(_)) {
            config.insert("cluster", true);
        }
        if self.timeout != TIMEOUT {
            config.insert("timeout", self.timeout.as_secs_f64());
        }
        if let Some(ttl) = self.ttl {
            config.insert("ttl", ttl.as_secs_f64());
        }
        if !self.prefix.is_empty() {
            config.insert("prefix", self.prefix.as_str());
        }
        if self.part_size != PART
            && let Ok(size) = i64::try_from(self.part_size)
        {
            config.insert("part_size", size);
        }
        config
    }

    /// How to log in at the servers, and at the sentinels.
    pub(crate) fn logins(&self) -> Result<(Login, Login), RedisError> {
        let tls = match &self.tls {
            None => None,
            Some(tls) => Some(TlsClient::from_files(TlsFiles {
                authority: tls.authority.as_deref(),
                certificate: tls.certificate.as_deref(),
                key: tls.key.as_deref(),
            })?),
        };
        let (username, password) = match &self.servers {
            Servers::Sentinel {
                username, password, ..
            } => (username.clone(), password.clone()),
            _ => (None, None),
        };
        let sentinel = Login {
            tls: tls.clone(),
            username,
            password,
            database: 0,
            master: false,
        };
        let server = Login {
            tls,
            username: self.username.clone(),
            password: self.password.clone(),
            database: self.database,
            master: matches!(self.servers, Servers::Sentinel { .. }),
        };
        Ok((server, sentinel))
    }
}
