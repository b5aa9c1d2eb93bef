//! A cluster of three servers.

use std::thread;

use proxystore_core::Config;

use super::{Checked, server::Server};

/// Three servers that share the slots.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Checked<Self> {
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            "$BUS",
            "--cluster-require-full-coverage",
            "yes",
        ];
        let servers: Checked<Vec<_>> = (0..3).map(|_| Server::start(&options)).collect();
        let servers = servers?;
        let first = &servers[0];
        for (index, server) in servers.iter().enumerate() {
            let last = if index == 2 {
                16_383
            } else {
                index * 5461 + 5460
            };
            server.ask(&format!("CLUSTER ADDSLOTSRANGE {} {last}", index * 5461))?;
            if index > 0 {
                let (port, bus) = (first.port, first.bus);
                server.ask(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"))?;
            }
        }
        for server in &servers {
            while !is_complete(server)? {
                thread::yield_now();
            }
        }
        Ok(Self { servers })
    }

    /// The options of a connector to it.
    pub(crate) fn config(&self) -> Config {
        self.servers[0].config().with("cluster", true)
    }
}

/// Whether a server knows that all slots are served, and by whom.
fn is_complete(server: &Server) -> Checked<bool> {
    let info = server.ask("CLUSTER INFO")?;
    let slots = server.ask("CLUSTER SLOTS")?;
    let complete = info
        .as_text()
        .is_some_and(|info| info.contains("cluster_state:ok"));
    Ok(complete && slots.as_array().is_some_and(|slots| slots.len() == 3))
}
