//! What stands in the place of an object that is stored in parts.

use std::fmt::Write as _;

use twox_hash::XxHash3_64;

use crate::key::{ObjectName, tag};

/// What a manifest begins with, and an object never does: one that would is stored in parts.
pub const MAGIC: [u8; 16] = *b"\x93proxystore\r\n\x1a\0\x01";

/// The number of bytes of a manifest.
pub const LENGTH: usize = 72;

/// The most parts that an object can have.
pub(crate) const MOST: u64 = 1 << 20;

/// Says of which parts an object consists. Fields are little-endian:
///
/// | bytes | what |
/// |---|---|
/// | 16 | [`MAGIC`], whose last byte is the version |
/// | 16 | random: part of the names of the parts |
/// | 8 | the number of bytes of the object |
/// | 8 | the number of bytes of every part but the last |
/// | 8 | the XXH3-64 of the object |
/// | 8 | zero |
/// | 8 | the XXH3-64 of all the above |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Part of the names of the parts.
    pub nonce: [u8; 16],
    /// The number of bytes of the object.
    pub len: u64,
    /// The number of bytes of every part but the last.
    pub part: u64,
    /// The XXH3-64 of the object.
    pub sum: u64,
}

impl Manifest {
    /// The manifest as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let fields: [&[u8]; 5] = [
            &MAGIC,
            &self.nonce,
            &self.len.to_le_bytes(),
            &self.part.to_le_bytes(),
            &self.sum.to_le_bytes(),
        ];
        let mut start = 0;
        for field in fields {
            bytes[start..start + field.len()].copy_from_slice(field);
            start += field.len();
        }
        let check = XxHash3_64::oneshot(&bytes[..LENGTH - 8]);
        bytes[LENGTH - 8..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The manifest that these bytes are, if they are one.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if they begin like one and are none.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Damaged> {
        if !bytes.starts_with(&MAGIC) {
            return Ok(None);
        }
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| Damaged)?;
        let (fields, check) = bytes.split_at(LENGTH - 8);
        if XxHash3_64::oneshot(fields) != word(check, 0) {
            return Err(Damaged);
        }
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&bytes[16..32]);
        let manifest = Self {
            nonce,
            len: word(bytes, 32),
            part: word(bytes, 40),
            sum: word(bytes, 48),
        };
        let sound = manifest.part > 0 && manifest.parts() <= MOST && word(bytes, 56) == 0;
        if sound {
            Ok(Some(manifest))
        } else {
            Err(Damaged)
        }
    }

    /// The number of parts.
    #[must_use]
    pub const fn parts(&self) -> u64 {
        self.len.div_ceil(self.part)
    }

    /// The number of bytes of a part.
    #[must_use]
    pub fn part_len(&self, index: u64) -> u64 {
        let before = index.saturating_mul(self.part);
        self.len.saturating_sub(before).min(self.part)
    }

    /// The name of a part of the object `name`: with its prefix, and in a cluster in its place.
    #[must_use]
    pub fn part_name(&self, name: &ObjectName, index: u64) -> String {
        let base = name.base();
        let mut part = if tag(base).is_some() {
            base.to_owned()
        } else {
            format!("{{{base}}}")
        };
        part.push(':');
        for byte in self.nonce {
            // Writing to a string cannot fail.
            let _ = write!(part, "{byte:02x}");
        }
        let _ = write!(part, ":{index}");
        part
    }
}

/// What should be a manifest is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of its parts is damaged")]
pub struct Damaged;

fn word(bytes: &[u8], start: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[start..start + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::slot;

    fn manifest() -> impl Strategy<Value = Manifest> {
        let fields = (any::<[u8; 16]>(), 1..1_u64 << 40, 1..MOST, any::<u64>());
        fields.prop_map(|(nonce, part, parts, sum)| Manifest {
            nonce,
            len: part * parts - part / 2,
            part,
            sum,
        })
    }

    proptest! {
        #[test]
        fn manifests_make_the_round_trip(manifest in manifest()) {
            let bytes = manifest.encode();
            prop_assert_eq!(Manifest::parse(&bytes), Ok(Some(manifest)));
            let last = manifest.parts() - 1;
            let whole = last * manifest.part + manifest.part_len(last);
            prop_assert_eq!(whole, manifest.len);
            prop_assert_eq!(manifest.part_len(last + 1), 0);
        }

        #[test]
        fn no_flipped_bit_goes_unnoticed(manifest in manifest(), bit in 0..LENGTH * 8) {
            let mut bytes = manifest.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = Manifest::parse(&bytes);
            let expected = if bit / 8 < MAGIC.len() { Ok(None) } else { Err(Damaged) };
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn parts_stay_in_the_slot_of_their_object(
            text in "[a-z:{}]{1,9}",
            bytes: [u8; 16],
            tagged: bool,
            manifest in manifest(),
        ) {
            let plain = ObjectName::parse(&text).expect("a name");
            // A name with an empty tag counts as a whole, and cannot be put into another's tag.
            prop_assume!(!text.contains("{}") && !text.contains('}') || tag(&text).is_some());
            prop_assert_eq!(slot(&manifest.part_name(&plain, 3)), slot(&text));
            let random = ObjectName::from_random("p:", bytes, tagged);
            prop_assert_eq!(slot(&manifest.part_name(&random, 3)), slot(random.as_str()));
        }
    }

    #[test]
    fn a_cut_manifest_is_damaged_and_other_bytes_are_none() {
        let manifest = Manifest {
            nonce: [7; 16],
            len: 10,
            part: 4,
            sum: 1,
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::parse(&bytes[..LENGTH - 1]), Err(Damaged));
        assert_eq!(Manifest::parse(b"object"), Ok(None));
        assert_eq!(manifest.parts(), 3);
        assert_eq!(manifest.part_len(2), 2);
    }
}
