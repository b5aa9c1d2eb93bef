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

/// The size of a piece of a large object: stays in the second-level cache between being copied,
/// summed and sent. Smaller ones make the server take turns with this side more often, which costs
/// more than it gives.
const PIECE: usize = 1 << 20;

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

    /// Why the server has ended the connection, if it said so before.
    fn last_words(&mut self) -> Option<RedisError> {
        let mut context = Context::from_waker(Waker::noop());
        let room = &mut self.staging[self.end..];
        match self.stream.poll_read(&mut context, room) {
            Poll::Ready(Ok(read)) => self.end += read,
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

    /// Copies a small object, so that it cannot change any more, and returns its checksum.
    pub(crate) fn copy(&mut self, cursor: &mut Cursor<'_>, len: usize) -> u64 {
        pieces::extend(&mut self.piece, len);
        let filled = cursor.fill(&mut self.piece[..len]);
        XxHash3_64::oneshot(&self.piece[..filled])
    }

    /// Adds the first `len` bytes of what was copied to the commands.
    pub(crate) fn push_copied(&mut self, len: usize) {
        self.commands.room(len).copy_from_slice(&self.piece[..len]);
    }

    /// Sends the commands, the first `len` bytes of what was copied, and `tail`.
    pub(crate) async fn send_copied(&mut self, len: usize, tail: &[u8]) -> Result<(), RedisError> {
        let piece = std::mem::take(&mut self.piece);
        let segments = [Segment::from(&piece[..len]), Segment::from(tail)];
        let sent = self.send(&segments).await;
        self.piece = piece;
        sent
    }

    /// Sends the commands and then `len` bytes from `cursor`, or as many as there are, piece by
    /// piece from a copy, and adds them to `sum`: what is summed is what is sent, whoever writes to
    /// the source meanwhile.
    pub(crate) async fn send_summed(
        &mut self,
        cursor: &mut Cursor<'_>,
        mut len: usize,
        sum: &mut XxHash3_64,
    ) -> Result<(), RedisError> {
        pieces::extend(&mut self.piece, len.min(PIECE));
        while len > 0 {
            let want = len.min(PIECE);
            let filled = cursor.fill(&mut self.piece[..want]);
            sum.write(&self.piece[..filled]);
            len -= want;
            let piece = std::mem::take(&mut self.piece);
            let sent = self.send(&[Segment::from(&piece[..filled])]).await;
            self.piece = piece;
            // In the middle of a value nothing else can be sent.
            self.broken = true;
            sent?;
        }
        self.broken = false;
        Ok(())
    }
}
