//! What names an object.

use std::fmt;

/// How many fields of a key are shown.
const SHOWN: usize = 3;

/// Names one object of one kind of connector.
///
/// A tuple of plain fields, so that it survives pickling, hashing and other processes. Only the
/// connector that makes keys knows what the fields mean, and it takes a key from outside as a
/// forgery until it has parsed it.
///
/// Errors and logs name objects by their keys, and a key can be all that it takes to open its
/// object. So only the first three fields are ever shown: what tells objects apart stands there, and
/// what opens them behind it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    fields: Box<[Field]>,
}

impl Key {
    /// A key of these fields.
    #[must_use]
    pub fn new(fields: impl Into<Box<[Field]>>) -> Self {
        Self {
            fields: fields.into(),
        }
    }

    /// A key of one text field.
    #[must_use]
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Self::new([Field::Text(text.into())])
    }

    /// The fields, in order.
    #[must_use]
    pub const fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The text of a key that is one text field and nothing else.
    #[must_use]
    pub const fn as_text(&self) -> Option<&str> {
        match &*self.fields {
            [Field::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(")?;
        for (index, field) in self.fields.iter().take(SHOWN).enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            field.fmt(formatter)?;
        }
        if self.fields.len() > SHOWN {
            formatter.write_str(", ...")?;
        }
        formatter.write_str(")")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key{self}")
    }
}

/// One part of a [`Key`]. By itself it is always shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Nothing is named.
    Absent,
    /// A whole number.
    Integer(i64),
    /// The key of another connector.
    Nested(Key),
    /// A text.
    Text(Box<str>),
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => formatter.write_str("None"),
            Self::Integer(number) => number.fmt(formatter),
            Self::Nested(key) => key.fmt(formatter),
            Self::Text(text) => {
                let escaped = text.escape_debug();
                write!(formatter, "'{escaped}'")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::RandomState};

    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Key> {
        let leaf = prop_oneof![
            Just(Field::Absent),
            any::<i64>().prop_map(Field::Integer),
            any::<String>().prop_map(|text| Field::Text(text.into())),
        ];
        let field = leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::vec(inner, 0..3).prop_map(|fields| Field::Nested(Key::new(fields)))
        });
        prop::collection::vec(field, 0..=SHOWN).prop_map(Key::new)
    }

    #[test]
    fn keys_read_as_tuples() {
        let inner = Key::text("a'b\n");
        let key = Key::new([Field::Nested(inner), Field::Integer(-3), Field::Absent]);
        assert_eq!(key.to_string(), r"(('a\'b\n'), -3, None)");
        assert_eq!(format!("{:?}", Key::text("x")), "Key('x')");
    }

    #[test]
    fn what_opens_an_object_is_not_shown() {
        let fields = ["host", "port", "object", "capability"];
        let key = Key::new(fields.map(|text| Field::Text(text.into())));
        assert_eq!(key.to_string(), "('host', 'port', 'object', ...)");
        let outer = Key::new([Field::Nested(key)]);
        assert_eq!(format!("{outer:?}"), "Key(('host', 'port', 'object', ...))");
    }

    #[test]
    fn only_one_text_field_is_text() {
        assert_eq!(Key::text("x").as_text(), Some("x"));
        assert_eq!(Key::new([]).as_text(), None);
        assert_eq!(Key::new([Field::Integer(1)]).as_text(), None);
        let two = [Field::Text("x".into()), Field::Text("y".into())];
        assert_eq!(Key::new(two).as_text(), None);
    }

    proptest! {
        #[test]
        fn equal_keys_are_found_by_hash(keys in prop::collection::vec(key(), 1..8)) {
            let known: HashSet<Key, RandomState> = keys.iter().cloned().collect();
            for key in &keys {
                prop_assert!(known.contains(&Key::new(key.fields().to_vec())));
            }
        }

        #[test]
        fn different_keys_read_differently(one in key(), other in key()) {
            prop_assert_eq!(one == other, one.to_string() == other.to_string());
            prop_assert!(!one.to_string().contains('\n'));
        }
    }
}
