//! Forked processes, and memory that they share with the test.
//!
//! A test that forks has one thread and has never used the connector itself, so that every child
//! starts with nothing of it: its own membership, its own defects, its own point to die at.

use std::{
    env,
    ffi::c_int,
    io::{self, Read, Write},
    mem,
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
    sync::atomic::AtomicU64,
    thread,
    time::Duration,
};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::Checked;

/// Seconds after which a process counts as hanging, and is killed.
const PATIENCE: u32 = 30;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(c_int),
    Killed(c_int),
}

impl Ended {
    pub(crate) const SOUND: Self = Self::Exited(0);
    pub(crate) const FAILED: Self = Self::Exited(1);
    pub(crate) const KILLED: Self = Self::Killed(libc::SIGKILL);

    const fn of(status: c_int) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// A forked process. Killed when dropped, unless it was waited for.
#[derive(Debug)]
pub(crate) struct Child {
    pid: libc::pid_t,
    ended: Option<Ended>,
}

/// Runs `work` in a forked process, which ends with it.
pub(crate) fn fork(work: impl FnOnce() -> Checked) -> io::Result<Child> {
    // SAFETY: what the child runs must not need locks that other threads held: the allocator's are
    // made free by the C library, and the connector promises to cope, which is what is tested.
    let pid = unsafe { libc::fork() };
    in_child(pid, work)
}

/// Runs `work` in a process forked by the bare system call, of which no library is told.
pub(crate) fn fork_untold(work: impl FnOnce() -> Checked) -> io::Result<Child> {
    const NOTHING: usize = 0;

    // SAFETY: without other flags than the signal, this is a fork: the child has memory of its own
    // and returns from the call as the parent does. Callers have one thread.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::SIGCHLD,
            NOTHING,
            NOTHING,
            NOTHING,
            NOTHING,
        )
    };
    in_child(libc::pid_t::try_from(pid).unwrap_or(-1), work)
}

fn in_child(pid: libc::pid_t, work: impl FnOnce() -> Checked) -> io::Result<Child> {
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            set_patience(PATIENCE);
            let status = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    let _ = writeln!(io::stderr(), "{error}");
                    1
                }
                Err(_) => 2,
            };
            // SAFETY: ends the process without the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(Child { pid, ended: None }),
    }
}

/// Ends this process at once, as `kill -9` would.
pub(crate) fn die() {
    let this = rustix::process::getpid();
    let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
}

/// Ends this process by a signal unless it is called again within so many seconds.
pub(crate) fn set_patience(seconds: u32) {
    // SAFETY: sets a timer whose signal kills the process, which holds nothing that others need.
    unsafe { libc::alarm(seconds) };
}

impl Child {
    /// Waits for the process to end.
    pub(crate) fn wait(&mut self) -> io::Result<Ended> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let mut status = 0;
        loop {
            // SAFETY: `status` is a place for the status of this child, which nobody else reaps.
            if unsafe { libc::waitpid(self.pid, &raw mut status, 0) } == self.pid {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let ended = Ended::of(status);
        self.ended = Some(ended);
        Ok(ended)
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        if self.ended.is_some() {
            return Ok(true);
        }
        let mut status = 0;
        // SAFETY: as in `wait`.
        match unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(false),
            _ => {
                self.ended = Some(Ended::of(status));
                Ok(true)
            }
        }
    }

    /// Kills the process at once, wherever it is.
    pub(crate) fn kill(&mut self) -> io::Result<Ended> {
        if self.ended.is_none() {
            // SAFETY: a child that was not waited for keeps its number, so nobody else is hit.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
        self.wait()
    }

    /// Waits for the process, and wants it to have found nothing wrong.
    pub(crate) fn finish(&mut self, who: &str) -> Checked {
        match self.wait()? {
            Ended::SOUND => Ok(()),
            Ended::Killed(libc::SIGALRM) => Err(format!("{who} hangs").into()),
            ended => Err(format!("{who} ended: {ended:?}").into()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Lets others run at random instants from now on, in the middle of whatever this thread does: some
/// ten thousand times per second, where the kernel would not do so by itself.
pub(crate) fn be_interrupted() -> io::Result<()> {
    const PERIOD: libc::timespec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 83_000,
    };

    extern "C" fn give_way(_: c_int) {
        thread::yield_now();
    }

    // SAFETY: all zero is a valid action and a valid event, of which the fields are set that count.
    // The handler makes one system call, which changes nothing; interrupted calls are restarted. The
    // timer signals the calling thread, and ends with its process.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = give_way as extern "C" fn(c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        if libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut event: libc::sigevent = mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGUSR1;
        event.sigev_notify_thread_id = libc::gettid();
        let mut timer: libc::timer_t = mem::zeroed();
        if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
            return Err(io::Error::last_os_error());
        }
        let period = libc::itimerspec {
            it_interval: PERIOD,
            it_value: PERIOD,
        };
        if libc::timer_settime(timer, 0, &raw const period, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Sets an environment variable in a process that was just forked.
pub(crate) fn set_variable(name: &str, value: &str) {
    // SAFETY: callers are forked children of a process with one thread, so nobody reads the
    // environment meanwhile.
    unsafe { env::set_var(name, value) };
}

/// Words, all zero, that this process and its children share. Never given back.
pub(crate) fn shared_words(count: usize) -> io::Result<&'static [AtomicU64]> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
    let pointer = unsafe { mmap_anonymous(ptr::null_mut(), count * 8, access, MapFlags::SHARED) }?;
    // SAFETY: the mapping is zeroed, aligned to pages, as long as this, and is never unmapped; it
    // is only ever used as atomics.
    Ok(unsafe { slice::from_raw_parts(pointer.cast(), count) })
}

/// One end of a line between two processes, over which each tells the other when it is ready.
#[derive(Debug)]
pub(crate) struct Line(UnixStream);

/// Two ends of a line. Each process drops the other's, so that it notices when the other dies.
pub(crate) fn line() -> io::Result<(Line, Line)> {
    let (one, other) = UnixStream::pair()?;
    for end in [&one, &other] {
        end.set_read_timeout(Some(Duration::from_secs(PATIENCE.into())))?;
    }
    Ok((Line(one), Line(other)))
}

impl Line {
    pub(crate) fn say(&mut self, byte: u8) -> io::Result<()> {
        self.0.write_all(&[byte])
    }

    /// Waits for what the other end says; none when it has died.
    pub(crate) fn hear(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let heard = self.0.read(&mut byte)?;
        Ok((heard > 0).then_some(byte[0]))
    }

    /// Waits for the other end to say something, and wants it to live.
    pub(crate) fn wait(&mut self) -> Checked<u8> {
        self.hear()?.ok_or_else(|| "the other process died".into())
    }
}
