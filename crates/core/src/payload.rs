//! What a put takes.

use std::fmt;

use proxystore_memory::{Cursor, Segment};

/// The bytes of one object: a gather list of borrowed parts, of which nothing is joined or copied
/// on the way to the connector.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    segments: &'a [Segment<'a>],
    len: usize,
    seal: Option<&'a dyn Seal>,
}

/// What completes an object whose first segment holds the checksums of the others.
pub trait Seal: Sync {
    /// The first segment in its final form.
    ///
    /// # Behavior
    ///
    /// * `sums` are the XXH3-64 (seed 0) of the segments after the first, in order, each of the
    ///   bytes that were stored, whatever the source has become meanwhile.
    /// * Returns as many bytes as the first segment has.
    fn seal(&self, sums: &[u64]) -> Vec<u8>;
}

impl<'a> Payload<'a> {
    /// The object made of `segments`, one after the other.
    #[must_use]
    pub fn new(segments: &'a [Segment<'a>]) -> Self {
        let lengths = segments.iter().map(Segment::len);
        Self {
            segments,
            // Saturates only for lists that name the same memory over and over; no store has room.
            len: lengths.fold(0, usize::saturating_add),
            seal: None,
        }
    }

    /// The same object, to be completed by `seal` while it is stored.
    ///
    /// Only for connectors that say [`Capabilities::seals`](crate::Capabilities::seals): they sum
    /// the bytes while they copy them, which costs less than reading them twice.
    #[must_use]
    pub fn with_seal(mut self, seal: &'a dyn Seal) -> Self {
        self.seal = Some(seal);
        self
    }

    /// What completes the object, if it is not complete yet.
    #[must_use]
    pub const fn seal(&self) -> Option<&'a dyn Seal> {
        self.seal
    }

    /// The parts, in order.
    #[must_use]
    pub const fn segments(&self) -> &'a [Segment<'a>] {
        self.segments
    }

    /// The number of bytes of all parts together.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the object has no bytes. It is an object all the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nobody writes to any of the bytes as long as they are borrowed.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        let mut segments = self.segments.iter();
        segments.all(|segment| segment.as_slice().is_some())
    }

    /// Copies the bytes out in pieces that do not change any more.
    #[must_use]
    pub const fn cursor(&self) -> Cursor<'a> {
        Cursor::new(self.segments)
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Payload")
            .field("segments", &self.segments)
            .field("sealed", &self.seal.is_none())
            .finish_non_exhaustive()
    }
}

impl<'a> From<&'a [Segment<'a>]> for Payload<'a> {
    fn from(segments: &'a [Segment<'a>]) -> Self {
        Self::new(segments)
    }
}

impl<'a, const N: usize> From<&'a [Segment<'a>; N]> for Payload<'a> {
    fn from(segments: &'a [Segment<'a>; N]) -> Self {
        Self::new(segments)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use super::*;

    #[test]
    fn the_length_is_that_of_all_parts() {
        let segments = [Segment::from(b"ab"), Segment::EMPTY, Segment::from(b"c")];
        let payload = Payload::from(&segments);
        assert_eq!(payload.len(), 3);
        assert!(!payload.is_empty());
        assert!(Payload::new(&[]).is_empty());
        let mut buffer = [0; 4];
        assert_eq!(payload.cursor().fill(&mut buffer), 3);
        assert_eq!(&buffer, b"abc\0");
    }

    #[test]
    fn a_payload_is_constant_if_all_its_parts_are() {
        let shared = [AtomicU8::new(1)];
        let segments = [Segment::from(b"ab"), Segment::from(shared.as_slice())];
        assert!(Payload::from(&segments[..1]).is_constant());
        assert!(!Payload::from(&segments).is_constant());
        assert!(Payload::new(&[]).is_constant());
    }
}
