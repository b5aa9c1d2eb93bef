//! The options, and the factory.

use std::sync::Arc;

use proxystore_core::{Capabilities, Config, Connector, Factory, OptionInfo, Result, When};

use crate::{connector::RedisConnector, options::Options};

/// Opens [`RedisConnector`]s.
pub static FACTORY: RedisFactory = RedisFactory;

pub(crate) const KIND: &str = "redis";

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
        "authority",
        "a str",
        Some("the system's"),
        "the file with the certificates of trusted authorities",
    ),
    option(
        "certificate",
        "a str",
        Some("None"),
        "the file with this client's certificate",
    ),
    option(
        "certificate_key",
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
