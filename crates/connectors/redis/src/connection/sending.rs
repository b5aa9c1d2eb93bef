//! Commands and objects on their way to the server.

use std::{
    hash::Hasher,
    task::{Context, Poll, Waker},
};

use proxystore_core::Segment;
use proxystore_memory::Cursor;
use proxystore_stream::StreamError;
use twox_hash::XxHash3_64;

use super::{Connection, STAGING};
use crate::{error::RedisError, pieces, resp::Head};

/// The most that is copied, summed and sent at a time: stays in the second-level cache meanwhile.
/// The server takes one piece while the next is copied; with smaller ones the two wait for each
/// other more often, which costs more than it gives.
const COPIED: usize = 384 << 10;

/// The most that is sent at a time from where it is, and in how many parts: as many as one system
/// call takes.
const IN_PLACE: (usize, usize) = (1 << 20, 60);

impl Connection {
    /// Adds a command whose reply will be read.
    pub(crate) fn expect(&mut self, arguments: &[&[u8]]) {
        self.commands.push(arguments);
        self.owed += 1;
    }

    /// Notes that commands written otherwise will have so many replies.
    pub(crate) const fn owe(&mut self, replies: usize) {
        self.owed += replies;
    }

    /// Sends the commands.
    pub(crate) async fn flush(&mut self) -> Result<(), RedisError> {
        self.send(&[]).await
    }

    /// Sends the commands and `more` after them.
    pub(crate) async fn send(&mut self, more: &[Segment<'_>]) -> Result<(), RedisError> {
        self.broken = true;
        let sent = if more.is_empty() {
            let commands = [Segment::from(self.commands.as_bytes())];
            self.stream.write_all(&commands).await
        } else {
            let mut segments = Vec::with_capacity(more.len() + 1);
            segments.push(Segment::from(self.commands.as_bytes()));
            segments.extend_from_slice(more);
            self.stream.write_all(&segments).await
        };
        if let Err(error) = sent {
            return Err(self.last_words().unwrap_or_else(|| self.lost(error)));
        }
        self.commands.clear(STAGING);
        self.broken = false;
        Ok(())
    }

    /// Sends the commands, the bytes of an object, and `tail`.
    pub(crate) async fn send_object(
        &mut self,
        object: &[Segment<'_>],
        tail: &[u8],
    ) -> Result<(), RedisError> {
        let mut segments = Vec::with_capacity(object.len() + 2);
        segments.extend_from_slice(object);
        segments.push(Segment::from(tail));
        self.send(&segments).await?;
        let len = object.iter().map(Segment::len).sum::<usize>();
        self.statistics.sent_bytes.add(len as u64);
        Ok(())
    }

    /// Why the server has ended the connection, if it said so before.
    fn last_words(&mut self) -> Option<RedisError> {
        let mut context = Context::from_waker(Waker::noop());
        self.stream.assume_readable();
        let room = &mut self.staging[self.end..];
        match self.stream.poll_read(&mut context, room) {
            Poll::Ready(Ok(read)) => self.end += read,
            // In TLS it may have said that it does not trust this side's certificate.
            Poll::Ready(Err(error)) => {
                let ended = StreamError::lost(&self.peer, error);
                let is_lost = matches!(ended, StreamError::Lost { .. });
                return (!is_lost).then(|| ended.into());
            }
            Poll::Pending => {}
        }
        match Head::parse(&self.staging[self.start..self.end]) {
            Ok(Some((Head::Error(line), _))) => Some(self.refused(line)),
            _ => None,
        }
    }

    /// Takes the next `len` bytes from `cursor`, or as many as there are: from where they are if
    /// nobody writes to them, otherwise as a copy.
    pub(crate) fn hold<'a>(&mut self, cursor: &mut Cursor<'a>, len: usize) -> Held<'a> {
        Held::in_place(cursor, len).unwrap_or_else(|| self.copy(cursor, len))
    }

    fn copy<'a>(&mut self, cursor: &mut Cursor<'a>, len: usize) -> Held<'a> {
        pieces::extend(&mut self.piece, len);
        Held::Copied(cursor.fill(&mut self.piece[..len]))
    }

    /// Adds what is held to `sum`.
    pub(crate) fn sum(&self, held: &Held<'_>, sum: &mut XxHash3_64) {
        match held {
            Held::InPlace(parts) => {
                let parts = parts.iter().filter_map(Segment::as_slice);
                parts.for_each(|part| sum.write(part));
            }
            Held::Copied(len) => sum.write(&self.piece[..*len]),
        }
    }

    /// The checksum of what is held, if that is all.
    pub(crate) fn whole_sum(&self, held: &Held<'_>) -> u64 {
        let bytes = match held {
            Held::InPlace(parts) => match parts.as_slice() {
                [part] => part.as_slice(),
                _ => None,
            },
            Held::Copied(len) => Some(&self.piece[..*len]),
        };
        if let Some(bytes) = bytes {
            return XxHash3_64::oneshot(bytes);
        }
        let mut sum = XxHash3_64::new();
        self.sum(held, &mut sum);
        sum.finish()
    }

    /// Adds what is held to the commands.
    pub(crate) fn push_held(&mut self, held: &Held<'_>) {
        self.statistics.sent_bytes.add(held.len() as u64);
        match held {
            Held::InPlace(parts) => {
                for part in parts {
                    part.copy_to(self.commands.room(part.len()));
                }
            }
            Held::Copied(len) => {
                let room = self.commands.room(*len);
                room.copy_from_slice(&self.piece[..*len]);
            }
        }
    }

    /// Sends the commands, what is held, and `tail`.
    pub(crate) async fn send_held(
        &mut self,
        held: &Held<'_>,
        tail: &[u8],
    ) -> Result<(), RedisError> {
        match held {
            Held::InPlace(parts) => self.send_object(parts, tail).await,
            Held::Copied(len) => {
                let piece = std::mem::take(&mut self.piece);
                let sent = self
                    .send_object(&[Segment::from(&piece[..*len])], tail)
                    .await;
                self.piece = piece;
                sent
            }
        }
    }

    /// Sends the commands and then `len` bytes from `cursor`, or as many as there are, piece by
    /// piece, and adds each to `sum` while the server takes it: what is summed is what is sent,
    /// whoever writes to the source meanwhile.
    pub(crate) async fn send_summed(
        &mut self,
        cursor: &mut Cursor<'_>,
        mut len: usize,
        sum: &mut XxHash3_64,
    ) -> Result<(), RedisError> {
        while len > 0 {
            let held = Held::in_place(cursor, len.min(IN_PLACE.0));
            let held = held.unwrap_or_else(|| self.copy(cursor, len.min(COPIED)));
            if held.len() == 0 {
                break;
            }
            len -= held.len();
            let sent = self.send_held(&held, &[]).await;
            // In the middle of a value nothing else can be sent.
            self.broken = true;
            sent?;
            self.sum(&held, sum);
        }
        self.broken = false;
        Ok(())
    }
}

/// Bytes of an object that do not change any more.
pub(crate) enum Held<'a> {
    /// Where the object is.
    InPlace(Vec<Segment<'a>>),
    /// So many, in the connection's piece.
    Copied(usize),
}

impl<'a> Held<'a> {
    fn in_place(cursor: &mut Cursor<'a>, len: usize) -> Option<Self> {
        let mut ahead = cursor.clone();
        let parts = ahead.take(len, IN_PLACE.1)?;
        if parts.iter().any(|part| part.as_slice().is_none()) {
            return None;
        }
        *cursor = ahead;
        Some(Self::InPlace(parts))
    }

    fn len(&self) -> usize {
        match self {
            Self::InPlace(parts) => parts.iter().map(Segment::len).sum(),
            Self::Copied(len) => *len,
        }
    }
}
