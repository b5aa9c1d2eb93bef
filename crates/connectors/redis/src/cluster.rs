//! Which server of a cluster has which keys.

use std::sync::Arc;

use proxystore_stream::Address;

use crate::{key::SLOTS, resp::Value};

/// Which server has which slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotMap {
    /// Every slot's place in `nodes`.
    slots: Vec<Option<u16>>,
    nodes: Vec<Arc<Address>>,
}

impl SlotMap {
    /// What a server answers to `CLUSTER SLOTS`, asked at `asked`; none if that is no such answer.
    ///
    /// A server that does not know its own address leaves it out: it is where it was asked.
    pub(crate) fn parse(answer: &Value, asked: &Address) -> Option<Self> {
        let mut map = Self {
            slots: vec![None; usize::from(SLOTS)],
            nodes: Vec::new(),
        };
        for range in answer.as_array()? {
            let [Value::Integer(first), Value::Integer(last), master, ..] = range.as_array()?
            else {
                return None;
            };
            let (first, last) = (slot_number(*first)?, slot_number(*last)?);
            let [host, Value::Integer(port), ..] = master.as_array()? else {
                return None;
            };
            let host = match host.as_text() {
                None | Some("" | "?") => host_of(asked)?,
                Some(host) => host,
            };
            let address = Address::Tcp {
                host: host.to_owned(),
                port: u16::try_from(*port).ok()?,
            };
            let node = map.node(address)?;
            map.slots.get_mut(first..=last)?.fill(Some(node));
        }
        Some(map)
    }

    /// Who has a slot, if that is known.
    pub(crate) fn lookup(&self, slot: u16) -> Option<&Arc<Address>> {
        let node = (*self.slots.get(usize::from(slot))?)?;
        self.nodes.get(usize::from(node))
    }

    /// Notes that somebody else has a slot now.
    pub(crate) fn moved(&mut self, slot: u16, address: Address) {
        if self.slots.is_empty() {
            self.slots = vec![None; usize::from(SLOTS)];
        }
        if let Some(node) = self.node(address)
            && let Some(place) = self.slots.get_mut(usize::from(slot))
        {
            *place = Some(node);
        }
    }

    /// Forgets who has what, and remembers whom to ask.
    pub(crate) fn forget(&mut self) {
        self.slots.clear();
    }

    /// All servers that have slots.
    pub(crate) fn nodes(&self) -> &[Arc<Address>] {
        &self.nodes
    }

    fn node(&mut self, address: Address) -> Option<u16> {
        let known = self.nodes.iter().position(|node| **node == address);
        let index = known.unwrap_or_else(|| {
            self.nodes.push(Arc::new(address));
            self.nodes.len() - 1
        });
        u16::try_from(index).ok()
    }
}

/// Where a server sends whoever asks for a key that it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub(crate) slot: u16,
    pub(crate) to: Address,
}

impl Redirect {
    /// Parses what follows `MOVED` or `ASK` in the refusal of the server at `from`.
    pub(crate) fn parse(rest: &str, from: &Address) -> Option<Self> {
        let (slot, address) = rest.split_once(' ')?;
        let (host, port) = address.rsplit_once(':')?;
        let host = if host.is_empty() {
            host_of(from)?
        } else {
            host
        };
        Some(Self {
            slot: u16::try_from(slot_number(slot.parse().ok()?)?).ok()?,
            to: Address::Tcp {
                host: host.to_owned(),
                port: port.parse().ok()?,
            },
        })
    }
}

fn slot_number(number: i64) -> Option<usize> {
    let number = usize::try_from(number).ok()?;
    (number < usize::from(SLOTS)).then_some(number)
}

fn host_of(address: &Address) -> Option<&str> {
    match address {
        Address::Tcp { host, .. } => Some(host),
        Address::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Decoder;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_owned(),
            port,
        }
    }

    fn parse(answer: &str) -> Option<SlotMap> {
        let (_, value) = Decoder::new(1 << 20)
            .feed(answer.as_bytes())
            .expect("a reply");
        SlotMap::parse(&value.expect("a whole reply"), &tcp("seed", 1))
    }

    #[test]
    fn maps_say_who_has_a_slot() {
        let map = parse(
            "*3\r\n*4\r\n:0\r\n:5460\r\n*4\r\n$2\r\nh1\r\n:7000\r\n$2\r\nid\r\n*0\r\n\
             *2\r\n$2\r\nh9\r\n:7009\r\n\
             *3\r\n:5461\r\n:10922\r\n*2\r\n$0\r\n\r\n:7001\r\n\
             *3\r\n:10923\r\n:16382\r\n*2\r\n$-1\r\n:7002\r\n",
        );
        let mut map = map.expect("a map");
        let lookup = |map: &SlotMap, slot| map.lookup(slot).map(|node| (**node).clone());
        assert_eq!(lookup(&map, 0), Some(tcp("h1", 7000)));
        assert_eq!(lookup(&map, 5461), Some(tcp("seed", 7001)));
        assert_eq!(lookup(&map, 16_382), Some(tcp("seed", 7002)));
        assert_eq!(map.lookup(16_383), None);
        assert_eq!(map.nodes().len(), 3);
        map.moved(16_383, tcp("h1", 7000));
        assert_eq!(lookup(&map, 16_383), Some(tcp("h1", 7000)));
        assert_eq!(map.nodes().len(), 3);
        let mut empty = SlotMap::default();
        assert_eq!(empty.lookup(3), None);
        empty.moved(3, tcp("h1", 7000));
        assert_eq!(lookup(&empty, 3), Some(tcp("h1", 7000)));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        for answer in [
            "+OK\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*2\r\n:1\r\n:2\r\n",
            "*1\r\n*3\r\n:1\r\n:16384\r\n*2\r\n$1\r\nh\r\n:7000\r\n",
            "*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\nh\r\n:7000\r\n",
            "*1\r\n*3\r\n:-1\r\n:4\r\n*2\r\n$1\r\nh\r\n:7000\r\n",
            "*1\r\n*3\r\n:1\r\n:4\r\n*2\r\n$1\r\nh\r\n:70000\r\n",
            "*1\r\n*3\r\n:1\r\n:4\r\n*1\r\n$1\r\nh\r\n",
        ] {
            let found = parse(answer);
            let empty = found.as_ref().is_some_and(|map| map.lookup(5).is_none());
            assert!(found.is_none() || empty, "{answer}");
        }
    }

    #[test]
    fn redirections_name_a_slot_and_a_server() {
        let from = tcp("seed", 1);
        let parse = |rest| Redirect::parse(rest, &from);
        let found = parse("3999 127.0.0.1:6381").expect("a redirection");
        assert_eq!((found.slot, found.to), (3999, tcp("127.0.0.1", 6381)));
        assert_eq!(parse("1 :6381").expect("one").to, tcp("seed", 6381));
        assert_eq!(parse("1 ::1:6381").expect("one").to, tcp("::1", 6381));
        for rest in ["", "1", "x h:1", "16384 h:1", "1 h:x", "1 h:65536", "1 h"] {
            assert_eq!(parse(rest), None, "{rest}");
        }
    }
}
