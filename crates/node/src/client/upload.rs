//! Large objects on their way to a node.

use std::ops::Range;

use proxystore_core::Payload;
use proxystore_memory::Segment;
use proxystore_wire::{StreamId, Sum};

/// The most parts of an object that one system call sends.
const GATHERED: usize = 60;

/// A large object on its way to a node. Its bytes are sent from where they are, and summed just
/// before: whoever writes to them in between makes the node refuse them.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    stream: StreamId,
    segments: &'a [Segment<'a>],
    /// A segment that no earlier one is needed of any more, and where it begins in the object.
    first: (usize, u64),
    sum: Sum,
    /// How many bytes are summed.
    summed: u64,
    /// What is sent in place of the object's own bytes, if those do not keep still.
    copy: Option<Copy>,
    ended: bool,
}

/// A piece of the object that nobody writes to.
#[derive(Debug, Default)]
struct Copy {
    bytes: Vec<u8>,
    /// Where the piece begins in the object.
    start: u64,
}

impl<'a> Upload<'a> {
    /// An object whose bytes keep still for as long as it takes to sum and send a chunk or, with
    /// `copied`, do not.
    pub(crate) fn new(stream: StreamId, payload: Payload<'a>, copied: bool) -> Self {
        Self {
            stream,
            segments: payload.segments(),
            first: (0, 0),
            sum: Sum::new(),
            summed: 0,
            copy: copied.then(Copy::default),
            ended: false,
        }
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Whether chunks of it are still to be sent.
    pub(crate) const fn is_sending(&self) -> bool {
        !self.ended
    }

    pub(crate) const fn ended(&mut self) {
        self.ended = true;
    }

    /// The sum of the bytes that were sent.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.finish()
    }

    /// Sums what of this part of the object is not summed yet. Parts come in order.
    pub(crate) fn prepare(&mut self, range: Range<u64>) {
        if range.end <= self.summed {
            return;
        }
        let mut parts = Vec::new();
        self.own(self.summed..range.end, usize::MAX, &mut parts);
        match &mut self.copy {
            None => parts.iter().for_each(|part| self.sum.update_segment(*part)),
            Some(copy) => {
                let done = usize::try_from(range.start - copy.start).unwrap_or(usize::MAX);
                copy.bytes.drain(..done.min(copy.bytes.len()));
                copy.start = range.start;
                let before = copy.bytes.len();
                for part in parts {
                    copy.bytes.extend_from_slice(&part.to_vec());
                }
                self.sum.update(&copy.bytes[before..]);
            }
        }
        self.summed = range.end;
    }

    /// The first parts of this part of the object, which was prepared.
    pub(crate) fn gather<'s>(&'s mut self, range: Range<u64>, parts: &mut Vec<Segment<'s>>) {
        if self.copy.is_none() {
            self.forget_before(range.start);
            self.own(range, GATHERED, parts);
            return;
        }
        if let Some(copy) = &self.copy {
            let within = |at: u64| usize::try_from(at.saturating_sub(copy.start)).unwrap_or(0);
            let part = Segment::from(&copy.bytes);
            parts.push(part.slice(within(range.start)..within(range.end)));
        }
    }

    fn forget_before(&mut self, offset: u64) {
        while let Some(segment) = self.segments.get(self.first.0) {
            let end = self.first.1 + segment.len() as u64;
            if end > offset {
                return;
            }
            self.first = (self.first.0 + 1, end);
        }
    }

    /// The first `most` segments of a part of the object.
    fn own<'s>(&self, range: Range<u64>, most: usize, parts: &mut Vec<Segment<'s>>)
    where
        'a: 's,
    {
        let (index, mut start) = self.first;
        let most = parts.len().saturating_add(most);
        for segment in &self.segments[index.min(self.segments.len())..] {
            let end = start + segment.len() as u64;
            if start >= range.end || parts.len() == most {
                return;
            }
            if end > range.start {
                let within =
                    |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
                parts.push(segment.slice(within(range.start)..within(range.end)));
            }
            start = end;
        }
    }
}
