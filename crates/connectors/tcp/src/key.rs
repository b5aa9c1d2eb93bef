//! The names of objects: where their node is, which object, and what opens it.

use proxystore_core::{Field, Key};
use proxystore_node::client::{NodeAddress, ObjectKey};

use crate::error::TcpError;

/// The longest host name that there is, in bytes.
const LONGEST_NAME: usize = 255;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// More than any digit is worth, in a bit of its own.
const NO_DIGIT: u8 = 16;

/// The name of an object: where its node is, and what names and opens it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// The node, as the connector that made the key was given it.
    pub node: NodeAddress,
    /// The number of the object, and the capability without which the node answers as if it were
    /// not there. Both are random.
    pub object: ObjectKey,
}

impl ObjectName {
    /// The name of a new object at `node`.
    ///
    /// # Errors
    ///
    /// If the system gives no random numbers.
    pub fn random(node: &NodeAddress) -> Result<Self, TcpError> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(TcpError::Random)?;
        let (mut id, mut capability) = ([0; 16], [0; 16]);
        id.copy_from_slice(&random[..16]);
        capability.copy_from_slice(&random[16..]);
        Ok(Self {
            node: node.clone(),
            object: ObjectKey { id, capability },
        })
    }

    /// The name that a key stands for, which is likely to be of an object at `node`.
    ///
    /// # Errors
    ///
    /// If no connector of this kind made the key.
    pub(crate) fn likely_at(node: &NodeAddress, key: &Key) -> Result<Self, TcpError> {
        let name = Self::parse(key, Some(node));
        name.ok_or_else(|| TcpError::InvalidKey { key: key.clone() })
    }

    fn parse(key: &Key, likely: Option<&NodeAddress>) -> Option<Self> {
        let [
            Field::Text(hostname),
            Field::Integer(port),
            Field::Text(id),
            Field::Text(capability),
        ] = key.fields()
        else {
            return None;
        };
        let port = u16::try_from(*port).ok().filter(|port| *port != 0)?;
        let known = likely.filter(|node| node.host() == &**hostname && node.port() == port);
        let node = match known {
            Some(node) => node.clone(),
            None if is_hostname(hostname) => NodeAddress::new(hostname, port),
            None => return None,
        };
        Some(Self {
            node,
            object: ObjectKey {
                id: bytes(id)?,
                capability: bytes(capability)?,
            },
        })
    }
}

/// Whether a text can be the name or the address of a host, and nothing else: no path, no option of
/// a program, no other port.
#[must_use]
pub(crate) fn is_hostname(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let named = text.bytes().all(plain) && !text.starts_with(['-', '.']) && !text.contains("..");
    let is_address = || text.parse::<std::net::Ipv6Addr>().is_ok();
    (1..=LONGEST_NAME).contains(&text.len()) && (named || is_address())
}

/// Sixteen bytes from 32 lower-case hexadecimal digits.
fn bytes(text: &str) -> Option<[u8; 16]> {
    /// Looked up rather than compared: whether a digit is a letter is not to be predicted.
    const VALUES: [u8; 256] = values();

    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    (wrong < NO_DIGIT).then_some(bytes)
}

/// What a byte is worth as a lower-case hexadecimal digit.
const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
}

fn text(bytes: &[u8; 16]) -> Box<str> {
    let mut text = String::with_capacity(32);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.into()
}

impl TryFrom<&Key> for ObjectName {
    type Error = TcpError;

    fn try_from(key: &Key) -> Result<Self, TcpError> {
        Self::parse(key, None).ok_or_else(|| TcpError::InvalidKey { key: key.clone() })
    }
}

impl From<&ObjectName> for Key {
    fn from(name: &ObjectName) -> Self {
        Self::new([
            Field::Text(name.node.host().into()),
            Field::Integer(i64::from(name.node.port())),
            Field::Text(text(&name.object.id)),
            Field::Text(text(&name.object.capability)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NUMBER: &str = "0123456789abcdef0123456789abcdef";

    fn key(hostname: &str, port: i64, object: &str, capability: &str) -> Key {
        Key::new([
            Field::Text(hostname.into()),
            Field::Integer(port),
            Field::Text(object.into()),
            Field::Text(capability.into()),
        ])
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in [
            "127.0.0.1",
            "::1",
            "fe80::1",
            "node-7.cluster.example",
            "a_b",
            "x",
        ] {
            assert!(
                ObjectName::try_from(&key(host, 1, NUMBER, NUMBER)).is_ok(),
                "{host}"
            );
        }
        let long = "a".repeat(256);
        for host in [
            "",
            ".",
            "..",
            "a..b",
            "-x",
            "../x",
            "/etc/passwd",
            "a/b",
            "a b",
            "a:80",
            "[::1]",
            "a\0",
            "user@host",
            "fe80::1%eth0",
            "ä",
            &long,
        ] {
            assert!(
                ObjectName::try_from(&key(host, 1, NUMBER, NUMBER)).is_err(),
                "{host:?}"
            );
        }
    }

    #[test]
    fn ports_and_numbers_are_exact() {
        for port in [-1, 0, 65536, i64::MAX, i64::MIN] {
            assert!(
                ObjectName::try_from(&key("host", port, NUMBER, NUMBER)).is_err(),
                "{port}"
            );
        }
        for number in [
            "",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef0",
            "0123456789ABCDEF0123456789ABCDEF",
            "0123456789abcdef0123456789abcdeg",
            "0123456789abcdef0123456789abcde\u{e9}",
            "01234567-89ab-cdef-0123-456789abcdef",
        ] {
            assert!(
                ObjectName::try_from(&key("host", 1, number, NUMBER)).is_err(),
                "{number}"
            );
            assert!(
                ObjectName::try_from(&key("host", 1, NUMBER, number)).is_err(),
                "{number}"
            );
        }
    }

    #[test]
    fn keys_of_other_shapes_are_refused() {
        let whole = key("host", 1, NUMBER, NUMBER);
        for count in 0..4 {
            let part = Key::new(&whole.fields()[..count]);
            assert!(ObjectName::try_from(&part).is_err(), "{part}");
        }
        let mut longer = whole.fields().to_vec();
        longer.push(Field::Absent);
        assert!(ObjectName::try_from(&Key::new(longer)).is_err());
        let nested = Key::new([Field::Nested(whole)]);
        assert!(ObjectName::try_from(&nested).is_err());
    }

    #[test]
    fn a_likely_node_changes_nothing() {
        for (host, port) in [("host", 1), ("host", 2), ("other", 1), ("a/b", 1)] {
            let key = key(host, port, NUMBER, NUMBER);
            let likely = ObjectName::likely_at(&NodeAddress::new("host", 1), &key);
            assert_eq!(
                likely.ok(),
                ObjectName::try_from(&key).ok(),
                "{host}:{port}"
            );
        }
    }

    #[test]
    fn the_capability_is_not_shown() {
        let name = ObjectName::random(&NodeAddress::new("host", 1)).expect("random numbers");
        let mut other = name.clone();
        other.object.capability = [0xcd; 16];
        assert_eq!(format!("{name:?}"), format!("{other:?}"));
    }

    proptest! {
        #[test]
        fn names_make_the_round_trip(port in 1_u16.., id: [u8; 16], capability: [u8; 16]) {
            let name = ObjectName {
                node: NodeAddress::new("host.example", port),
                object: ObjectKey { id, capability },
            };
            let key = Key::from(&name);
            prop_assert_eq!(ObjectName::try_from(&key)?, name);
        }

        #[test]
        fn what_is_taken_is_written_the_same(
            hostname in "[a-z0-9.:/_-]{0,12}",
            port in -2..70_000_i64,
            object in "[0-9a-f]{31,33}|\\PC*",
        ) {
            let key = key(&hostname, port, &object, NUMBER);
            if let Ok(name) = ObjectName::try_from(&key) {
                prop_assert_eq!(Key::from(&name), key);
            }
        }
    }
}
