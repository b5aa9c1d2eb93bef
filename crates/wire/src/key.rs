//! What names an object at its node.

use std::fmt;

use subtle::ConstantTimeEq as _;

/// What names an object at its node: a number, and the capability without which nobody gets at it.
///
/// Both are 128 random bits that the client makes, so that naming an object asks nobody.
#[derive(Clone, Copy)]
pub struct ObjectKey {
    /// Which object.
    pub id: [u8; 16],
    /// Proof that the key was handed out by whoever put the object.
    pub capability: [u8; 16],
}

impl ObjectKey {
    /// As it stands in a frame.
    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.id);
        bytes[16..].copy_from_slice(&self.capability);
        bytes
    }

    /// Whether `capability` is that of this key. Takes as long wherever the two differ.
    #[must_use]
    pub fn is_opened_by(&self, capability: &[u8; 16]) -> bool {
        self.capability.ct_eq(capability).into()
    }
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.is_opened_by(&other.capability)
    }
}

impl Eq for ObjectKey {}

impl fmt::Debug for ObjectKey {
    /// Shows which object, and nothing that opens it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.id {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}
