//! What a put takes.

use proxystore_memory::Segment;

/// The bytes of one object: a gather list of borrowed parts, of which nothing is joined or copied
/// on the way to the connector.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    segments: &'a [Segment<'a>],
    len: usize,
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
        }
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

    /// Calls `visit` with the bytes in pieces of `buffer`'s size (the last may be shorter),
    /// whatever the parts, each copied into `buffer` first, so that what `visit` sees does not
    /// change under it.
    ///
    /// # Errors
    ///
    /// The first that `visit` returns.
    pub fn for_each_copied<E>(
        &self,
        buffer: &mut [u8],
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut filled = 0;
        for segment in self.segments {
            let mut rest = *segment;
            while !rest.is_empty() && !buffer.is_empty() {
                let copied = rest.copy_to(&mut buffer[filled..]);
                rest = rest.slice(copied..);
                filled += copied;
                if filled == buffer.len() {
                    visit(buffer)?;
                    filled = 0;
                }
            }
        }
        if filled > 0 {
            visit(&buffer[..filled])?;
        }
        Ok(())
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
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_full_and_join_to_the_object(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10),
            size in 1..40_usize,
        ) {
            let segments: Vec<_> = parts.iter().map(Segment::from).collect();
            let payload = Payload::new(&segments);
            let whole = parts.concat();
            prop_assert_eq!(payload.len(), whole.len());
            let mut pieces: Vec<Vec<u8>> = Vec::new();
            let Ok(()) = payload.for_each_copied(&mut vec![0; size], |piece| {
                pieces.push(piece.to_vec());
                Ok::<_, Infallible>(())
            });
            prop_assert_eq!(pieces.concat(), whole);
            let last = pieces.len().saturating_sub(1);
            prop_assert!(pieces[..last].iter().all(|piece| piece.len() == size));
        }
    }

    #[test]
    fn the_first_error_ends_the_walk() {
        let segments = [Segment::from(b"abcdef")];
        let mut seen = 0;
        let result = Payload::from(&segments).for_each_copied(&mut [0; 2], |_| {
            seen += 1;
            if seen == 2 { Err("full") } else { Ok(()) }
        });
        assert_eq!(result, Err("full"));
        assert_eq!(seen, 2);
    }
}
