//! Copying an object into the memory of a segment.

use std::{
    fs::File,
    hash::Hasher,
    io::{self, Seek, SeekFrom},
    ptr::{self, NonNull},
    sync::Arc,
};

use proxystore_core::Payload;
use proxystore_memory::{Segment, write_all};
use rustix::param::page_size;
use twox_hash::XxHash3_64;

use super::summing;
use crate::mapped::Mapped;

/// Bytes that are copied, summed and then written to a file.
const BOUNCE: usize = 128 << 10;
/// Bytes that are written to a file before that is told.
const PART: usize = 16 << 20;

/// The memory of a segment that nobody else looks at: mapped as far as it was there before, a file
/// beyond. Written from the start to the end.
#[derive(Debug)]
pub(crate) struct Target {
    mapped: Option<Arc<Mapped>>,
    /// Bytes of the mapping that have memory behind them.
    warm: usize,
    file: Option<File>,
}

impl Target {
    /// Memory that is written by `write(2)`.
    pub(crate) const fn of_file(file: File) -> Self {
        Self {
            mapped: None,
            warm: 0,
            file: Some(file),
        }
    }

    /// Memory of which the first `warm` bytes are there, and a file for what comes after them.
    pub(crate) fn of_mapped(mapped: Arc<Mapped>, warm: usize, file: Option<File>) -> Self {
        Self {
            warm: warm.min(mapped.len()),
            mapped: Some(mapped),
            file,
        }
    }

    /// Copies an object in, and tells of bytes that the file has taken.
    ///
    /// # Errors
    ///
    /// Whatever `write(2)` answers; `InvalidData` if a seal is not as long as what it completes.
    pub(crate) fn fill(&self, payload: &Payload<'_>, taken: &mut dyn FnMut(u64)) -> io::Result<()> {
        match (payload.seal(), payload.segments()) {
            (Some(seal), [first, rest @ ..]) => {
                let sums = self.fill_summed(first.len(), rest, taken)?;
                let sealed = seal.seal(&sums);
                if sealed.len() != first.len() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.write(0, &[Segment::from(&sealed)], taken)
            }
            (_, segments) => self.write(0, segments, taken),
        }
    }

    /// Writes bytes from `offset` on.
    fn write(
        &self,
        offset: usize,
        segments: &[Segment<'_>],
        taken: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut at = offset;
        for (index, segment) in segments.iter().enumerate() {
            let inside = segment.slice(..self.warm.saturating_sub(at));
            self.copy(at, inside);
            at += inside.len();
            if inside.len() == segment.len() {
                continue;
            }
            let mut file = self.file.as_ref().ok_or(io::ErrorKind::StorageFull)?;
            file.seek(SeekFrom::Start(at as u64))?;
            write_parts(file, &[segment.slice(inside.len()..)], taken)?;
            return write_parts(file, &segments[index + 1..], taken);
        }
        Ok(())
    }

    /// Lets the file end where its last page does, and says where that is; none without a file.
    pub(crate) fn end_at_page(&self) -> io::Result<Option<u64>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let len = file.metadata()?.len();
        let end = len.next_multiple_of(page_size() as u64);
        if end > len {
            file.set_len(end)?;
        }
        Ok(Some(end))
    }

    /// Copies into the mapping, within the bytes that are there.
    fn copy(&self, at: usize, segment: Segment<'_>) {
        let Some(mapped) = self.mapped.as_ref().filter(|_| !segment.is_empty()) else {
            return;
        };
        debug_assert!(at + segment.len() <= self.warm, "the bytes are there");
        // SAFETY: `write` and `fill_summed` cut the segment so that it ends within `warm`, which is
        // within the mapping, and there is memory behind that. The source is readable by the
        // promise of whoever made the segment, and cannot be this memory: only its owner knows it,
        // and hands it out to nobody while it writes.
        unsafe {
            ptr::copy_nonoverlapping(segment.as_ptr(), mapped.as_ptr().add(at), segment.len());
        }
    }

    /// Writes segments from `offset` on, and returns the sums of what was written.
    fn fill_summed(
        &self,
        offset: usize,
        segments: &[Segment<'_>],
        taken: &mut dyn FnMut(u64),
    ) -> io::Result<Vec<u64>> {
        let mut at = offset;
        // What goes to the file passes through here, so that the sums are of what is written.
        let mut bounce = Vec::new();
        let mut sums = Vec::with_capacity(segments.len());
        for segment in segments {
            let mut sum = XxHash3_64::new();
            let mut rest = *segment;
            while !rest.is_empty() {
                let room = self.warm.saturating_sub(at);
                let block = if let Some(mapped) = &self.mapped
                    && room > 0
                {
                    let block = rest.slice(..room);
                    // SAFETY: ends within `warm`, which is within the mapping, and there is memory
                    // behind that; for the rest see `copy`.
                    unsafe { summing::copy(block, mapped.as_ptr().add(at), &mut sum) };
                    block
                } else {
                    let start = bounce.len();
                    let block = rest.slice(..BOUNCE - start);
                    bounce.resize(start + block.len(), 0);
                    block.copy_to(&mut bounce[start..]);
                    sum.write(&bounce[start..]);
                    if bounce.len() == BOUNCE {
                        self.write(at - start, &[Segment::from(&bounce)], taken)?;
                        bounce.clear();
                    }
                    block
                };
                at += block.len();
                rest = rest.slice(block.len()..);
            }
            sums.push(sum.finish());
        }
        self.write(at - bounce.len(), &[Segment::from(&bounce)], taken)?;
        Ok(sums)
    }
}

/// Writes segments to a file, and tells of the bytes that it has taken from time to time.
fn write_parts(
    file: &File,
    mut segments: &[Segment<'_>],
    taken: &mut dyn FnMut(u64),
) -> io::Result<()> {
    while let Some((first, rest)) = segments.split_first() {
        if first.len() > PART {
            for start in (0..first.len()).step_by(PART) {
                let part = first.slice(start..start + PART);
                write_all(file, &[part])?;
                taken(part.len() as u64);
            }
            segments = rest;
            continue;
        }
        let mut len = 0;
        let count = segments
            .iter()
            .take_while(|segment| {
                len += segment.len();
                len <= PART
            })
            .count();
        let (part, rest) = segments.split_at(count);
        write_all(file, part)?;
        taken(part.iter().map(|segment| segment.len() as u64).sum());
        segments = rest;
    }
    Ok(())
}

/// A view of bytes of a mapping that nobody writes to.
///
/// # Safety
///
/// The bytes must have memory behind them, and `mapped` must outlive the view.
pub(crate) unsafe fn view(mapped: &Mapped, len: usize) -> Segment<'_> {
    let pointer = NonNull::new(mapped.as_ptr()).unwrap_or(NonNull::dangling());
    // SAFETY: within the mapping, which stays borrowed.
    unsafe { Segment::from_raw_parts(pointer, len.min(mapped.len())) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;
    use proxystore_core::Seal;

    use super::*;
    use crate::mapped::Inheritance;

    /// Stores the sums as they are.
    struct Sums;

    impl Seal for Sums {
        fn seal(&self, sums: &[u64]) -> Vec<u8> {
            sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
        }
    }

    fn content(file: &mut File) -> Vec<u8> {
        file.rewind().expect("a seek");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("a read");
        bytes
    }

    proptest! {
        #[test]
        fn objects_arrive_in_whatever_memory(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            warm in 0..4000_usize,
            is_sealed: bool,
        ) {
            let mut file = tempfile::tempfile()?;
            // A page that is there, as far as it is said to be.
            file.set_len(4096)?;
            let mapped = Arc::new(Mapped::new(&file, 4096, Inheritance::Private)?);
            let sums: Vec<u8> = vec![0; 8 * parts.len()];
            let mut segments: Vec<_> = parts.iter().map(Segment::from).collect();
            if is_sealed {
                segments.insert(0, Segment::from(&sums));
            }
            let mut payload = Payload::new(&segments);
            let mut expected = parts.concat();
            if is_sealed {
                payload = payload.with_seal(&Sums);
                let sums = parts.iter().flat_map(|part| XxHash3_64::oneshot(part).to_le_bytes());
                expected = sums.chain(expected).collect();
            }
            let target = Target::of_mapped(mapped, warm, Some(file.try_clone()?));
            let mut taken = 0_usize;
            target.fill(&payload, &mut |bytes| taken += usize::try_from(bytes).expect("few"))?;
            prop_assert!(taken >= expected.len().saturating_sub(warm));
            prop_assert_eq!(&content(&mut file)[..expected.len()], &expected[..]);
            let mut other = tempfile::tempfile()?;
            Target::of_file(other.try_clone()?).fill(&payload, &mut |_| {})?;
            prop_assert_eq!(&content(&mut other), &expected);
        }
    }

    #[test]
    fn a_seal_of_another_length_is_refused() {
        struct Short;
        impl Seal for Short {
            fn seal(&self, _: &[u64]) -> Vec<u8> {
                vec![0; 3]
            }
        }
        let segments = [Segment::from(b"1234"), Segment::from(b"x")];
        let payload = Payload::new(&segments).with_seal(&Short);
        let target = Target::of_file(tempfile::tempfile().expect("a file"));
        let error = target.fill(&payload, &mut |_| {}).expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn large_parts_are_summed_in_blocks() {
        let part: Vec<u8> = (0..=250).cycle().take(3 * BOUNCE + 5).collect();
        let sums = [0; 16];
        let segments = [
            Segment::from(&sums),
            Segment::from(&part),
            Segment::from(&part),
        ];
        let payload = Payload::new(&segments).with_seal(&Sums);
        let mut file = tempfile::tempfile().expect("a file");
        Target::of_file(file.try_clone().expect("a descriptor"))
            .fill(&payload, &mut |_| {})
            .expect("room");
        let sum = XxHash3_64::oneshot(&part).to_le_bytes();
        let expected = [&sum[..], &sum, &part, &part].concat();
        assert!(content(&mut file) == expected);
    }
}
