//! Threads that give memory back.

use std::{io, mem::MaybeUninit, ptr, sync::mpsc, thread, time::Duration};

/// Bytes of stack: enough to walk a list and to report what failed.
const STACK: usize = 256 << 10;

/// Calls `task` on a thread of its own, again after each pause that it asks for, until it asks for
/// none. Returns when the thread runs: what it needs of the system to begin, it has by then.
///
/// The thread takes no signals: they are for threads of the user's that wait for them.
///
/// # Errors
///
/// Whatever the system answers when it has no room for another thread.
pub fn background(
    name: &str,
    mut task: impl FnMut() -> Option<Duration> + Send + 'static,
) -> io::Result<()> {
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK);
    let (begun, has_begun) = mpsc::sync_channel(1);
    let run = move || {
        // Nobody waits for the next one.
        let _ = begun.send(());
        while let Some(pause) = task() {
            thread::sleep(pause);
        }
    };
    without_signals(|| builder.spawn(run).map(drop))?;
    // A thread that could not begin has hung up.
    let _ = has_begun.recv();
    Ok(())
}

/// Calls `start` while this thread takes no signals, which threads that it starts inherit.
pub fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both are places for a set; the first call fills `all`, the second reads it and fills
    // `before`, as it cannot fail with a valid first argument.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let outcome = start();
    // SAFETY: `before` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(signal: i32) -> bool {
        let mut mask = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: a null set changes nothing; the mask is filled before it is read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr());
            libc::sigismember(mask.as_ptr(), signal) == 1
        }
    }

    #[test]
    fn a_task_runs_until_it_asks_for_no_more_and_takes_no_signals() {
        let (told, hear) = mpsc::channel();
        let mut left = 3;
        let before = blocks(libc::SIGINT);
        background("test", move || {
            left -= 1;
            told.send(blocks(libc::SIGINT)).expect("somebody hears");
            (left > 0).then_some(Duration::ZERO)
        })
        .expect("a thread");
        // Ends when the task is gone, which has the other end of the channel.
        assert_eq!(hear.iter().collect::<Vec<_>>(), [true; 3]);
        assert_eq!(blocks(libc::SIGINT), before);
    }
}
