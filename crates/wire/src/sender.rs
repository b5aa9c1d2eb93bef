//! What is to be sent, and in which order.

use std::collections::{BTreeMap, VecDeque};

use proxystore_memory::{Cursor, Segment};

use crate::{
    StreamId,
    frame::{HEADER, Header, Kind, MAX_WINDOW},
    limits::Limits,
    outgoing::{Chunk, Outgoing},
    sum::Sum,
    violation::Violation,
};

/// From this many bytes of waiting frames on, a client begins no requests and a node looks at none.
const CONGESTED: usize = 256 << 10;

/// The memory that the queue keeps when it is empty. In bytes.
const KEPT: usize = 384 << 10;

/// What stands for the rest of a chunk whose owner has gone.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// The queue of frames, and the bodies that wait for their turn.
#[derive(Debug)]
pub(crate) struct Sender {
    queue: Vec<u8>,
    /// The bytes of the queue that are sent.
    start: usize,
    /// The bytes of the queue that the last plan had.
    planned: usize,
    /// The last ping that was not answered yet. Only the last is: however many come, what waits to
    /// be sent does not grow.
    pinged: Option<u64>,
    bodies: BTreeMap<u32, Body>,
    /// Streams that have something to send and credit for it.
    turns: VecDeque<u32>,
    current: Option<Current>,
    /// What the peer takes of all bodies together.
    window: u64,
    peer: Limits,
}

/// A body that is being sent.
#[derive(Debug)]
struct Body {
    offset: u64,
    len: u64,
    credit: u64,
}

impl Body {
    const fn is_ready(&self) -> bool {
        !self.is_over() && self.credit > 0
    }

    /// Whether all of it is sent, or in the chunk that is being sent.
    const fn is_over(&self) -> bool {
        self.offset >= self.len
    }
}

/// The chunk that is being sent, or planned if nothing of it is sent.
#[derive(Debug)]
struct Current {
    stream: u32,
    header: [u8; HEADER],
    /// Where it is in the body.
    offset: u64,
    /// Its length, without the header.
    len: usize,
    /// How many of its bytes are sent, header and all.
    sent: usize,
    /// Nobody has its bytes any more.
    orphaned: bool,
}

impl Current {
    const fn is_begun(&self) -> bool {
        self.sent > 0
    }
}

impl Sender {
    pub(crate) fn new(peer: Limits) -> Self {
        Self {
            queue: Vec::new(),
            start: 0,
            planned: 0,
            pinged: None,
            bodies: BTreeMap::new(),
            turns: VecDeque::new(),
            current: None,
            window: u64::from(peer.window),
            peer,
        }
    }

    pub(crate) const fn peer(&self) -> &Limits {
        &self.peer
    }

    /// Adds a frame with this head and nothing else.
    pub(crate) fn push(&mut self, kind: Kind, flags: u8, stream: u32, head: &[u8]) {
        self.push_with(kind, flags, stream, head, &[]);
    }

    /// Adds a frame with this head and these bytes after it.
    pub(crate) fn push_with(
        &mut self,
        kind: Kind,
        flags: u8,
        stream: u32,
        head: &[u8],
        rest: &[u8],
    ) {
        let header = Header {
            kind,
            flags,
            stream,
            len: u32::try_from(head.len() + rest.len()).unwrap_or(u32::MAX),
        };
        self.queue.extend_from_slice(&header.encode(head));
        self.queue.extend_from_slice(head);
        self.queue.extend_from_slice(rest);
    }

    /// Adds a put with a copy of the object, of `len` bytes, summed from that copy.
    pub(crate) fn push_put(
        &mut self,
        flags: u8,
        stream: u32,
        mut head: [u8; 40],
        segments: &[Segment<'_>],
        len: usize,
    ) {
        let frame = self.queue.len();
        let body = frame + HEADER + head.len();
        self.queue.resize(body + len, 0);
        // A source of fewer bytes than it had a moment ago leaves zeros, which are summed as well.
        Cursor::new(segments).fill(&mut self.queue[body..]);
        head[32..].copy_from_slice(&Sum::of(&self.queue[body..]).to_le_bytes());
        let header = Header {
            kind: Kind::Put,
            flags,
            stream,
            len: u32::try_from(head.len() + len).unwrap_or(u32::MAX),
        };
        self.queue[frame..frame + HEADER].copy_from_slice(&header.encode(&head));
        self.queue[frame + HEADER..body].copy_from_slice(&head);
    }

    /// Answers a ping, at the next opportunity.
    pub(crate) const fn answer(&mut self, ping: u64) {
        self.pinged = Some(ping);
    }

    /// Lines a body of `len` bytes up.
    pub(crate) fn open(&mut self, stream: u32, len: u64) {
        let body = Body {
            offset: 0,
            len,
            credit: u64::from(self.peer.credit),
        };
        if body.is_ready() {
            self.turns.push_back(stream);
        }
        self.bodies.insert(stream, body);
    }

    /// Takes a body out of the line. What is left of a chunk of it that is being sent is filled with
    /// zeros.
    pub(crate) fn abandon(&mut self, stream: u32) {
        self.bodies.remove(&stream);
        self.turns.retain(|&waiting| waiting != stream);
        if let Some(current) = &mut self.current
            && current.stream == stream
        {
            current.orphaned = true;
        }
    }

    /// The peer takes more of a stream, or of all.
    pub(crate) fn credit(&mut self, stream: u32, amount: u64) -> Result<(), Violation> {
        let wrong = Violation::WrongValue {
            kind: Kind::Credit,
            value: amount,
        };
        if amount == 0 {
            return Err(wrong);
        }
        if stream == 0 {
            self.window = self
                .window
                .checked_add(amount)
                .filter(|&window| window <= u64::from(MAX_WINDOW))
                .ok_or(wrong)?;
        } else if let Some(body) = self.bodies.get_mut(&stream) {
            let was_ready = body.is_ready();
            body.credit = body.credit.checked_add(amount).ok_or(wrong)?;
            if !was_ready && body.is_ready() {
                self.turns.push_back(stream);
            }
        }
        Ok(())
    }

    /// Whether so much waits that nothing should be begun that adds to it.
    pub(crate) fn is_congested(&self) -> bool {
        self.queued() > CONGESTED
    }

    fn queued(&self) -> usize {
        self.queue.len() - self.start
    }

    /// Whether bodies are being sent.
    pub(crate) fn has_bodies(&self) -> bool {
        !self.bodies.is_empty()
    }

    /// Whether there is something to send now.
    pub(crate) fn is_waiting(&self) -> bool {
        self.queued() > 0
            || self.pinged.is_some()
            || self.current.as_ref().is_some_and(Current::is_begun)
            || self.may_send()
    }

    fn may_send(&self) -> bool {
        self.window > 0 && !self.turns.is_empty()
    }

    /// The stream whose chunk is being sent or is the next to be.
    pub(crate) fn turn(&self) -> Option<StreamId> {
        match &self.current {
            Some(current) if current.is_begun() => {
                (!current.orphaned).then_some(StreamId(current.stream))
            }
            _ if self.may_send() => self.turns.front().copied().map(StreamId),
            _ => None,
        }
    }

    /// What to send next.
    pub(crate) fn outgoing(&mut self) -> Outgoing<'_> {
        if !self.current.as_ref().is_some_and(Current::is_begun) {
            if let Some(ping) = self.pinged.take() {
                self.push(Kind::Pong, 0, 0, &ping.to_le_bytes());
            }
            self.planned = self.queued();
            self.current = self.next_chunk();
            return Outgoing {
                bytes: &self.queue[self.start..],
                chunk: self.current.as_ref().map(Current::rest),
            };
        }
        self.planned = 0;
        let Some(current) = &self.current else {
            return Outgoing {
                bytes: &[],
                chunk: None,
            };
        };
        if !current.orphaned {
            return Outgoing {
                bytes: &[],
                chunk: Some(current.rest()),
            };
        }
        let bytes = match current.header.get(current.sent..) {
            Some(header) if !header.is_empty() => header,
            _ => &ZEROS[..ZEROS.len().min(HEADER + current.len - current.sent)],
        };
        Outgoing { bytes, chunk: None }
    }

    fn next_chunk(&self) -> Option<Current> {
        let stream = *self.turns.front().filter(|_| self.window > 0)?;
        let body = self.bodies.get(&stream)?;
        let len = u64::from(self.peer.chunk)
            .min(body.len - body.offset)
            .min(body.credit)
            .min(self.window);
        let header = Header {
            kind: Kind::Data,
            flags: 0,
            stream,
            len: u32::try_from(len).ok()?,
        };
        Some(Current {
            stream,
            header: header.encode(&[]),
            offset: body.offset,
            len: usize::try_from(len).ok()?,
            sent: 0,
            orphaned: false,
        })
    }

    /// This many bytes of what was planned last were sent. Returns the stream whose body is
    /// complete with them.
    pub(crate) fn sent(&mut self, len: usize) -> Option<StreamId> {
        if len == 0 {
            return None;
        }
        let frames = len.min(self.planned);
        self.planned -= frames;
        self.advance(frames);
        if len == frames {
            return None;
        }
        let current = self.current.as_mut()?;
        let is_first = !current.is_begun();
        current.sent += len - frames;
        let is_whole = current.sent >= HEADER + current.len;
        let (stream, len, is_orphaned) = (current.stream, current.len as u64, current.orphaned);
        if is_first {
            self.window = self.window.saturating_sub(len);
        }
        if is_whole {
            self.current = None;
        }
        if is_orphaned {
            // Another body may have its number by now.
            return None;
        }
        if is_first {
            self.advance_body(stream, len);
        }
        let is_over = self.bodies.get(&stream)?.is_over();
        if !is_whole || !is_over {
            return None;
        }
        self.bodies.remove(&stream);
        Some(StreamId(stream))
    }

    /// A chunk of `len` bytes of this body is begun: it is another's turn.
    fn advance_body(&mut self, stream: u32, len: u64) {
        self.turns.retain(|&waiting| waiting != stream);
        if let Some(body) = self.bodies.get_mut(&stream) {
            body.offset += len;
            body.credit = body.credit.saturating_sub(len);
            if body.is_ready() {
                self.turns.push_back(stream);
            }
        }
    }

    fn advance(&mut self, len: usize) {
        self.start += len;
        if self.start >= self.queue.len() {
            self.start = 0;
            self.queue.clear();
            self.queue.shrink_to(KEPT);
        } else if self.start > KEPT {
            self.queue.drain(..self.start);
            self.start = 0;
        }
    }
}

impl Current {
    fn rest(&self) -> Chunk {
        let sent = self.sent.saturating_sub(HEADER) as u64;
        Chunk {
            stream: StreamId(self.stream),
            body: self.offset + sent..self.offset + self.len as u64,
            header: self.header,
            header_sent: self.sent.min(HEADER),
        }
    }
}
