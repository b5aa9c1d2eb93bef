//! Waiting for another thread's call of the factory, without ever adding a deadlock.
//!
//! The original takes no lock: each thread calls the factory for itself. Here a thread that finds
//! the factory running waits for its result, and so could hold up whatever that call needs: a lock
//! of the user's, the import lock, another proxy. No program can tell all of these apart from a
//! call that merely takes its time, so a wait is a courtesy and never a must. A waiter stops waiting
//! and calls the factory itself, and the first result wins, as soon as
//!
//! * waiting would close a cycle of threads that wait for each other's proxies: at once;
//! * the runner is another greenlet of the waiter's own thread, or died in a fork: at once (these
//!   two never come here);
//! * the waiter is inside an import, so that it holds a module's lock: after [`IMPORTING`];
//! * the running thread has slept on a lock without once waking up: after [`LOCKED`];
//! * it has slept in any other system call, or the kernel does not tell: after [`ASLEEP`];
//! * it has been running, whatever it does: after [`BUSY`].
//!
//! The clock starts again whenever another waiter has joined in, so a slow factory is called once
//! per such time and not once per waiter. Whether a thread wakes up is read from its `schedstat`,
//! what it sleeps in from its `syscall`, both in `/proc/self/task`.
//!
//! When a call fails, one waiter tries again, as the object may have come to be after that call
//! began. Those who waited before the second call began share its failure.
//!
//! Nothing here holds the book's lock while Python code runs, and a forked child opens a book of
//! its own, whose lock no dead thread can hold.

use std::{
    collections::HashMap,
    fs, ptr,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
    time::{Duration, Instant},
};

use proxystore_fork::generation;
use pyo3::{
    Python,
    ffi::{self, PyObject},
};

use super::{
    importing,
    layout::{ProxyObject, locked},
    references::{disown, own},
    resolving::Runner,
};

/// Patience of a thread that holds the lock of a module that it is importing.
const IMPORTING: Duration = Duration::from_millis(50);
/// Patience with a thread that sleeps on a lock.
const LOCKED: Duration = Duration::from_secs(2);
/// Patience with a thread that sleeps on something else.
const ASLEEP: Duration = Duration::from_secs(10);
/// Patience with a thread that works.
const BUSY: Duration = Duration::from_mins(1);

/// How often a waiter looks whether its patience is at an end.
const GLANCE: Duration = Duration::from_millis(50);
/// How often a thread other than the process's first asks about signals: where Python's main thread
/// is another one, it is answered late rather than never.
const SIGNALS: Duration = Duration::from_secs(1);

/// What became of a wait.
pub(super) enum Turn {
    /// Look at the proxy again.
    Again,
    /// Registered as a runner: call the factory.
    Run,
    /// The call that was waited for raised this: an owned reference.
    Failed(*mut PyObject),
    /// A signal handler raised; the exception is set.
    Interrupted,
}

/// A place among the waiters of a contest.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    contest: u64,
    ticket: u64,
}

impl Wait {
    /// When this thread first touched the proxy, on the clock of the book.
    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }
}

/// All that the threads of this process know about each other's waits.
struct Book {
    generation: u64,
    pages: Mutex<Pages>,
    turned: Condvar,
}

#[derive(Default)]
struct Pages {
    /// Orders the touches of proxies and the calls of factories that are noted here.
    clock: u64,
    contests: HashMap<u64, Contest>,
    /// The undecided contest of each proxy, by address.
    open: HashMap<usize, u64>,
    /// Which contest each thread waits for.
    waits: HashMap<u32, u64>,
}

/// The calls of one proxy's factory that run at the same time, and those who wait for the first.
struct Contest {
    runners: Vec<Run>,
    waiters: usize,
    outcome: Option<Outcome>,
}

struct Run {
    runner: Runner,
    /// When the call began, on the clock of the book; zero if before anyone waited.
    began: u64,
}

#[derive(Clone, Copy)]
enum Outcome {
    Resolved,
    /// All calls raised; `error` (owned; null if it is not to be shared) is of the last.
    Failed {
        error: *mut PyObject,
        began: u64,
    },
}

// SAFETY: the pointer is only used by threads that are attached to the interpreter.
unsafe impl Send for Outcome {}

/// Why a sleeping waiter woke up.
enum Woken {
    Decided,
    Overdue,
    Signals,
}

/// Notes the waiter in the book, or makes it a runner (None) if its wait would close a cycle.
///
/// # Safety
///
/// Called inside `locked(proxy)`, with an unresolved proxy whose runner is another live thread.
pub(super) unsafe fn join(
    proxy: *mut ProxyObject,
    me: Runner,
    ticket: Option<u64>,
) -> Option<Wait> {
    let mut pages = book().open();
    // SAFETY: promised by the caller.
    let contest = unsafe { pages.contest(proxy) };
    if pages.would_close_a_cycle(contest, me) {
        pages.add_runner(contest, me);
        // SAFETY: as above.
        unsafe { (*proxy).runner = me.contested() };
        return None;
    }
    let ticket = ticket.unwrap_or_else(|| pages.tick());
    if let Some(contest) = pages.contests.get_mut(&contest) {
        contest.waiters += 1;
    }
    Some(Wait { contest, ticket })
}

/// Makes `me` a runner beside the one there is.
///
/// # Safety
///
/// Called inside `locked(proxy)`, with an unresolved proxy that has a live runner.
pub(super) unsafe fn join_runners(proxy: *mut ProxyObject, me: Runner) {
    let mut pages = book().open();
    // SAFETY: promised by the caller.
    unsafe {
        let contest = pages.contest(proxy);
        pages.add_runner(contest, me);
        (*proxy).runner = me.contested();
    }
}

/// Notes the first runner of a contest that others are about to join; the runner to put down.
///
/// # Safety
///
/// Called inside `locked(proxy)`, with an unresolved proxy that has no live runner.
pub(super) unsafe fn announce(proxy: *mut ProxyObject, me: Runner) -> Runner {
    let mut pages = book().open();
    let contest = pages.begin(proxy);
    pages.add_runner(contest, me);
    me.contested()
}

/// Whether `me` is one of several runners.
///
/// # Safety
///
/// Called inside `locked(proxy)`.
pub(super) unsafe fn is_running(proxy: *mut ProxyObject, me: Runner) -> bool {
    let pages = book().open();
    let Some(contest) = pages.open.get(&proxy.addr()) else {
        return false;
    };
    pages
        .contests
        .get(contest)
        .is_some_and(|contest| contest.runners.iter().any(|run| run.runner.is_same(me)))
}

/// Ends the contest: the proxy has a target.
///
/// # Safety
///
/// Called inside `locked(proxy)`.
pub(super) unsafe fn succeed(proxy: *mut ProxyObject) {
    book().decide(proxy, Outcome::Resolved);
}

/// Takes `me`, whose call raised `error` (null if not to be shared), from the runners; the runner
/// that is left. The contest ends with the last one.
///
/// # Safety
///
/// Called inside `locked(proxy)`, attached to the interpreter.
pub(super) unsafe fn fail(proxy: *mut ProxyObject, me: Runner, error: *mut PyObject) -> Runner {
    let book = book();
    let mut pages = book.open();
    let Some(contest) = pages
        .open
        .get(&proxy.addr())
        .copied()
        .and_then(|number| pages.contests.get_mut(&number))
    else {
        return Runner::NOBODY;
    };
    let began = contest
        .runners
        .iter()
        .rposition(|run| run.runner.is_same(me))
        .map_or(0, |position| contest.runners.remove(position).began);
    if let Some(left) = contest.runners.last() {
        return left.runner.contested();
    }
    drop(pages);
    // SAFETY: the caller is attached and `error` is null or valid.
    let error = unsafe { own(error) };
    book.decide(proxy, Outcome::Failed { error, began });
    Runner::NOBODY
}

/// Waits until the contest is decided, or until there is no more sense in waiting.
///
/// # Safety
///
/// `proxy` is kept alive by the caller, who is attached to the interpreter.
pub(super) unsafe fn wait(proxy: *mut ProxyObject, me: Runner, wait: Wait) -> Turn {
    let book = book();
    // SAFETY: promised by the caller.
    let mut patience = Patience::new(unsafe { importing::is_importing() });
    let first = rustix::process::getpid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
        == me.thread;
    let ask = if first { GLANCE } else { SIGNALS };
    loop {
        // SAFETY: promised by the caller.
        let py = unsafe { Python::assume_attached() };
        let woken = py.detach(|| book.sleep(&wait, me.thread, &mut patience, ask));
        // SAFETY: promised by the caller.
        unsafe {
            match woken {
                Woken::Decided => return book.leave(wait),
                Woken::Overdue => {
                    if locked(proxy, || book.take_over(proxy, me, &wait)) {
                        return Turn::Run;
                    }
                    return book.leave(wait);
                }
                Woken::Signals => {
                    if ffi::PyErr_CheckSignals() != 0 {
                        if let Turn::Failed(error) = book.leave(wait) {
                            disown(error);
                        }
                        return Turn::Interrupted;
                    }
                }
            }
        }
    }
}

/// The book of this process. A parent's book is left to the parent.
fn book() -> &'static Book {
    static BOOK: AtomicPtr<Book> = AtomicPtr::new(ptr::null_mut());

    let generation = generation();
    let mut current = BOOK.load(Ordering::Acquire);
    loop {
        // SAFETY: a book that was ever published here is never freed.
        if let Some(book) = unsafe { current.as_ref() }
            && book.generation == generation
        {
            return book;
        }
        let fresh = Box::into_raw(Box::new(Book {
            generation,
            pages: Mutex::default(),
            turned: Condvar::new(),
        }));
        match BOOK.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => current = fresh,
            Err(published) => {
                // SAFETY: made above and never published.
                drop(unsafe { Box::from_raw(fresh) });
                current = published;
            }
        }
    }
}

impl Book {
    fn open(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, proxy: *mut ProxyObject, outcome: Outcome) {
        let mut pages = self.open();
        let Some(number) = pages.open.remove(&proxy.addr()) else {
            return;
        };
        let Some(contest) = pages.contests.get_mut(&number) else {
            return;
        };
        contest.outcome = Some(outcome);
        if contest.waiters > 0 {
            self.turned.notify_all();
            return;
        }
        pages.contests.remove(&number);
        drop(pages);
        // SAFETY: whoever decides is attached; with no waiter the error has no other owner.
        unsafe { outcome.release() };
    }

    /// Sleeps, detached from the interpreter.
    fn sleep(&self, wait: &Wait, thread: u32, patience: &mut Patience, ask: Duration) -> Woken {
        let asleep = Instant::now();
        let mut pages = self.open();
        pages.waits.insert(thread, wait.contest);
        let woken = loop {
            let Some(contest) = pages.contests.get(&wait.contest) else {
                break Woken::Decided;
            };
            let (None, Some(run)) = (contest.outcome, contest.runners.last()) else {
                break Woken::Decided;
            };
            let (runner, began) = (run.runner.thread, run.began);
            drop(pages);
            let overdue = patience.is_at_an_end(runner, began);
            pages = self.open();
            if overdue {
                break Woken::Overdue;
            }
            if asleep.elapsed() >= ask {
                break Woken::Signals;
            }
            // What came to pass while the book was closed is seen before sleeping.
            if pages.is_decided(wait.contest) {
                break Woken::Decided;
            }
            pages = self
                .turned
                .wait_timeout(pages, patience.glance())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        };
        pages.waits.remove(&thread);
        woken
    }

    /// Makes a waiter a runner, unless the contest has been decided meanwhile.
    fn take_over(&self, proxy: *mut ProxyObject, me: Runner, wait: &Wait) -> bool {
        let mut pages = self.open();
        if pages.is_decided(wait.contest) {
            return false;
        }
        pages.add_runner(wait.contest, me);
        if let Some(contest) = pages.contests.get_mut(&wait.contest) {
            contest.waiters -= 1;
        }
        // SAFETY: called inside `locked(proxy)`; the contest is open, so the proxy is unresolved.
        unsafe { (*proxy).runner = me.contested() };
        true
    }

    /// Takes a waiter out of the book.
    ///
    /// # Safety
    ///
    /// The caller is attached to the interpreter.
    unsafe fn leave(&self, wait: Wait) -> Turn {
        let mut pages = self.open();
        let Some(contest) = pages.contests.get_mut(&wait.contest) else {
            return Turn::Again;
        };
        contest.waiters -= 1;
        let outcome = contest.outcome;
        let turn = match outcome {
            Some(Outcome::Failed { error, began }) if !error.is_null() && began > wait.ticket => {
                // SAFETY: attached, as the caller promises; the contest owns a reference.
                Turn::Failed(unsafe { own(error) })
            }
            _ => Turn::Again,
        };
        if let Some(outcome) = outcome
            && contest.waiters == 0
        {
            pages.contests.remove(&wait.contest);
            drop(pages);
            // SAFETY: as above; the last waiter takes the contest's reference away.
            unsafe { outcome.release() };
        }
        turn
    }
}

impl Pages {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn is_decided(&self, contest: u64) -> bool {
        self.contests
            .get(&contest)
            .is_none_or(|contest| contest.outcome.is_some())
    }

    /// The open contest of the proxy, made from its runner if there is none.
    ///
    /// # Safety
    ///
    /// Called inside `locked(proxy)`.
    unsafe fn contest(&mut self, proxy: *mut ProxyObject) -> u64 {
        if let Some(number) = self.open.get(&proxy.addr()) {
            return *number;
        }
        let number = self.begin(proxy);
        // SAFETY: promised by the caller.
        let runner = unsafe {
            (*proxy).runner.contested = true;
            (*proxy).runner
        };
        if let Some(contest) = self.contests.get_mut(&number) {
            contest.runners.push(Run { runner, began: 0 });
        }
        number
    }

    fn begin(&mut self, proxy: *mut ProxyObject) -> u64 {
        let number = self.tick();
        self.open.insert(proxy.addr(), number);
        self.contests.insert(
            number,
            Contest {
                runners: Vec::new(),
                waiters: 0,
                outcome: None,
            },
        );
        number
    }

    fn add_runner(&mut self, contest: u64, runner: Runner) {
        let began = self.tick();
        if let Some(contest) = self.contests.get_mut(&contest) {
            contest.runners.push(Run { runner, began });
        }
    }

    /// Whether the newest runner of `contest` waits, over however many others, for `me`.
    fn would_close_a_cycle(&self, mut contest: u64, me: Runner) -> bool {
        for _ in 0..=self.waits.len() {
            let Some(run) = self
                .contests
                .get(&contest)
                .and_then(|contest| contest.runners.last())
            else {
                return false;
            };
            if run.runner.is_same_thread(me) {
                return true;
            }
            match self.waits.get(&run.runner.thread) {
                Some(next) => contest = *next,
                None => return false,
            }
        }
        false
    }
}

impl Outcome {
    /// # Safety
    ///
    /// The caller is attached to the interpreter and gives up the contest's reference.
    unsafe fn release(self) {
        if let Self::Failed { error, .. } = self {
            // SAFETY: promised by the caller.
            unsafe { disown(error) };
        }
    }
}

/// How long a waiter goes on waiting for the call that runs.
struct Patience {
    importing: bool,
    /// The call that is being watched, and since when.
    call: Option<(u32, u64)>,
    since: Instant,
    /// When the running thread was last seen to have woken up, and what it looked like then.
    active: Instant,
    activity: Option<Vec<u8>>,
    /// When to look at it again.
    next: Instant,
}

impl Patience {
    fn new(importing: bool) -> Self {
        let now = Instant::now();
        Self {
            importing,
            call: None,
            since: now,
            active: now,
            activity: None,
            next: now,
        }
    }

    fn glance(&self) -> Duration {
        if self.importing {
            IMPORTING / 5
        } else {
            GLANCE
        }
    }

    fn is_at_an_end(&mut self, thread: u32, began: u64) -> bool {
        let now = Instant::now();
        if self.call != Some((thread, began)) {
            *self = Self {
                call: Some((thread, began)),
                ..Self::new(self.importing)
            };
            return false;
        }
        let waited = now - self.since;
        if waited >= BUSY || (self.importing && waited >= IMPORTING) {
            return true;
        }
        if now < self.next {
            return false;
        }
        self.next = now + GLANCE;
        let activity = fs::read(format!("/proc/self/task/{thread}/schedstat")).ok();
        if activity.is_some() && activity != self.activity {
            self.activity = activity;
            self.active = now;
        }
        let still = now - self.active;
        still >= ASLEEP || (still >= LOCKED && sleeps_on_a_lock(thread))
    }
}

/// Whether the thread is in the system call by which locks sleep.
fn sleeps_on_a_lock(thread: u32) -> bool {
    fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).is_ok_and(|call| {
        call.split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            == Some(libc::SYS_futex)
    })
}
