//! Sends what operations have queued, and the objects that they put.

use std::{
    sync::{MutexGuard, TryLockError},
    task::{Context, Poll, ready},
};

use proxystore_memory::Segment;
use proxystore_wire::{Chunk, StreamId};

use super::{connection::Connection, error::ClientError, upload::Upload, waiters::Wakers};

/// The memory that is kept for frames, in bytes.
const KEPT: usize = 256 << 10;

/// Frames on their way to the socket.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    frames: Vec<u8>,
    /// How many of their bytes are sent.
    sent: usize,
    /// TLS may hold something back.
    unflushed: bool,
    /// The socket did not take all frames. Unlike a chunk, they have no owner to come back.
    stuck: bool,
}

impl Writer {
    fn rest(&self) -> &[u8] {
        &self.frames[self.sent..]
    }

    fn advance(&mut self, len: usize) {
        self.sent += len;
        if self.sent == self.frames.len() {
            self.frames.clear();
            self.frames.shrink_to(KEPT);
            self.sent = 0;
        }
    }
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// There is nothing to send now.
    All,
    /// Somebody else is sending, and sends this too.
    Elsewhere,
    /// The socket takes no more; the caller is woken when it does.
    Blocked,
}

impl Connection {
    /// Sends what is queued, and chunks of `upload` while it is their turn.
    pub(super) fn flush(
        &self,
        context: &mut Context<'_>,
        mut upload: Option<&mut Upload<'_>>,
    ) -> Result<Flushed, ClientError> {
        loop {
            let writer = self.try_write().or_else(|| {
                // Whoever has it looks at this after giving it back, and it may just have done so.
                self.lock().unsent = true;
                self.try_write()
            });
            let Some(mut writer) = writer else {
                return Ok(Flushed::Elsewhere);
            };
            let written = self.poll_send(context, &mut writer, upload.as_deref_mut());
            let stuck = writer.stuck;
            drop(writer);
            match written {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Err(self.lose(error)),
                Poll::Pending => {
                    // Whoever looks next tries again: this caller may be gone by then.
                    self.lock().unsent |= stuck;
                    return Ok(Flushed::Blocked);
                }
            }
            // Whoever queued something meanwhile has found the writer taken.
            if !self.lock().unsent {
                return Ok(Flushed::All);
            }
        }
    }

    fn try_write(&self) -> Option<MutexGuard<'_, Writer>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        writer: &mut Writer,
        mut upload: Option<&mut Upload<'_>>,
    ) -> Poll<Result<(), ClientError>> {
        loop {
            writer.stuck = true;
            if !writer.rest().is_empty() {
                let frames = [Segment::from(writer.rest())];
                let sent = ready!(self.stream.poll_write(context, &frames))?;
                writer.advance(sent);
                writer.unflushed = true;
                continue;
            }
            let own = upload.as_ref().map(|upload| upload.stream());
            let chunk = self.take_frames(writer, own)?;
            if let Some(chunk) = chunk
                && let Some(upload) = upload.as_deref_mut()
                && own == Some(chunk.stream)
            {
                writer.stuck = false;
                ready!(self.poll_send_chunk(context, writer, &chunk, upload))?;
            } else if writer.rest().is_empty() {
                if writer.unflushed {
                    ready!(self.stream.poll_flush(context))?;
                    writer.unflushed = false;
                }
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes the queued frames over, and says which chunk comes next. If it is not one of `own`, its
    /// owner is woken.
    fn take_frames(
        &self,
        writer: &mut Writer,
        own: Option<StreamId>,
    ) -> Result<Option<Chunk>, ClientError> {
        let mut wakers = Wakers::default();
        let mut state = self.lock();
        state.check()?;
        state.unsent = false;
        let outgoing = state.session.outgoing();
        let chunk = outgoing.chunk;
        let taken = outgoing.bytes.len();
        writer.frames.extend_from_slice(outgoing.bytes);
        if taken > 0 {
            state.session.sent(taken);
        }
        if let Some(chunk) = &chunk
            && own != Some(chunk.stream)
        {
            state.waiters.wake_sender(chunk.stream, &mut wakers);
        }
        drop(state);
        Ok(chunk)
    }

    fn poll_send_chunk(
        &self,
        context: &mut Context<'_>,
        writer: &mut Writer,
        chunk: &Chunk,
        upload: &mut Upload<'_>,
    ) -> Poll<Result<(), ClientError>> {
        upload.prepare(chunk.body.clone());
        let mut parts = vec![Segment::from(writer.rest()), Segment::from(chunk.header())];
        upload.gather(chunk.body.clone(), &mut parts);
        let sent = ready!(self.stream.poll_write(context, &parts))?;
        drop(parts);
        let frames = sent.min(writer.rest().len());
        writer.advance(frames);
        writer.unflushed = true;
        let mut state = self.lock();
        if let Some(finished) = state.session.sent(sent - frames) {
            state.session.end(finished, upload.sum());
            upload.ended();
        }
        Poll::Ready(Ok(()))
    }
}
