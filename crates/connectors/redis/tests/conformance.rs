//! The redis connector keeps the contract, with every kind of server.
//!
//! Started as a test, this program starts itself again for every get in another process.

mod support;

use std::{env, fs, process::ExitCode, sync::Arc};

use proxystore_conformance::{
    CASES, Damage, Elsewhere, Fixture, Outcome, check,
    program::{self, role, start, this_program},
};
use proxystore_core::{
    Config, Connector, Deadline, Error, ErrorKind, Factory, Field, Key, Result, Value as Plain,
};
use proxystore_redis::{
    FACTORY,
    key::ObjectName,
    manifest::{LENGTH, Manifest},
    resp::Value,
};

use crate::support::{Checked, cluster::Cluster, now, server::Server, tls::Certificates};

/// What only a process that forks can show, which is tried from Python.
const FORKS: &str = "forked-children-share-a-connector";

fn main() -> ExitCode {
    match role().as_deref() {
        None => program::main(&[
            ("conforms_by_tcp", by_tcp),
            ("conforms_by_a_unix_socket", by_unix_socket),
            ("conforms_with_objects_in_parts", in_parts),
            ("conforms_with_tls_and_a_password", with_tls),
            ("conforms_in_a_cluster", in_a_cluster),
            ("objects_beyond_4_gib_are_taken", beyond_4_gib),
        ]),
        Some("get") => program::main(&[("get", get)]),
        Some(other) => panic!("{other} is no role"),
    }
}

fn by_tcp() -> Checked {
    let server = Server::start(&[])?;
    let config = server.config();
    Ok(check(
        &Redis::new(vec![server], config),
        &[FORKS, "close-spares-what-is-not-owned"],
    )?)
}

fn by_unix_socket() -> Checked {
    let server = Server::start(&[])?;
    let config = server
        .unix_config()
        .with("prefix", "tests:")
        .with("ttl", 600_i64);
    Ok(check(&Redis::new(vec![server], config), &[FORKS])?)
}

fn in_parts() -> Checked {
    let server = Server::start(&["--proto-max-bulk-len", "1mb"])?;
    let config = server
        .config()
        .with("prefix", "tests:")
        .with("part_size", 300_000_i64);
    Ok(check(&Redis::new(vec![server], config), &[FORKS])?)
}

fn with_tls() -> Checked {
    let certificates = Certificates::make();
    let (server, config) = certificates.start(&["--requirepass", "s3cret"])?;
    let config = config.with("password", "s3cret").with("prefix", "tests:");
    Ok(check(&Redis::new(vec![server], config), &[FORKS])?)
}

fn in_a_cluster() -> Checked {
    let cluster = Cluster::start()?;
    let config = cluster.config().with("part_size", 300_000_i64);
    let untestable = [FORKS, "close-spares-what-is-not-owned"];
    Ok(check(&Redis::new(cluster.servers, config), &untestable)?)
}

fn beyond_4_gib() -> Checked {
    let server = Server::start(&[])?;
    let config = server.config();
    let fixture = Redis::new(vec![server], config);
    let case = CASES
        .iter()
        .find(|case| case.heavy)
        .ok_or("no heavy case")?;
    match case.run(&fixture)? {
        Outcome::Passed => Ok(()),
        other => Err(format!("{} gives {other:?}", case.name).into()),
    }
}

/// Gets the object that the environment names and writes it to a file.
fn get() -> Checked {
    let connector = FACTORY.open(&parse(&env::var("REDIS_TEST_CONFIG")?))?;
    let key = Key::text(env::var("REDIS_TEST_KEY")?);
    if let Some(memory) = now(connector.get(&key, Deadline::never()))? {
        fs::write(env::var("REDIS_TEST_OUTPUT")?, memory.to_vec())?;
    }
    Ok(())
}

/// Writes a configuration of texts and whole numbers and truths, one option a line.
fn print(config: &Config) -> String {
    let lines = config.iter().map(|(name, value)| match value {
        Plain::Text(text) => format!("{name}=t{text}\n"),
        Plain::Integer(number) => format!("{name}=i{number}\n"),
        Plain::Bool(truth) => format!("{name}=b{truth}\n"),
        Plain::Float(number) => format!("{name}=f{number}\n"),
        other => panic!("{other} is not written"),
    });
    lines.collect()
}

fn parse(lines: &str) -> Config {
    let options = lines.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let (kind, text) = value.split_at(1);
        let value = match kind {
            "t" => Plain::from(text),
            "i" => Plain::Integer(text.parse().ok()?),
            "b" => Plain::Bool(text == "true"),
            _ => Plain::Float(text.parse().ok()?),
        };
        Some((name, value))
    });
    options.collect()
}

struct Redis {
    servers: Vec<Arc<Server>>,
    config: Config,
}

impl Redis {
    fn new(servers: Vec<Server>, config: Config) -> Self {
        let servers = servers.into_iter().map(Arc::new).collect();
        Self { servers, config }
    }

    /// The server that has a name.
    fn server_of(&self, name: &str) -> Checked<&Server> {
        let mut having = self.servers.iter().filter(|server| {
            let names = server.names().unwrap_or_default();
            names.iter().any(|known| known == name)
        });
        let found = having.next();
        Ok(found.ok_or_else(|| format!("nobody has {name}"))?)
    }

    fn change(&self, key: &Key, damage: Damage) -> Checked {
        let mut name = key.as_text().ok_or("no text")?.to_owned();
        let server = self.server_of(&name)?;
        let mut value = value_of(server, &name)?;
        if value.len() == LENGTH
            && let Some(manifest) = Manifest::parse(&value)?
        {
            let object = ObjectName::parse(&name).ok_or("no name")?;
            name = manifest.part_name(&object, manifest.parts() / 2);
            value = value_of(server, &name)?;
        }
        match damage {
            Damage::FlippedBit => {
                let middle = value.len() / 2;
                value[middle] ^= 1;
            }
            Damage::HalfWritten => value.truncate(value.len() / 2),
            Damage::Truncated => value.truncate(value.len() - 1),
        }
        server.say(&[b"SET", name.as_bytes(), &value, b"KEEPTTL"])?;
        Ok(())
    }
}

fn value_of(server: &Server, name: &str) -> Checked<Vec<u8>> {
    // In pieces, as a server may not take or give it as a whole.
    let mut value = Vec::new();
    loop {
        let (first, last) = (value.len(), value.len() + 500_000 - 1);
        let range = [first.to_string(), last.to_string()];
        let words = [
            b"GETRANGE",
            name.as_bytes(),
            range[0].as_bytes(),
            range[1].as_bytes(),
        ];
        match server.say(&words)? {
            Value::Bulk(bytes) if bytes.is_empty() => return Ok(value),
            Value::Bulk(bytes) => value.extend(bytes),
            other => return Err(format!("{name} is {other:?}").into()),
        }
    }
}

impl Fixture for Redis {
    fn open(&self) -> Result<Arc<dyn Connector>> {
        FACTORY.open(&self.config)
    }

    fn reopen(&self, config: &Config) -> Result<Arc<dyn Connector>> {
        FACTORY.open(config)
    }

    fn foreign_keys(&self) -> Vec<Key> {
        let name = || Field::Text("977218f4-d6ac-460a-85a8-99950957b5dc".into());
        vec![
            Key::new([]),
            Key::new([Field::Absent]),
            Key::new([Field::Integer(7)]),
            Key::new([name(), name()]),
            Key::new([Field::Nested(Key::new([name()]))]),
            Key::text(""),
            Key::text("a\r\nFLUSHALL"),
            Key::text("a\0"),
            Key::text("x".repeat(513)),
        ]
    }

    fn stored(&self) -> Option<Vec<String>> {
        let names = self.servers.iter().map(|server| server.names());
        let names: Checked<Vec<_>> = names.collect();
        let mut names = names.ok()?.concat();
        names.sort();
        Some(names)
    }

    fn damage(&self, key: &Key, damage: Damage) -> Option<Result<()>> {
        let changed = self.change(key, damage);
        Some(changed.map_err(|error| Error::new(ErrorKind::Internal, error.to_string())))
    }

    fn while_full(&self, work: &mut dyn FnMut()) -> bool {
        let limit = |server: &Arc<Server>| -> Checked<Value> {
            let used: u64 = server.info("used_memory")?.parse()?;
            server.ask(&format!("CONFIG SET maxmemory {}", used + (1 << 20)))
        };
        let full = self.servers.iter().all(|server| limit(server).is_ok());
        work();
        let freed = |server: &Arc<Server>| server.ask("CONFIG SET maxmemory 0").is_ok();
        self.servers.iter().all(freed) && full
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
        let output = tempfile::TempDir::new().ok()?;
        let object = output.path().join("object");
        let mut command = this_program("get").ok()?;
        command
            .env("REDIS_TEST_CONFIG", print(&connector.config()))
            .env("REDIS_TEST_KEY", key.as_text()?)
            .env("REDIS_TEST_OUTPUT", &object);
        if let Err(error) = start(&mut command, "get") {
            return Some(Err(Error::new(ErrorKind::Internal, error.to_string())));
        }
        Some(Ok(fs::read(&object).ok()))
    }

    fn plant(&self) -> Option<Box<dyn Fn() -> bool>> {
        // Without a prefix everything in the database is the connector's to clear.
        self.config.value("prefix")?;
        let planted = |server: &Arc<Server>| {
            let server = Arc::clone(server);
            // In a cluster it is one of them that takes it.
            server.say(&[b"SET", b"notes", b"not an object"]).ok()?;
            Some(server)
        };
        let server = self.servers.iter().find_map(planted)?;
        Some(Box::new(
            move || matches!(server.ask("GET notes"), Ok(Value::Bulk(bytes)) if bytes == b"not an object"),
        ))
    }

    fn while_stalled(&self, work: &mut dyn FnMut()) -> bool {
        let stalled = self.servers.iter().all(|server| server.pause().is_ok());
        work();
        self.servers.iter().all(|server| server.resume().is_ok()) && stalled
    }

    fn cut_connections(&self) -> bool {
        let cut = |server: &Arc<Server>| server.ask("CLIENT KILL TYPE normal").is_ok();
        self.servers.iter().all(cut)
    }
}
