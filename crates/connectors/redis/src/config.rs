//! The options, and the factory.

use std::{path::PathBuf, sync::Arc, time::Duration};

use proxystore_core::{
    Capabilities, Config, Connector, Factory, OptionInfo, Result, Value, When, config::ConfigReader,
};
use proxystore_stream::{Address, Secret, TlsClient, tls::TlsFiles};

use crate::{connector::RedisConnector, error::RedisError, url};

/// Opens [`RedisConnector`]s.
pub static FACTORY: RedisFactory = RedisFactory;

pub(crate) const KIND: &str = "redis";

/// The largest value that a server takes unless it is told otherwise.
pub(crate) const PART: u64 = 512 << 20;

/// The smallest parts that objects are cut into. Smaller objects are never in parts.
pub(crate) const SMALLEST_PART: u64 = 64 << 10;

const TIMEOUT: Duration = Duration::from_mins(1);

/// Longer than anybody waits, and short enough to be added to any instant.
const FOREVER: f64 = 1e9;

/// As many seconds as every server can add to its clock in milliseconds.
const LONGEST_TTL: f64 = 1e11;

pub(crate) const OPTIONS: &[OptionInfo] = &[
    option(
        "hostname",
        "a str",
        Some("None"),
        "the name or address of the server",
    ),
    option("port", "an int", Some("None"), "the port of the server"),
    option(
        "clear",
        "a bool",
        Some("False"),
        "whether close() removes all keys of the database, or those with the prefix if there is one",
    ),
    option(
        "url",
        "a str",
        Some("None"),
        "where the server is, as redis://, rediss:// or unix://, instead of hostname and port",
    ),
    option(
        "path",
        "a str",
        Some("None"),
        "the server's Unix socket, instead of hostname and port",
    ),
    option(
        "username",
        "a str",
        Some("None"),
        "the user to log in as, if not the default one",
    ),
    option(
        "password",
        "a str",
        Some("None"),
        "the password, as env:NAME, file:PATH or itself",
    ),
    option(
        "database",
        "an int",
        Some("0"),
        "the number of the database",
    ),
    option(
        "tls",
        "a bool",
        Some("False"),
        "whether the server expects TLS",
    ),
    option(
        "tls_ca",
        "a str",
        Some("the system's"),
        "the file with the certificates of trusted authorities",
    ),
    option(
        "tls_certificate",
        "a str",
        Some("None"),
        "the file with this client's certificate",
    ),
    option(
        "tls_key",
        "a str",
        Some("None"),
        "the file with the key of this client's certificate",
    ),
    option(
        "cluster",
        "a bool",
        Some("False"),
        "whether the server is one of a Redis Cluster",
    ),
    option(
        "sentinel",
        "a list of str",
        Some("None"),
        "the sentinels to ask for the server, as host:port",
    ),
    option(
        "sentinel_master",
        "a str",
        Some("None"),
        "the name by which the sentinels know the server",
    ),
    option(
        "sentinel_username",
        "a str",
        Some("None"),
        "the user to log in at the sentinels as",
    ),
    option(
        "sentinel_password",
        "a str",
        Some("None"),
        "the sentinels' password, as env:NAME, file:PATH or itself",
    ),
    option(
        "timeout",
        "a float",
        Some("60.0"),
        "the seconds that an operation may take, and one more for each MB",
    ),
    option(
        "ttl",
        "a float",
        Some("None"),
        "the seconds after which the server removes an object",
    ),
    option(
        "prefix",
        "a str",
        Some("''"),
        "what the names of all objects begin with",
    ),
    option(
        "part_size",
        "an int",
        Some("536870912"),
        "the bytes from which on an object is stored in parts: at most the server's proto-max-bulk-len",
    ),
];

const fn option(
    name: &'static str,
    expects: &'static str,
    default: Option<&'static str>,
    summary: &'static str,
) -> OptionInfo {
    OptionInfo {
        name,
        expects,
        default,
        summary,
    }
}

/// The factory of [`RedisConnector`]s.
#[derive(Debug)]
pub struct RedisFactory;

impl Factory for RedisFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn summary(&self) -> &'static str {
        "Keeps objects in a Redis, Valkey or KeyDB server."
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            deferrable: true,
            crosses_processes: true,
            crosses_hosts: true,
            outlives_process: true,
            remote: true,
            verifies: When::Always,
            // The piece that is being sent, and what has arrived.
            transit_memory: Some(2 << 20),
            ..Capabilities::NONE
        }
    }

    fn options(&self) -> &'static [OptionInfo] {
        OPTIONS
    }

    fn open(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        let options = Options::parse(config)?;
        Ok(Arc::new(RedisConnector::open(options)?))
    }
}

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

/// Who is trusted, by files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
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
        match &self.servers {
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
            config.insert("tls", true);
            let files = [
                ("tls_ca", &tls.ca),
                ("tls_certificate", &tls.certificate),
                ("tls_key", &tls.key),
            ];
            for (name, path) in files {
                if let Some(path) = path {
                    config.insert(name, path_value(path));
                }
            }
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
                authority: tls.ca.as_deref(),
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

fn servers(reader: &ConfigReader<'_>, url: Option<Address>) -> Result<Servers> {
    let hostname = text(reader, "hostname")?;
    let port = reader.optional::<i64>("port")?;
    let path = text(reader, "path")?;
    let sentinels = reader.optional::<Vec<String>>("sentinel")?;
    let cluster = reader.optional("cluster")?.unwrap_or(false);
    if hostname.is_some() && port.is_none() {
        return Err(reader.invalid("port", "is missing beside hostname"));
    }
    let given = [
        ("hostname", hostname.is_some() || port.is_some()),
        ("url", url.is_some()),
        ("path", path.is_some()),
        ("sentinel", sentinels.is_some()),
    ];
    let mut given = given
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| *name);
    let first = given.next();
    if let (Some(first), Some(second)) = (first, given.next()) {
        return Err(reader.invalid(second, &format!("is given beside {first}")));
    }
    if let Some(sentinels) = sentinels {
        if cluster {
            return Err(reader.invalid("cluster", "is given beside sentinel"));
        }
        let parsed: Option<Vec<_>> = sentinels.iter().map(|text| host_and_port(text)).collect();
        return Ok(Servers::Sentinel {
            sentinels: parsed
                .filter(|sentinels| !sentinels.is_empty())
                .ok_or_else(|| reader.invalid("sentinel", "is no list of host:port"))?,
            master: text(reader, "sentinel_master")?
                .ok_or_else(|| reader.invalid("sentinel_master", "is missing beside sentinel"))?,
            username: text(reader, "sentinel_username")?,
            password: secret(reader, "sentinel_password")?,
        });
    }
    for name in ["sentinel_master", "sentinel_username", "sentinel_password"] {
        if text(reader, name)?.is_some() {
            return Err(reader.invalid(name, "is given without sentinel"));
        }
    }
    let address = match (url, path, hostname, port) {
        (Some(address), ..) => address,
        (_, Some(path), ..) => Address::Unix(absolute(reader, "path", &path)?),
        (_, _, Some(host), Some(port)) => match u16::try_from(port) {
            Ok(port) if port > 0 => Address::tcp(host, port),
            _ => return Err(reader.invalid("port", "is no port")),
        },
        _ => return Err(reader.invalid("hostname", "is required")),
    };
    match (cluster, address) {
        (true, Address::Unix(_)) => Err(reader.invalid(
            "cluster",
            "is given with a Unix socket, and a cluster's servers are reached by TCP",
        )),
        (true, address) => Ok(Servers::Cluster(address)),
        (false, address) => Ok(Servers::One(address)),
    }
}

fn tls(reader: &ConfigReader<'_>, url: bool) -> Result<Option<Tls>> {
    let path = |name| match text(reader, name)? {
        None => Ok(None),
        Some(path) => absolute(reader, name, &path).map(Some),
    };
    let files = Tls {
        ca: path("tls_ca")?,
        certificate: path("tls_certificate")?,
        key: path("tls_key")?,
    };
    if files.certificate.is_some() != files.key.is_some() {
        let problem = "and tls_key come together, and one of them is missing";
        return Err(reader.invalid("tls_certificate", problem));
    }
    let named = files != Tls::default();
    match reader.optional("tls")? {
        Some(false) if named || url => {
            Err(reader.invalid("tls", "is False, and other options are about TLS"))
        }
        Some(true) => Ok(Some(files)),
        _ if named || url => Ok(Some(files)),
        _ => Ok(None),
    }
}

/// A text that says something.
fn text(reader: &ConfigReader<'_>, name: &'static str) -> Result<Option<String>> {
    match reader.optional::<String>(name)? {
        Some(text) if text.contains('\0') => Err(reader.invalid(name, "has a NUL in it")),
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}

fn secret(reader: &ConfigReader<'_>, name: &'static str) -> Result<Option<Secret>> {
    Ok(text(reader, name)?.map(|option| Secret::parse(&option)))
}

/// A path that means the same in other working directories.
fn absolute(reader: &ConfigReader<'_>, name: &'static str, path: &str) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|_| reader.invalid(name, "is no path"))
}

fn path_value(path: &std::path::Path) -> Value {
    // Lossless: the path was made from a text and a working directory.
    Value::Text(path.to_string_lossy().into_owned())
}

fn host_and_port(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| Address::tcp(host, port))
}

fn duration(seconds: f64, most: f64) -> Option<Duration> {
    let sensible = seconds > 0.0 && seconds <= most;
    sensible.then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxystore_core::ErrorKind;

    use super::*;

    fn at(hostname: &str, port: i64) -> Config {
        Config::new().with("hostname", hostname).with("port", port)
    }

    #[test]
    fn upstreams_options_are_enough() {
        let config = at("localhost", 6379).with("clear", false);
        let options = Options::parse(&config).expect("valid");
        assert_eq!(
            options.servers,
            Servers::One(Address::tcp("localhost", 6379))
        );
        assert!(!options.clear);
        assert_eq!(options.to_config(), at("localhost", 6379));
    }

    #[test]
    fn urls_say_the_same() {
        let url = |text: &str| Options::parse(&Config::new().with("url", text)).expect("valid");
        let config = url("rediss://u:p%40ss@h:7/3").to_config();
        let expected = at("h", 7)
            .with("username", "u")
            .with("password", "p@ss")
            .with("database", 3)
            .with("tls", true);
        assert_eq!(config, expected);
        assert_eq!(url("redis://[::1]").to_config(), at("::1", 6379));
        let unix = url("unix:///run/r.sock?db=2").to_config();
        assert_eq!(
            unix,
            Config::new()
                .with("path", "/run/r.sock")
                .with("database", 2)
        );
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let sentinel = Config::new().with("sentinel", vec![Value::from("s:26379")]);
        for (config, option) in [
            (Config::new(), "hostname"),
            (Config::new().with("hostname", "h"), "port"),
            (at("h", 0), "port"),
            (at("h", 65_536), "port"),
            (at("h", 1).with("url", "redis://h"), "url"),
            (at("h", 1).with("path", "/x"), "path"),
            (Config::new().with("url", "http://h"), "url"),
            (at("h", 1).with("username", "u"), "username"),
            (at("h", 1).with("database", -1), "database"),
            (
                at("h", 1).with("cluster", true).with("database", 1),
                "database",
            ),
            (
                Config::new().with("path", "/x").with("cluster", true),
                "cluster",
            ),
            (sentinel.clone(), "sentinel_master"),
            (
                sentinel
                    .clone()
                    .with("sentinel_master", "m")
                    .with("cluster", true),
                "cluster",
            ),
            (at("h", 1).with("sentinel_master", "m"), "sentinel_master"),
            (at("h", 1).with("tls_key", "/k"), "tls_certificate"),
            (at("h", 1).with("tls", false).with("tls_ca", "/k"), "tls"),
            (at("h", 1).with("timeout", 0.0), "timeout"),
            (at("h", 1).with("timeout", f64::NAN), "timeout"),
            (at("h", 1).with("ttl", 0.0001), "ttl"),
            (at("h", 1).with("ttl", f64::INFINITY), "ttl"),
            (at("h", 1).with("prefix", "a{}"), "prefix"),
            (at("h", 1).with("part_size", 1000), "part_size"),
        ] {
            let error = Options::parse(&config).expect_err("invalid");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{config:?}");
            assert_eq!(error.context("option"), Some(option), "{error}");
        }
    }

    #[test]
    fn passwords_stand_in_no_text() {
        let config = at("h", 1).with("password", "s3cret");
        let options = Options::parse(&config).expect("valid");
        assert!(!format!("{options:?}").contains("s3cret"));
        let text = "redis://:s3cret@h:port";
        let error = Options::parse(&Config::new().with("url", text)).expect_err("no port");
        assert!(!format!("{error:?}").contains("s3cret"), "{error}");
    }

    proptest! {
        #[test]
        fn configurations_make_the_round_trip(
            port in 1..65_536_i64,
            clear: bool,
            database in 0..20_i64,
            timeout in 1..10_000_i32,
            ttl in prop::option::of(1..10_000_i32),
            prefix in "[a-z:]{0,9}",
            password in prop::option::of("env:[A-Z]{1,5}|[a-z]{1,9}"),
            tls: bool,
            sentinel: bool,
            part_size in 65_536..i64::MAX,
        ) {
            let mut config = if sentinel {
                let sentinels = vec![Value::from("s:1"), Value::from("[::1]:2")];
                Config::new().with("sentinel", sentinels).with("sentinel_master", "m")
            } else {
                at("host", port)
            };
            config.insert("clear", clear);
            config.insert("database", database);
            config.insert("timeout", f64::from(timeout) / 8.0);
            config.insert("ttl", ttl.map_or(Value::Null, |ttl| Value::Float(f64::from(ttl) / 8.0)));
            config.insert("prefix", prefix);
            config.insert("password", password.map_or(Value::Null, Value::Text));
            config.insert("tls", tls);
            config.insert("part_size", part_size);
            let options = Options::parse(&config)?;
            prop_assert_eq!(Options::parse(&options.to_config())?, options);
        }
    }
}
