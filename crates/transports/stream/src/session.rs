//! TLS within a stream.

use std::{
    fmt,
    io::{self, Read, Write},
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use proxystore_memory::{Filling, Segment, send_vectored};
use proxystore_runtime::{Interest, Socket};
use rustls::Connection;

/// How much is read from the socket at once, in bytes.
const RECEIVED: usize = 128 << 10;
/// How much of what is to be sent is encrypted at once, in bytes.
const PLAIN: usize = 64 << 10;

/// The TLS within a stream. Reader and writer take turns with it, and never hold it while they
/// wait.
pub(crate) struct Session(Mutex<Box<State>>);

struct State {
    connection: Connection,
    /// Records that came from the socket and are not decrypted yet: `range` of `received`.
    received: Vec<u8>,
    range: Range<usize>,
    /// A copy of what is being encrypted: the source may change meanwhile.
    plain: Vec<u8>,
    /// Whether the peer's half of the socket has ended.
    ended: bool,
}

impl Session {
    pub(crate) fn new(mut connection: Connection) -> Self {
        // What waits is limited by whoever writes: nothing more is taken before it is sent.
        connection.set_buffer_limit(None);
        Self(Mutex::new(Box::new(State {
            connection,
            received: Vec::new(),
            range: 0..0,
            plain: Vec::new(),
            ended: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Box<State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when both sides have agreed on keys, and know whom they talk to as far as TLS says.
    pub(crate) fn poll_handshake(
        &self,
        socket: &Socket,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        loop {
            ready!(state.poll_send(socket, context))?;
            if !state.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = ready!(state.poll_receive(socket, context)) {
                // The peer learns why from what TLS has to say about it.
                let _ = state.poll_send(socket, context);
                return Poll::Ready(Err(error));
            }
            if state.ended && !state.connection.wants_write() && state.connection.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    pub(crate) fn poll_read(
        &self,
        socket: &Socket,
        context: &mut Context<'_>,
        staging: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if staging.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut state = self.lock();
        loop {
            match state.connection.reader().read(staging) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
            ready!(state.poll_receive(socket, context))?;
        }
    }

    pub(crate) fn poll_fill(
        &self,
        socket: &Socket,
        context: &mut Context<'_>,
        filling: &mut Filling,
        limit: usize,
        staging: &mut [u8],
    ) -> Poll<io::Result<(usize, usize)>> {
        let room = filling.remaining().min(limit);
        if room == 0 {
            return self
                .poll_read(socket, context, staging)
                .map_ok(|read| (0, read));
        }
        let mut state = self.lock();
        let mut filled = 0;
        loop {
            // Whatever is decrypted already is taken before anything is waited for.
            let mut reader = state.connection.reader();
            let outcome = loop {
                match io::BufRead::fill_buf(&mut reader) {
                    Ok([]) => break Ok(true),
                    Ok(plain) => {
                        let taken = plain.len().min(room - filled);
                        let taken = filling.push(&plain[..taken]);
                        io::BufRead::consume(&mut reader, taken);
                        filled += taken;
                        if filled == room {
                            return Poll::Ready(Ok((filled, 0)));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(false),
                    Err(error) => break Err(error),
                }
            };
            match outcome {
                // What has arrived counts, whatever follows it.
                _ if filled > 0 => return Poll::Ready(Ok((filled, 0))),
                Ok(true) => return Poll::Ready(Ok((0, 0))),
                Ok(false) => ready!(state.poll_receive(socket, context))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(crate) fn poll_write(
        &self,
        socket: &Socket,
        context: &mut Context<'_>,
        segments: &[Segment<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        ready!(state.poll_send(socket, context))?;
        let state = &mut **state;
        state.plain.clear();
        for segment in segments {
            let room = PLAIN - state.plain.len();
            if room == 0 {
                break;
            }
            let start = state.plain.len();
            let len = segment.len().min(room);
            state.plain.resize(start + len, 0);
            segment.copy_to(&mut state.plain[start..]);
        }
        let written = state.connection.writer().write(&state.plain)?;
        match state.poll_send(socket, context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What the socket has no room for yet is flushed later.
            _ => Poll::Ready(Ok(written)),
        }
    }

    pub(crate) fn poll_flush(
        &self,
        socket: &Socket,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().poll_send(socket, context)
    }

    pub(crate) fn exported(&self, label: &str) -> Option<[u8; 32]> {
        let state = self.lock();
        let exported = state
            .connection
            .export_keying_material([0; 32], label.as_bytes(), None);
        exported.ok()
    }
}

impl State {
    /// Decrypts records that have come, or waits for more.
    fn poll_receive(&mut self, socket: &Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.range.is_empty() && !self.ended {
            self.received.resize(RECEIVED, 0);
            let received = &mut self.received;
            let read = socket.poll_io_until(
                context,
                Interest::Read,
                |socket| Ok(rustix::io::read(socket, received.as_mut_slice())?),
                |read| *read < RECEIVED && *read > 0,
            );
            let read = ready!(read)?;
            self.range = 0..read;
            self.ended = read == 0;
        }
        // TLS takes some kilobytes at a time, and no more while it has plain bytes to be taken.
        let state = loop {
            let mut records = &self.received[self.range.clone()];
            let taken = self.connection.read_tls(&mut records)?;
            self.range.start += taken;
            let state = self.connection.process_new_packets().map_err(broken)?;
            // Nothing is taken after the peer has said that this is the end.
            if taken == 0 || self.range.is_empty() || state.plaintext_bytes_to_read() > 0 {
                break state;
            }
        };
        if self.ended && state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when all records are sent.
    fn poll_send(&mut self, socket: &Socket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            let connection = &mut self.connection;
            let sent = socket.poll_io(context, Interest::Write, |socket| {
                connection.write_tls(&mut Sender(socket))
            });
            if ready!(sent)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Sends records over a socket.
struct Sender<'a>(std::os::fd::BorrowedFd<'a>);

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send_vectored(self.0, &[Segment::from(bytes)])
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let parts: Vec<Segment<'_>> = parts.iter().map(|part| Segment::from(&**part)).collect();
        send_vectored(self.0, &parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}
