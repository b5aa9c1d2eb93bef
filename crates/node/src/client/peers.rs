//! The nodes that a client talks to.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use proxystore_core::Config;
use proxystore_fork::PerProcess;
use proxystore_runtime::{Colour, colour};
use proxystore_wire::ObjectKey;

use super::{
    lane::Lane,
    settings::{NodeAddress, Settings},
    statistics::Statistics,
    unsettled::Unsettled,
};

/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_mins(1);

/// How often idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// The most nodes that are remembered, unless more are talked to at once.
const REMEMBERED: usize = 256;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Requests and replies of a frame each.
    Small,
    /// Objects in chunks, which would keep small ones waiting in the kernel's buffers.
    Bulk,
}

/// The nodes that a client talks to. A forked child begins with none.
pub(crate) struct Peers {
    settings: Arc<Settings>,
    table: PerProcess<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    peers: HashMap<NodeAddress, Arc<Peer>>,
    swept: Option<Instant>,
}

/// A node that a client talks to.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) statistics: Arc<Statistics>,
    unsettled: Arc<Unsettled>,
    /// For each colour, the lanes for each purpose.
    lanes: [[Arc<Lane>; 2]; 2],
}

impl Peers {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            table: PerProcess::new(Mutex::default),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The node at an address.
    pub(crate) fn peer(&self, node: &NodeAddress) -> Arc<Peer> {
        let now = Instant::now();
        let mut table = self.table.lock();
        let due = table.swept.is_none_or(|swept| now - swept >= SWEEP);
        if due {
            table.swept = Some(now);
            table.sweep(node, now);
        }
        if let Some(peer) = table.peers.get(node) {
            return Arc::clone(peer);
        }
        let peer = Arc::new(Peer::new(node, &self.settings));
        table.peers.insert(node.clone(), Arc::clone(&peer));
        peer
    }

    /// Ends all connections, and fails what is under way on them.
    pub(crate) fn close(&self) {
        let peers = std::mem::take(&mut self.table.lock().peers);
        for peer in peers.values() {
            peer.close();
        }
    }

    /// What was done with each node.
    pub(crate) fn statistics(&self) -> Config {
        let table = self.table.lock();
        let mut peers: Vec<_> = table.peers.values().collect();
        peers.sort_by(|one, other| one.name.cmp(&other.name));
        let peers = peers.into_iter();
        peers
            .map(|peer| (peer.name.as_str(), peer.to_config()))
            .collect()
    }
}

impl Table {
    /// Closes what is idle, but for the connections to `used`.
    fn sweep(&mut self, used: &NodeAddress, now: Instant) {
        let room = REMEMBERED;
        let mut count = self.peers.len();
        self.peers.retain(|node, peer| {
            let mut lanes = peer.lanes.iter().flatten();
            let closed = node != used
                && lanes.all(|lane| lane.close_if_idle(IDLE, now))
                && Arc::strong_count(peer) == 1;
            let forgotten = closed && count > room;
            count -= usize::from(forgotten);
            !forgotten
        });
    }
}

impl Drop for Table {
    /// Connections of the shared colour have tasks that hold them.
    fn drop(&mut self) {
        for peer in self.peers.values() {
            peer.close();
        }
    }
}

impl Peer {
    fn new(node: &NodeAddress, settings: &Arc<Settings>) -> Self {
        let statistics = Arc::<Statistics>::default();
        let unsettled = Arc::<Unsettled>::default();
        let lane = |colour| {
            Arc::new(Lane::new(
                node.clone(),
                Arc::clone(settings),
                colour,
                Arc::clone(&statistics),
                Arc::clone(&unsettled),
            ))
        };
        Self {
            name: node.to_string(),
            lanes: Colour::ALL.map(|colour| [lane(colour), lane(colour)]),
            statistics,
            unsettled,
        }
    }

    /// The lane for a purpose, in the colour of the operation that is being polled.
    pub(crate) fn lane(&self, purpose: Purpose) -> &Arc<Lane> {
        let [small, bulk] = &self.lanes[colour().index()];
        match purpose {
            Purpose::Small => small,
            Purpose::Bulk => bulk,
        }
    }

    /// Has objects removed that nobody will ask for: over a connection of this colour if there is one,
    /// or as soon as there is any.
    pub(crate) fn remove(&self, colour: Colour, keys: &[ObjectKey]) {
        let mut lanes = self.lanes[colour.index()].iter();
        let open = lanes.find_map(|lane| lane.open());
        let left = open.map_or(keys, |connection| connection.remove(keys));
        self.unsettled.add(left.iter().copied());
    }

    fn close(&self) {
        for lane in self.lanes.iter().flatten() {
            lane.close();
        }
    }

    fn to_config(&self) -> Config {
        let under_way = self.lanes.iter().flatten().map(|lane| lane.under_way());
        let under_way = under_way.sum::<u64>();
        let under_way = i64::try_from(under_way).unwrap_or(i64::MAX);
        self.statistics
            .to_config()
            .with("requests_under_way", under_way)
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Peers")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
