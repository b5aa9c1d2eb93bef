//! Where an object is, and the keys that say it.

use proxystore_core::{Field, Key};

use crate::{
    control::{SEGMENTS, SLABS},
    error::ShmError,
};

/// How many cells a slab can have.
pub(crate) const CELLS: u32 = 1 << 13;

/// Which place an object is in, or which one stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A segment of its own.
    Segment(u32),
    /// A cell of a slab.
    Cell { slab: u32, cell: u32 },
    /// A ticket, which names the place of the object once that is put.
    Ticket { slab: u32, cell: u32 },
}

/// What a key names: a place, and which of the objects that have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    pub(crate) place: Place,
    pub(crate) generation: u32,
}

const CELL_BITS: u32 = CELLS.trailing_zeros();
const SLAB_BITS: u32 = SLABS.trailing_zeros();
/// Bits of a place: a kind of two, and 29 that say which.
const PLACE_BITS: u32 = CELL_BITS + SLAB_BITS + 2;

impl Place {
    const fn to_bits(self) -> u64 {
        let (kind, index) = match self {
            Self::Segment(number) => (1, number),
            Self::Cell { slab, cell } => (2, (slab << CELL_BITS) | cell),
            Self::Ticket { slab, cell } => (3, (slab << CELL_BITS) | cell),
        };
        (kind << (PLACE_BITS - 2)) | index as u64
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let index = u32::try_from(bits & ((1 << (PLACE_BITS - 2)) - 1)).ok()?;
        let (slab, cell) = (index >> CELL_BITS, index % CELLS);
        match bits >> (PLACE_BITS - 2) {
            1 if index < SEGMENTS => Some(Self::Segment(index)),
            2 => Some(Self::Cell { slab, cell }),
            3 => Some(Self::Ticket { slab, cell }),
            _ => None,
        }
    }
}

impl Reference {
    /// The reference in one word, never zero: 31 bits of place above 32 of generation.
    pub(crate) const fn to_word(self) -> u64 {
        (self.place.to_bits() << 32) | self.generation as u64
    }

    /// The reference that `to_word` made, if it is one.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        let place = Place::from_bits(word >> 32)?;
        let generation = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        Some(Self { place, generation })
    }

    /// The key of the object in the namespace of number `id`.
    pub(crate) fn to_key(self, id: u64) -> Key {
        // Both are below 2^63: identifiers have 63 bits, references 63 as well.
        let namespace = Field::Integer(id.cast_signed());
        Key::new([namespace, Field::Integer(self.to_word().cast_signed())])
    }

    /// The namespace and the object that a key names.
    pub(crate) fn parse(key: &Key) -> Result<(u64, Self), ShmError> {
        let forged = || ShmError::InvalidKey { key: key.clone() };
        let [Field::Integer(id), Field::Integer(word)] = key.fields() else {
            return Err(forged());
        };
        let id = u64::try_from(*id).map_err(|_| forged())?;
        let word = u64::try_from(*word).map_err(|_| forged())?;
        let reference = Self::from_word(word).ok_or_else(forged)?;
        // No object is of generation zero, which is what was there before the first.
        if reference.generation == 0 {
            return Err(forged());
        }
        Ok((id, reference))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference() -> impl Strategy<Value = Reference> {
        let place = prop_oneof![
            (0..SEGMENTS).prop_map(Place::Segment),
            (0..SLABS, 0..CELLS).prop_map(|(slab, cell)| Place::Cell { slab, cell }),
            (0..SLABS, 0..CELLS).prop_map(|(slab, cell)| Place::Ticket { slab, cell }),
        ];
        (place, 1..=u32::MAX).prop_map(|(place, generation)| Reference { place, generation })
    }

    proptest! {
        #[test]
        fn references_make_the_round_trip(reference in reference(), id in 0..(1_u64 << 63)) {
            prop_assert!(reference.to_word() > 0 && reference.to_word() < 1 << 63);
            prop_assert_eq!(Reference::from_word(reference.to_word()), Some(reference));
            let key = reference.to_key(id);
            prop_assert_eq!(Reference::parse(&key).ok(), Some((id, reference)));
        }

        #[test]
        fn whatever_is_taken_is_a_reference(first: i64, second: i64) {
            let key = Key::new([Field::Integer(first), Field::Integer(second)]);
            if let Ok((id, reference)) = Reference::parse(&key) {
                prop_assert_eq!(reference.to_key(id), key);
            }
        }
    }

    #[test]
    fn words_that_name_no_place_are_no_references() {
        for kind in [0, 4, 5, 6, 7_u64] {
            for rest in [0, 1, (1 << 61) - 1] {
                assert_eq!(Reference::from_word(kind << 61 | rest), None);
            }
        }
        let segment = |number: u64| Reference::from_word(1 << 61 | number << 32 | 1);
        assert!(segment(u64::from(SEGMENTS) - 1).is_some());
        assert_eq!(segment(SEGMENTS.into()), None);
    }

    #[test]
    fn other_keys_are_refused() {
        for fields in [
            vec![],
            vec![Field::Integer(1)],
            vec![Field::Integer(1), Field::Integer(0)],
            vec![Field::Integer(-1), Field::Integer(1 << 61)],
            vec![Field::Integer(1), Field::Text("x".into())],
            vec![
                Field::Integer(1),
                Field::Integer(1 << 61 | 1),
                Field::Absent,
            ],
        ] {
            let key = Key::new(fields);
            assert!(Reference::parse(&key).is_err(), "{key}");
        }
    }
}
