//! Which server has which objects at present.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use proxystore_core::Deadline;
use proxystore_fork::PerProcess;
use proxystore_runtime::timeout;
use proxystore_stream::Address;

use crate::{
    cluster::SlotMap,
    connection::Connection,
    error::RedisError,
    options::{Login, Servers},
    refusal::{Reason, Refusal},
    resp::{Malformed, Value},
    statistics::Tally,
};

/// How long a server that may be gone is waited for before another one is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Knows the servers, and asks them who has what. Nobody counts that.
#[derive(Debug)]
pub(crate) struct Directory {
    servers: Known,
    /// What they said last; every process asks anew.
    said: PerProcess<Mutex<Said>>,
}

#[derive(Debug)]
enum Known {
    One(Arc<Address>),
    Cluster(Arc<Address>),
    Sentinel {
        sentinels: Vec<Arc<Address>>,
        master: String,
    },
}

#[derive(Debug, Default)]
struct Said {
    map: SlotMap,
    master: Option<Arc<Address>>,
}

impl Directory {
    pub(crate) fn new(servers: &Servers) -> Self {
        let servers = match servers {
            Servers::One(address) => Known::One(Arc::new(address.clone())),
            Servers::Cluster(address) => Known::Cluster(Arc::new(address.clone())),
            Servers::Sentinel {
                sentinels, master, ..
            } => Known::Sentinel {
                sentinels: sentinels.iter().cloned().map(Arc::new).collect(),
                master: master.clone(),
            },
        };
        Self {
            servers,
            said: PerProcess::new(Mutex::default),
        }
    }

    /// Whether there may be another server where one was.
    pub(crate) const fn can_change(&self) -> bool {
        !matches!(self.servers, Known::One(_))
    }

    pub(crate) const fn is_cluster(&self) -> bool {
        matches!(self.servers, Known::Cluster(_))
    }

    /// Whom an error is about before any server was reached.
    pub(crate) fn first(&self) -> &Address {
        match &self.servers {
            Known::One(address) | Known::Cluster(address) => address,
            Known::Sentinel { sentinels, .. } => &sentinels[0],
        }
    }

    /// The server that has a slot.
    pub(crate) async fn server(
        &self,
        slot: u16,
        login: &Login,
        sentinel: &Login,
    ) -> Result<Arc<Address>, RedisError> {
        match &self.servers {
            Known::One(address) => Ok(Arc::clone(address)),
            Known::Cluster(seed) => {
                let known = self.said.lock().map.lookup(slot).map(Arc::clone);
                if let Some(known) = known {
                    return Ok(known);
                }
                let map = self.ask_cluster(seed, login).await?;
                let found = map.lookup(slot).map(Arc::clone);
                self.said.lock().map = map;
                found.ok_or_else(|| {
                    let line = format!("CLUSTERDOWN nobody has slot {slot}");
                    Refusal::parse(line.as_bytes(), seed, &seed.to_string().into()).into()
                })
            }
            Known::Sentinel { sentinels, master } => {
                let known = self.said.lock().master.clone();
                if let Some(known) = known {
                    return Ok(known);
                }
                let found = ask_sentinels(sentinels, master, sentinel).await?;
                self.said.lock().master = Some(Arc::clone(&found));
                Ok(found)
            }
        }
    }

    /// All servers that have objects, as they are known or as they say.
    pub(crate) async fn all(
        &self,
        login: &Login,
        sentinel: &Login,
    ) -> Result<Vec<Arc<Address>>, RedisError> {
        if let Known::Cluster(seed) = &self.servers {
            let map = self.ask_cluster(seed, login).await?;
            let nodes = map.nodes().to_vec();
            self.said.lock().map = map;
            return Ok(nodes);
        }
        Ok(vec![self.server(0, login, sentinel).await?])
    }

    /// Notes that another server has a slot.
    pub(crate) fn moved(&self, slot: u16, address: Address) {
        self.said.lock().map.moved(slot, address);
    }

    /// Forgets what was said: it is not so any more.
    pub(crate) fn forget(&self) {
        let mut said = self.said.lock();
        said.master = None;
        said.map.forget();
    }

    async fn ask_cluster(&self, seed: &Arc<Address>, login: &Login) -> Result<SlotMap, RedisError> {
        let mut nodes = self.said.lock().map.nodes().to_vec();
        if !nodes.contains(seed) {
            nodes.push(Arc::clone(seed));
        }
        let mut failure = None;
        for node in &nodes {
            let asked = patiently(node, async {
                let mut connection = Connection::open(node, login, &Tally::new()).await?;
                connection.expect(&[b"CLUSTER", b"SLOTS"]);
                connection.flush().await?;
                let answer = connection.value().await?;
                SlotMap::parse(&answer, node).ok_or_else(|| no_answer(&mut connection))
            });
            match asked.await {
                Ok(map) if !map.nodes().is_empty() => return Ok(map),
                Ok(_) => {
                    let line = b"CLUSTERDOWN the cluster has no slots yet";
                    let refusal = Refusal::parse(line, node, &node.to_string().into());
                    failure = Some(refusal.into());
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| unknown(seed)))
    }
}

/// The first answer to who the master is.
async fn ask_sentinels(
    sentinels: &[Arc<Address>],
    master: &str,
    login: &Login,
) -> Result<Arc<Address>, RedisError> {
    let mut failure = None;
    for sentinel in sentinels {
        let asked = patiently(sentinel, async {
            let mut connection = Connection::open(sentinel, login, &Tally::new()).await?;
            connection.expect(&[b"SENTINEL", b"get-master-addr-by-name", master.as_bytes()]);
            connection.flush().await?;
            match connection.value().await? {
                Value::Nil => {
                    let line = b"ERR no master of that name; check sentinel_master";
                    Err(Refusal::parse(line, sentinel, connection.peer()).into())
                }
                answer => parse_master(&answer).ok_or_else(|| no_answer(&mut connection)),
            }
        });
        match asked.await {
            Ok(address) => return Ok(Arc::new(address)),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or(RedisError::Closed))
}

fn parse_master(answer: &Value) -> Option<Address> {
    let [host, port] = answer.as_array()? else {
        return None;
    };
    Some(Address::tcp(host.as_text()?, port.as_text()?.parse().ok()?))
}

fn no_answer(connection: &mut Connection) -> RedisError {
    connection.malformed(Malformed::Unexpected {
        found: "servers in a form that is not known".to_owned(),
    })
}

fn unknown(seed: &Address) -> RedisError {
    let line = b"CLUSTERDOWN nobody knows the servers";
    Refusal::parse(line, seed, &seed.to_string().into()).into()
}

/// What comes of asking a server that may be gone.
async fn patiently<T>(
    address: &Address,
    asking: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    let deadline = Deadline::from(Instant::now().checked_add(PATIENCE));
    let answer = timeout(deadline, asking).await;
    answer.unwrap_or_else(|_| {
        let line = b"CLUSTERDOWN it does not answer";
        let refusal = Refusal::parse(line, address, &address.to_string().into());
        debug_assert_eq!(refusal.reason, Reason::Busy, "worth another attempt");
        Err(refusal.into())
    })
}
