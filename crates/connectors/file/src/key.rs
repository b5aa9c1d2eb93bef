//! The names of objects.

use std::fmt;

use proxystore_core::Key;
use uuid::{Builder, Uuid, fmt::Hyphenated};

use crate::error::FileError;

/// The name of an object: a UUID in lower-case hexadecimal with hyphens, and nothing else, so that
/// it can be a file name in no directory but the connector's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectName([u8; Hyphenated::LENGTH]);

impl ObjectName {
    /// A name made of 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self::from(Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The name that a text is, if it is exactly one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = Self::from(Uuid::try_parse(text).ok()?);
        // Parsing also takes capitals, braces, a prefix, and no hyphens.
        (name.0 == text.as_bytes()).then_some(name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Never empty: the bytes are those of a formatted UUID.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<Uuid> for ObjectName {
    fn from(uuid: Uuid) -> Self {
        let mut bytes = [0; Hyphenated::LENGTH];
        uuid.hyphenated().encode_lower(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ObjectName")
            .field(&self.as_str())
            .finish()
    }
}

impl TryFrom<&Key> for ObjectName {
    type Error = FileError;

    fn try_from(key: &Key) -> Result<Self, FileError> {
        let parsed = key.as_text().and_then(Self::parse);
        parsed.ok_or_else(|| FileError::InvalidKey { key: key.clone() })
    }
}

impl From<ObjectName> for Key {
    fn from(name: ObjectName) -> Self {
        Self::text(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxystore_core::Field;

    use super::*;

    #[test]
    fn only_the_canonical_form_is_a_name() {
        let canonical = "977218f4-d6ac-460a-85a8-99950957b5dc";
        assert!(ObjectName::parse(canonical).is_some());
        for forged in [
            "",
            ".",
            "..",
            "../977218f4-d6ac-460a-85a8-99950957b5dc",
            "/977218f4-d6ac-460a-85a8-99950957b5dc",
            "977218f4-d6ac-460a-85a8-99950957b5dc/",
            "977218f4-d6ac-460a-85a8-99950957b5dc.ready",
            "977218f4-d6ac-460a-85a8-99950957b5dc\0",
            "977218f4-d6ac-460a-85a8-99950957b5dc\n",
            "977218F4-D6AC-460A-85A8-99950957B5DC",
            "977218f4d6ac460a85a899950957b5dc",
            "{977218f4-d6ac-460a-85a8-99950957b5dc}",
            "urn:uuid:977218f4-d6ac-460a-85a8-99950957b5dc",
            "977218f4-d6ac-460a-85a8-99950957b5d",
            "../../../../../../../../../../etc/passwd",
        ] {
            assert_eq!(ObjectName::parse(forged), None, "{forged:?}");
        }
    }

    #[test]
    fn other_keys_are_refused() {
        let text = Field::Text("977218f4-d6ac-460a-85a8-99950957b5dc".into());
        for fields in [
            vec![],
            vec![Field::Absent],
            vec![Field::Integer(1)],
            vec![text.clone(), text.clone()],
            vec![Field::Nested(Key::new([text.clone()]))],
        ] {
            let key = Key::new(fields);
            assert!(ObjectName::try_from(&key).is_err(), "{key}");
        }
        assert!(ObjectName::try_from(&Key::new([text])).is_ok());
    }

    proptest! {
        #[test]
        fn names_make_the_round_trip(bytes: [u8; 16]) {
            let name = ObjectName::from_random(bytes);
            let key = Key::from(name);
            prop_assert_eq!(key.as_text().map(str::len), Some(36));
            prop_assert_eq!(ObjectName::try_from(&key)?, name);
        }

        #[test]
        fn whatever_is_taken_is_a_plain_file_name(text in "[0-9a-f/.-]{30,40}|\\PC*") {
            if let Some(name) = ObjectName::parse(&text) {
                prop_assert!(text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
