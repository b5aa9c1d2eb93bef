//! A master, its replica, and a sentinel that makes the replica the master.

use std::{fs, thread};

use proxystore_core::{Config, Value as Plain};

use super::{
    Checked,
    server::{Server, text},
};

/// The name by which the sentinel knows the master.
pub(crate) const MASTER: &str = "objects";

/// A master, its replica and a sentinel.
pub(crate) struct Watched {
    pub(crate) master: Server,
    pub(crate) replica: Server,
    pub(crate) sentinel: Server,
}

impl Watched {
    pub(crate) fn start() -> Checked<Self> {
        let master = Server::start(&[])?;
        let port = master.port.to_string();
        let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {port}")])?;
        while replica.info("master_link_status")? != "up" {
            thread::yield_now();
        }
        let directory = tempfile::TempDir::new_in("/tmp")?;
        let file = directory.path().join("sentinel.conf");
        let lines = [
            format!("sentinel monitor {MASTER} 127.0.0.1 {port} 1"),
            // A master on a busy machine must not seem to be gone.
            format!("sentinel down-after-milliseconds {MASTER} 2000"),
            format!("sentinel failover-timeout {MASTER} 3000"),
        ];
        fs::write(&file, lines.join("\n"))?;
        let sentinel = Server::start_sentinel(directory, &file)?;
        let watched = Self {
            master,
            replica,
            sentinel,
        };
        // Only once it knows of the replica can it make it the master.
        while watched
            .sentinel
            .info("master0")?
            .split(',')
            .all(|fact| fact != "slaves=1")
        {
            thread::yield_now();
        }
        Ok(watched)
    }

    /// The options of a connector to whichever is the master.
    pub(crate) fn config(&self) -> Config {
        let sentinel = format!("127.0.0.1:{}", self.sentinel.port);
        Config::new()
            .with("sentinel", vec![Plain::from("127.0.0.1:1"), text(sentinel)])
            .with("sentinel_master", MASTER)
    }
}
