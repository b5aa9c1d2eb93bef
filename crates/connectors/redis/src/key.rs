//! The names of objects.

use std::ops::Range;

use proxystore_core::Key;
use uuid::{Builder, fmt::Hyphenated};

use crate::error::RedisError;

/// The longest name that is taken for one.
const LONGEST: usize = 512;

/// The digits of a checksum.
const SUM: usize = 16;

/// The name of an object: the whole key under which the server has it, prefix included.
///
/// What [`put`](proxystore_core::Connector::put) names ends with `<uuid>-<length>-<sum>`: the number
/// of bytes in decimal, their XXH3-64 in hexadecimal. Any other name stands for whatever the server
/// has under it: a deferred object's is a bare UUID, as all of upstream's are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    text: Box<str>,
    expected: Option<Expected>,
    /// The length of the name without length and checksum.
    base: usize,
}

/// What the bytes of an object must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expected {
    /// How many there are.
    pub len: u64,
    /// Their XXH3-64.
    pub sum: u64,
}

impl ObjectName {
    /// A name with `prefix` before 16 random bytes as a UUID. One that is `tagged` has the UUID in
    /// braces, so that a cluster keeps everything whose name begins with it in one place.
    #[must_use]
    pub fn from_random(prefix: &str, bytes: [u8; 16], tagged: bool) -> Self {
        let mut buffer = [0; Hyphenated::LENGTH];
        let uuid = Builder::from_random_bytes(bytes).into_uuid();
        let uuid: &str = uuid.hyphenated().encode_lower(&mut buffer);
        let (opening, closing) = if tagged { ("{", "}") } else { ("", "") };
        let mut text = String::with_capacity(prefix.len() + Hyphenated::LENGTH + 2);
        for part in [prefix, opening, uuid, closing] {
            text.push_str(part);
        }
        Self {
            base: text.len(),
            text: text.into(),
            expected: None,
        }
    }

    /// The same name with what its object's bytes must be.
    #[must_use]
    pub fn with_expected(&self, expected: Expected) -> Self {
        let base = self.base();
        Self {
            text: format!("{base}-{}-{:016x}", expected.len, expected.sum).into(),
            expected: Some(expected),
            base: base.len(),
        }
    }

    /// The name that a text is, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return None;
        }
        let (expected, base) = match parse_expected(text) {
            Some((expected, base)) => (Some(expected), base),
            None => (None, text.len()),
        };
        Some(Self {
            text: text.into(),
            expected,
            base,
        })
    }

    /// The whole name.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// The name without length and checksum.
    #[must_use]
    pub fn base(&self) -> &str {
        self.text.get(..self.base).unwrap_or(&self.text)
    }

    /// What the object's bytes must be, if the name says.
    #[must_use]
    pub const fn expected(&self) -> Option<Expected> {
        self.expected
    }
}

impl TryFrom<&Key> for ObjectName {
    type Error = RedisError;

    fn try_from(key: &Key) -> Result<Self, RedisError> {
        let parsed = key.as_text().and_then(Self::parse);
        parsed.ok_or(RedisError::InvalidKey)
    }
}

impl From<&ObjectName> for Key {
    fn from(name: &ObjectName) -> Self {
        Self::text(name.as_str())
    }
}

/// What a name says of its object's bytes, and how long it is without that.
fn parse_expected(text: &str) -> Option<(Expected, usize)> {
    let (rest, sum) = text.rsplit_once('-')?;
    let (base, len) = rest.rsplit_once('-')?;
    if sum.len() != SUM || !sum.bytes().all(is_lower_hex) {
        return None;
    }
    let decimal = len.bytes().all(|digit| digit.is_ascii_digit());
    if !decimal || (len.len() > 1 && len.starts_with('0')) {
        return None;
    }
    let uuid = base.strip_suffix('}').unwrap_or(base);
    let start = uuid.len().checked_sub(Hyphenated::LENGTH)?;
    let tagged = base.len() > uuid.len();
    if !is_uuid(uuid.get(start..)?) || (tagged && !uuid.get(..start)?.ends_with('{')) {
        return None;
    }
    let expected = Expected {
        len: len.parse().ok()?,
        sum: u64::from_str_radix(sum, 16).ok()?,
    };
    Some((expected, base.len()))
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => is_lower_hex(byte),
    })
}

const fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The number of slots that the keys of a cluster are spread over.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot that a cluster keeps a key in.
pub(crate) fn slot(key: &str) -> u16 {
    let tag = tag(key).and_then(|tag| key.get(tag)).unwrap_or(key);
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS
}

/// Where in a key the part is that alone decides on its slot, if it has one.
pub(crate) fn tag(key: &str) -> Option<Range<usize>> {
    let start = key.find('{')? + 1;
    let len = key.get(start..)?.find('}')?;
    (len > 0).then_some(start..start + len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxystore_core::Field;

    use super::*;

    const UUID: &str = "977218f4-d6ac-460a-85a8-99950957b5dc";

    #[test]
    fn other_keys_are_refused() {
        let text = || Field::Text(UUID.into());
        for fields in [
            vec![],
            vec![Field::Absent],
            vec![Field::Integer(1)],
            vec![text(), text()],
            vec![Field::Nested(Key::new([text()]))],
            vec![Field::Text("".into())],
            vec![Field::Text("a\nb".into())],
            vec![Field::Text("a\u{85}b".into())],
            vec![Field::Text("x".repeat(LONGEST + 1).into())],
        ] {
            let key = Key::new(fields);
            assert!(ObjectName::try_from(&key).is_err(), "{key}");
        }
        assert!(ObjectName::try_from(&Key::new([text()])).is_ok());
    }

    #[test]
    fn only_the_exact_form_says_what_the_bytes_must_be() {
        let whole = format!("p:{UUID}-120-00000000000000ff");
        let name = ObjectName::parse(&whole).expect("a name");
        assert_eq!(name.expected(), Some(Expected { len: 120, sum: 255 }));
        assert_eq!(name.base(), format!("p:{UUID}"));
        let tagged = ObjectName::parse(&format!("{{{UUID}}}-0-00000000000000ff"));
        assert_eq!(tagged.expect("a name").base(), format!("{{{UUID}}}"));
        for other in [
            UUID.to_owned(),
            "config".to_owned(),
            format!("{UUID}-120"),
            format!("{UUID}-120-ff"),
            format!("{UUID}-120-00000000000000FF"),
            format!("{UUID}-0120-00000000000000ff"),
            format!("{UUID}-+12-00000000000000ff"),
            format!("{UUID}--00000000000000ff"),
            format!("{UUID}-18446744073709551616-00000000000000ff"),
            format!("{}-12-00000000000000ff", &UUID[1..]),
            format!("{}-12-00000000000000ff", UUID.to_uppercase()),
            format!("{UUID}}}-12-00000000000000ff"),
            format!("{{{UUID}-12-00000000000000ff."),
            format!("é{}-12-00000000000000ff", &UUID[2..]),
        ] {
            let name = ObjectName::parse(&other).expect("a name all the same");
            assert_eq!(name.expected(), None, "{other}");
            assert_eq!(name.base(), other);
        }
    }

    #[test]
    fn slots_are_those_of_a_cluster() {
        // As `CLUSTER KEYSLOT` of a server answers.
        for (key, expected) in [
            ("123456789", 12739),
            ("foo", 12182),
            ("{foo}bar", 12182),
            ("a{foo}{bar}", 12182),
            ("{}foo", 9500),
            ("foo{bar", 15278),
            ("", 0),
        ] {
            assert_eq!(slot(key), expected, "{key}");
        }
    }

    proptest! {
        #[test]
        fn names_make_the_round_trip(
            prefix in "[a-z:]{0,9}",
            bytes: [u8; 16],
            tagged: bool,
            len: u64,
            sum: u64,
        ) {
            let name = ObjectName::from_random(&prefix, bytes, tagged);
            prop_assert_eq!(ObjectName::parse(name.as_str()), Some(name.clone()));
            let expected = Expected { len, sum };
            let summed = name.with_expected(expected);
            let parsed = ObjectName::try_from(&Key::from(&summed))?;
            prop_assert_eq!(&parsed, &summed);
            prop_assert_eq!(parsed.base(), name.as_str());
            prop_assert_eq!(parsed.expected(), Some(expected));
            if tagged {
                prop_assert_eq!(slot(summed.as_str()), slot(name.as_str()));
            }
        }

        #[test]
        fn whatever_is_taken_is_one_line(text in "\\PC{0,20}|[\\x00-\\x7f]{0,20}|[0-9a-f-]{50,60}") {
            if let Some(name) = ObjectName::parse(&text) {
                prop_assert!(!text.is_empty() && !text.chars().any(char::is_control));
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.starts_with(name.base()));
            }
        }
    }
}
