//! What the record of a segment says of the object in it, and how damage to that is told.

use twox_hash::XxHash3_64;

use super::protocol::Fields;
use crate::error::ShmError;

/// An object as its record describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// Bytes of it.
    pub(crate) len: u64,
    /// Bytes of memory behind it.
    pub(crate) capacity: u64,
    /// Whether these are in a file outside of the namespace's directory.
    pub(crate) spilled: bool,
    /// The word of the deferred key that it was put for, or zero.
    pub(crate) ticket: u64,
    /// When it was put, in milliseconds since the host was started.
    pub(crate) put: u64,
}

impl Object {
    /// What a record says of the object of this generation.
    pub(crate) fn to_fields(self, generation: u32) -> Fields {
        Fields {
            len: self.len,
            capacity: self.capacity,
            details: self.details(generation),
            ticket: self.ticket,
            put: self.put,
        }
    }

    /// The object of this generation.
    ///
    /// # Errors
    ///
    /// [`ShmError::Corrupted`] if no process has described an object so.
    pub(crate) fn from_fields(fields: &Fields, generation: u32) -> Result<Self, ShmError> {
        let object = Self {
            len: fields.len,
            capacity: fields.capacity,
            spilled: fields.details & SPILLED != 0,
            ticket: fields.ticket,
            put: fields.put,
        };
        if object.len == 0
            || object.len > object.capacity
            || fields.details != object.details(generation)
        {
            return Err(ShmError::Corrupted {
                problem: "what is known of it does not match its check",
            });
        }
        Ok(object)
    }

    /// One bit, and a checksum of everything.
    fn details(self, generation: u32) -> u64 {
        let spilled = u64::from(self.spilled);
        let words = [
            u64::from(generation),
            self.len,
            self.capacity,
            spilled,
            self.ticket,
            self.put,
        ];
        let mut bytes = [0; 6 * 8];
        for (target, word) in bytes.chunks_exact_mut(8).zip(words) {
            target.copy_from_slice(&word.to_le_bytes());
        }
        (XxHash3_64::oneshot(&bytes) & !SPILLED) | spilled
    }
}

/// The bit of `details` that says that the object is spilled.
const SPILLED: u64 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(
            generation: u32, len in 1..u64::MAX, extra: u64, ticket: u64, put: u64, spilled: bool,
        ) {
            let capacity = len.saturating_add(extra);
            let object = Object { len, capacity, spilled, ticket, put };
            let fields = object.to_fields(generation);
            prop_assert_eq!(Object::from_fields(&fields, generation).ok(), Some(object));
            prop_assert!(Object::from_fields(&fields, generation ^ 1).is_err());
            for bit in 0..64 {
                let flip = |word: fn(&mut Fields) -> &mut u64| {
                    let mut damaged = fields;
                    *word(&mut damaged) ^= 1 << bit;
                    Object::from_fields(&damaged, generation).is_err()
                };
                prop_assert!(flip(|fields| &mut fields.len));
                prop_assert!(flip(|fields| &mut fields.capacity));
                prop_assert!(flip(|fields| &mut fields.details));
                prop_assert!(flip(|fields| &mut fields.ticket));
                prop_assert!(flip(|fields| &mut fields.put));
            }
        }
    }
}
