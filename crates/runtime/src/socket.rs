//! Sockets that whoever polls may wait for.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustix::{
    event::PollFlags,
    net::{AddressFamily, Shutdown},
};
use tokio::net::{TcpStream, UnixStream};

use crate::colour::{self, Colour, colour};

/// What to wait for on a [`Socket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Bytes to read, or their end.
    Read,
    /// Room to write.
    Write,
}

/// A descriptor that never blocks, and belongs to the colour that it was made in.
///
/// In the blocking colour several threads may wait for it at once. In the shared colour one task
/// may wait for reading and one for writing.
pub struct Socket(Inner);

enum Inner {
    Blocking(Watched),
    Shared(Registered),
}

/// A socket that drivers wait for by `poll(2)`.
struct Watched {
    descriptor: Arc<OwnedFd>,
    /// The last attempt took all there was to read.
    is_exhausted: AtomicBool,
}

/// A socket of the runtime, by which alone it can be waited for there.
enum Registered {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Takes over a stream socket, of TCP or Unix, and makes it one that does not block. It may
    /// still be connecting.
    ///
    /// # Errors
    ///
    /// If it is no such socket, or this is neither called from an operation that is driven nor
    /// within a tokio runtime.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        let inner = match colour() {
            Colour::Blocking => Inner::Blocking(Watched {
                descriptor: Arc::new(descriptor),
                is_exhausted: AtomicBool::new(false),
            }),
            Colour::Shared => {
                if tokio::runtime::Handle::try_current().is_err() {
                    return Err(io::Error::other("there is no runtime here to wait by"));
                }
                Inner::Shared(Registered::new(descriptor)?)
            }
        };
        Ok(Self(inner))
    }

    /// The colour that it belongs to.
    #[must_use]
    pub const fn colour(&self) -> Colour {
        match self.0 {
            Inner::Blocking(_) => Colour::Blocking,
            Inner::Shared(_) => Colour::Shared,
        }
    }

    /// Tries `io`, and again whenever the descriptor may be ready, until it does not answer
    /// `WouldBlock`. `Interrupted` is tried again at once.
    ///
    /// # Errors
    ///
    /// What `io` answers.
    pub fn poll_io<T>(
        &self,
        context: &mut Context<'_>,
        interest: Interest,
        io: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        if interest == Interest::Read {
            self.assume_ready();
        }
        self.poll_io_until(context, interest, io, |_| false)
    }

    /// As [`poll_io`](Self::poll_io); an outcome that `exhausts` says took all there was to read
    /// saves the next call an attempt that hardly succeeds.
    ///
    /// # Errors
    ///
    /// What `io` answers.
    pub fn poll_io_until<T>(
        &self,
        context: &mut Context<'_>,
        interest: Interest,
        mut io: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
        exhausts: impl Fn(&T) -> bool,
    ) -> Poll<io::Result<T>> {
        match &self.0 {
            Inner::Blocking(socket) => {
                let reads = interest == Interest::Read;
                let skip = reads && socket.is_exhausted.swap(false, Ordering::Relaxed);
                if !skip {
                    match attempt(socket.descriptor.as_fd(), &mut io) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        outcome => {
                            if reads && outcome.as_ref().is_ok_and(exhausts) {
                                socket.is_exhausted.store(true, Ordering::Relaxed);
                            }
                            return Poll::Ready(outcome);
                        }
                    }
                }
                // It is polled again at once if something has come meanwhile.
                colour::wait_for(&socket.descriptor, interest.events());
                Poll::Pending
            }
            Inner::Shared(socket) => loop {
                ready!(socket.poll_ready(context, interest))?;
                let mut last = None;
                let answered = socket.try_io(interest, || {
                    let value = attempt(socket.as_fd(), &mut io)?;
                    if exhausts(&value) {
                        last = Some(value);
                        // The runtime then waits for an event, where it would find nothing now.
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    Ok(value)
                });
                match (last, answered) {
                    (Some(value), _) => return Poll::Ready(Ok(value)),
                    (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    (None, answered) => return Poll::Ready(answered),
                }
            },
        }
    }

    /// Has the next call attempt to read, whatever the last one found: for those who do not wait.
    pub fn assume_ready(&self) {
        if let Inner::Blocking(socket) = &self.0 {
            socket.is_exhausted.store(false, Ordering::Relaxed);
        }
    }

    /// Ends both directions: whoever waits for the socket finds it closed.
    pub fn shutdown(&self) {
        // One that was never connected, or is closed already, is as good as shut down.
        let _ = rustix::net::shutdown(self, Shutdown::Both);
    }
}

impl Registered {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let family = rustix::net::getsockname(&descriptor)?.address_family();
        if family == AddressFamily::UNIX {
            UnixStream::from_std(descriptor.into()).map(Self::Unix)
        } else {
            TcpStream::from_std(descriptor.into()).map(Self::Tcp)
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        match (self, interest) {
            (Self::Tcp(socket), Interest::Read) => socket.poll_read_ready(context),
            (Self::Tcp(socket), Interest::Write) => socket.poll_write_ready(context),
            (Self::Unix(socket), Interest::Read) => socket.poll_read_ready(context),
            (Self::Unix(socket), Interest::Write) => socket.poll_write_ready(context),
        }
    }

    fn try_io<T>(&self, interest: Interest, io: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let interest = match interest {
            Interest::Read => tokio::io::Interest::READABLE,
            Interest::Write => tokio::io::Interest::WRITABLE,
        };
        match self {
            Self::Tcp(socket) => socket.try_io(interest, io),
            Self::Unix(socket) => socket.try_io(interest, io),
        }
    }
}

impl AsFd for Registered {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

fn attempt<T>(
    descriptor: BorrowedFd<'_>,
    io: &mut impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match io(descriptor) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

impl Interest {
    const fn events(self) -> PollFlags {
        match self {
            Self::Read => PollFlags::IN,
            Self::Write => PollFlags::OUT,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Inner::Blocking(socket) => socket.descriptor.as_fd(),
            Inner::Shared(socket) => socket.as_fd(),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Socket")
            .field("descriptor", &self.as_fd())
            .field("colour", &self.colour())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::poll_fn,
        io::{self, Read, Write},
        os::{fd::BorrowedFd, unix::net::UnixStream},
        sync::mpsc,
        thread,
        time::{Duration, Instant},
    };

    use proxystore_core::{Deadline, Error, ErrorKind, Operation, Result};

    use super::{Colour, Interest, Socket};
    use crate::{Stopped, drive, spawn, timeout};

    async fn read(socket: &Socket) -> io::Result<Vec<u8>> {
        poll_fn(|context| {
            socket.poll_io(context, Interest::Read, |descriptor| {
                let mut bytes = [0; 16];
                let read = rustix::io::read(descriptor, &mut bytes)?;
                Ok(bytes[..read].to_vec())
            })
        })
        .await
    }

    fn failed(error: io::Error) -> Error {
        Error::from_io("the socket failed", error)
    }

    #[test]
    fn a_driver_waits_for_a_socket() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        thread::scope(|scope| {
            let operation = Operation::pending(async move {
                let socket = Socket::new(theirs.into()).map_err(failed)?;
                assert_eq!(socket.colour(), Colour::Blocking);
                let first = read(&socket).await.map_err(failed)?;
                let end = read(&socket).await.map_err(failed)?;
                Ok((first, end))
            });
            let driver =
                scope.spawn(|| drive(operation, Deadline::never(), || Ok::<_, Infallible>(())));
            ours.write_all(b"abc").expect("room");
            drop(ours);
            let (first, end) = driver.join().expect("no panic").expect("bytes");
            assert_eq!((first.as_slice(), end.as_slice()), (&b"abc"[..], &b""[..]));
        });
    }

    #[test]
    fn a_socket_that_was_emptied_is_read_again_only_when_something_has_come() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        ours.write_all(b"abc").expect("room");
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                told.recv().expect("the first bytes are read");
                ours.write_all(b"de").expect("room");
            });
            let operation = Operation::pending(async move {
                let socket = Socket::new(theirs.into()).map_err(failed)?;
                let mut attempts = 0;
                let mut read = Vec::new();
                for _ in 0..2 {
                    let part = poll_fn(|context| {
                        let attempt = |descriptor: BorrowedFd<'_>| {
                            attempts += 1;
                            let mut bytes = [0; 16];
                            let read = rustix::io::read(descriptor, &mut bytes)?;
                            Ok(bytes[..read].to_vec())
                        };
                        socket.poll_io_until(context, Interest::Read, attempt, |_| true)
                    });
                    read.push(part.await.map_err(failed)?);
                    // Whoever waits already is gone.
                    let _ = tell.send(());
                }
                assert_eq!(read, [&b"abc"[..], b"de"]);
                Ok(attempts)
            });
            let attempts = drive(operation, Deadline::never(), || Ok::<_, Infallible>(()));
            assert_eq!(attempts.expect("bytes"), 2);
        });
    }

    #[test]
    fn a_task_waits_for_a_socket() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        let (answer, answers) = mpsc::channel();
        spawn(async move {
            let socket = Socket::new(theirs.into()).expect("a socket");
            assert_eq!(socket.colour(), Colour::Shared);
            let _ = answer.send(read(&socket).await);
        })
        .expect("a runtime");
        ours.write_all(b"abc").expect("room");
        let answer = answers.recv().expect("an answer").expect("bytes");
        assert_eq!(answer, b"abc");
    }

    #[test]
    fn a_silent_peer_ends_by_the_timeout_of_the_operation() {
        let (_ours, theirs) = UnixStream::pair().expect("a socket pair");
        let operation = Operation::pending(async move {
            let socket = Socket::new(theirs.into()).map_err(failed)?;
            let deadline = Deadline::at(Instant::now() + Duration::from_millis(10));
            let silent = timeout(deadline, read(&socket)).await;
            assert_eq!(silent.err(), Some(crate::Elapsed));
            Ok(())
        });
        let outcome = drive(operation, Deadline::never(), || Ok::<_, Infallible>(()));
        outcome.expect("the operation ends by itself");
    }

    #[test]
    fn what_a_signal_handler_drives_leaves_the_operation_under_way_alone() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        let operation = Operation::pending(async move {
            let socket = Socket::new(theirs.into()).map_err(failed)?;
            read(&socket).await.map_err(failed)
        });
        let mut nested = 0;
        let outcome = drive(operation, Deadline::never(), || {
            let inner = Operation::pending(async {
                crate::sleep_until(Instant::now() + Duration::from_millis(1)).await;
                Result::Ok(())
            });
            drive(inner, Deadline::never(), || Ok::<_, Infallible>(()))?;
            nested += 1;
            ours.write_all(b"abc")
                .map_err(|error| Stopped::Failed(failed(error)))
        });
        assert_eq!(outcome.expect("bytes"), b"abc");
        assert!(nested >= 1);
    }

    #[test]
    fn there_is_no_waiting_outside_of_both_colours() {
        let (_ours, theirs) = UnixStream::pair().expect("a socket pair");
        let error = Socket::new(theirs.into()).expect_err("nobody waits");
        assert_eq!(failed(error).kind(), ErrorKind::Os);
    }

    #[test]
    fn who_waits_for_a_socket_that_is_shut_down_is_woken() {
        let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
        let operation = Operation::pending(async move {
            let socket = Socket::new(theirs.into()).map_err(failed)?;
            socket.shutdown();
            read(&socket).await.map_err(failed)
        });
        let outcome = drive(operation, Deadline::never(), || Ok::<_, Infallible>(()));
        assert!(outcome.expect("the end").is_empty());
        assert_eq!(ours.read(&mut [0; 1]).expect("the end"), 0);
    }
}
