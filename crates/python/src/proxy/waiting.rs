//! Waiting for another thread's call of the factory, without ever adding a deadlock.
//!
//! Upstream takes no lock: each thread calls the factory for itself. Here a thread that finds
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
//! When a call fails, one waiter tries again: the object may have come to be after that call began.
//! A waiter shares the failure of a call only if it was waiting before the call began.
//!
//! Who waits for whom stands in one [`WaitGraph`]. Nothing here holds its lock while Python code
//! runs, and a forked child makes a graph of its own, whose lock no dead thread can hold.

use std::{
    collections::HashMap,
    fs, iter, ptr,
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

/// How often a waiter checks whether its patience has run out.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often a thread other than the process's first asks about signals: where Python's main thread
/// is another one, it is answered late rather than never.
const SIGNAL_INTERVAL: Duration = Duration::from_secs(1);

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

/// A place among the waiters of a resolution.
#[derive(Clone, Copy)]
pub(super) struct Wait {
    resolution: u64,
    /// When the thread came, on the clock of the graph.
    came: u64,
    /// What the thread waits for already, if a signal handler of it touched this proxy.
    outer: Option<u64>,
}

/// All that the threads of this process know about each other's waits.
struct WaitGraph {
    generation: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Orders the arrivals of waiters and the calls of factories.
    clock: u64,
    resolutions: HashMap<u64, Resolution>,
    /// The resolution of each proxy that is still to be resolved, by address.
    open: HashMap<usize, u64>,
    /// Which resolution each thread waits for.
    waits: HashMap<u32, u64>,
}

/// The calls of one proxy's factory that run at the same time, and those who wait for them.
///
/// Without a runner, the next waiter to wake up has to be one.
struct Resolution {
    proxy: usize,
    runners: Vec<Run>,
    waiters: usize,
    resolved: bool,
    failure: Option<Failure>,
}

struct Run {
    runner: Runner,
    /// On the clock of the graph; zero if before anyone waited.
    began: u64,
}

/// How the newest call that failed ended.
#[derive(Clone, Copy)]
struct Failure {
    /// Owned by the resolution.
    error: *mut PyObject,
    began: u64,
}

// SAFETY: the pointer is only used by threads that are attached to the interpreter.
unsafe impl Send for Failure {}

/// Why a sleeping waiter woke up.
enum Woken {
    /// The resolution is over, for this waiter at least.
    Decided,
    /// Nobody calls the factory, or somebody for too long.
    Needed,
    Signals,
}

/// Enters the waiter into the graph, or makes it a runner (None) if its wait would close a cycle.
///
/// # Safety
///
/// Called inside `locked(proxy)`, with an unresolved proxy whose runner is another live thread.
pub(super) unsafe fn join(proxy: *mut ProxyObject, me: Runner) -> Option<Wait> {
    let mut state = graph().lock();
    // SAFETY: promised by the caller.
    let number = unsafe { state.resolution(proxy) };
    if state.would_close_a_cycle(number, me) {
        state.add_runner(number, me);
        // SAFETY: as above.
        unsafe { (*proxy).runner = me.contended() };
        return None;
    }
    let came = state.tick();
    if let Some(resolution) = state.resolutions.get_mut(&number) {
        resolution.waiters += 1;
    }
    Some(Wait {
        resolution: number,
        came,
        outer: state.waits.insert(me.thread, number),
    })
}

/// Makes `me` a runner of the proxy's resolution.
///
/// # Safety
///
/// Called inside `locked(proxy)`, with an unresolved proxy.
pub(super) unsafe fn join_runners(proxy: *mut ProxyObject, me: Runner) {
    let mut state = graph().lock();
    // SAFETY: promised by the caller.
    unsafe {
        let number = state.resolution(proxy);
        state.add_runner(number, me);
        (*proxy).runner = me.contended();
    }
}

/// Whether `me` is one of several runners.
///
/// # Safety
///
/// Called inside `locked(proxy)`.
pub(super) unsafe fn is_running(proxy: *mut ProxyObject, me: Runner) -> bool {
    let state = graph().lock();
    let resolution = state.open.get(&proxy.addr());
    resolution
        .and_then(|number| state.resolutions.get(number))
        .is_some_and(|resolution| resolution.runners.iter().any(|run| run.runner.is_same(me)))
}

/// Ends the resolution: the proxy has a target.
///
/// # Safety
///
/// Called inside `locked(proxy)`, attached to the interpreter.
pub(super) unsafe fn succeed(proxy: *mut ProxyObject) {
    let graph = graph();
    let mut state = graph.lock();
    let Some(number) = state.open.remove(&proxy.addr()) else {
        return;
    };
    if let Some(resolution) = state.resolutions.get_mut(&number) {
        resolution.resolved = true;
    }
    graph.changed.notify_all();
    let over = state.close_if_over(number);
    drop(state);
    // SAFETY: promised by the caller.
    unsafe { release(over) };
}

/// Takes `me`, whose call raised `error` (null if not to be shared), from the runners; the runner to
/// note in the proxy.
///
/// # Safety
///
/// Called inside `locked(proxy)`, attached to the interpreter.
pub(super) unsafe fn fail(proxy: *mut ProxyObject, me: Runner, error: *mut PyObject) -> Runner {
    let graph = graph();
    let mut state = graph.lock();
    let Some(number) = state.open.get(&proxy.addr()).copied() else {
        return Runner::NOBODY;
    };
    let Some(resolution) = state.resolutions.get_mut(&number) else {
        return Runner::NOBODY;
    };
    let position = resolution
        .runners
        .iter()
        .rposition(|run| run.runner.is_same(me));
    let began = position.map_or(0, |position| resolution.runners.remove(position).began);
    if let Some(left) = resolution.runners.last() {
        return left.runner.contended();
    }
    let failure = (!error.is_null()).then(|| Failure {
        // SAFETY: the caller is attached and `error` is valid.
        error: unsafe { own(error) },
        began,
    });
    let last = std::mem::replace(&mut resolution.failure, failure);
    let runner = if resolution.waiters == 0 {
        Runner::NOBODY
    } else {
        // Whoever comes before a waiter wakes up joins this resolution.
        Runner::NOBODY.contended()
    };
    graph.changed.notify_all();
    let over = state.close_if_over(number);
    drop(state);
    // SAFETY: promised by the caller.
    unsafe {
        release(last);
        release(over);
    }
    runner
}

/// Waits until the resolution is decided, or until there is no more sense in waiting.
///
/// # Safety
///
/// `proxy` is kept alive by the caller, who is attached to the interpreter.
pub(super) unsafe fn wait(proxy: *mut ProxyObject, me: Runner, wait: Wait) -> Turn {
    let graph = graph();
    // SAFETY: promised by the caller.
    let mut patience = Patience::new(unsafe { importing::is_importing() });
    let first = rustix::process::getpid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
        == me.thread;
    let ask = if first {
        POLL_INTERVAL
    } else {
        SIGNAL_INTERVAL
    };
    loop {
        // SAFETY: promised by the caller.
        let py = unsafe { Python::assume_attached() };
        let woken = py.detach(|| graph.sleep(wait, &mut patience, ask));
        // SAFETY: promised by the caller.
        unsafe {
            match woken {
                Woken::Decided => return graph.leave(wait, me),
                Woken::Needed => {
                    if locked(proxy, || graph.take_over(proxy, me, wait, &patience)) {
                        return Turn::Run;
                    }
                }
                Woken::Signals => {
                    if ffi::PyErr_CheckSignals() != 0 {
                        if let Turn::Failed(error) = graph.leave(wait, me) {
                            disown(error);
                        }
                        return Turn::Interrupted;
                    }
                }
            }
        }
    }
}

/// The graph of this process. A parent's graph is left to the parent.
fn graph() -> &'static WaitGraph {
    static GRAPH: AtomicPtr<WaitGraph> = AtomicPtr::new(ptr::null_mut());

    let generation = generation();
    let mut current = GRAPH.load(Ordering::Acquire);
    loop {
        // SAFETY: a graph that was ever published here is never freed.
        if let Some(graph) = unsafe { current.as_ref() }
            && graph.generation == generation
        {
            return graph;
        }
        let fresh = Box::into_raw(Box::new(WaitGraph {
            generation,
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        match GRAPH.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => current = fresh,
            Err(published) => {
                // SAFETY: made above and never published.
                drop(unsafe { Box::from_raw(fresh) });
                current = published;
            }
        }
    }
}

impl WaitGraph {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, detached from the interpreter.
    fn sleep(&self, wait: Wait, patience: &mut Patience, ask: Duration) -> Woken {
        let asleep = Instant::now();
        let mut state = self.lock();
        loop {
            let runner = match state.look(wait) {
                Ok(runner) => runner,
                Err(woken) => return woken,
            };
            drop(state);
            let exhausted = patience.is_exhausted_by(runner);
            state = self.lock();
            // What happened while the lock was free is seen before sleeping.
            if let Err(woken) = state.look(wait) {
                return woken;
            }
            if exhausted {
                return Woken::Needed;
            }
            if asleep.elapsed() >= ask {
                return Woken::Signals;
            }
            state = self
                .changed
                .wait_timeout(state, patience.poll_interval())
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Makes a waiter a runner, unless it need not be one any more.
    fn take_over(
        &self,
        proxy: *mut ProxyObject,
        me: Runner,
        wait: Wait,
        patience: &Patience,
    ) -> bool {
        let mut state = self.lock();
        let needed = match state.look(wait) {
            Ok(runner) => patience.watched == Some(runner),
            Err(Woken::Needed) => true,
            Err(_) => false,
        };
        if needed {
            state.add_runner(wait.resolution, me);
            state.end_wait(wait, me);
            // SAFETY: called inside `locked(proxy)`; an open resolution means an unresolved proxy.
            unsafe { (*proxy).runner = me.contended() };
        }
        needed
    }

    /// Takes a waiter out of the graph.
    ///
    /// # Safety
    ///
    /// The caller is attached to the interpreter.
    unsafe fn leave(&self, wait: Wait, me: Runner) -> Turn {
        let mut state = self.lock();
        state.end_wait(wait, me);
        let resolution = state.resolutions.get(&wait.resolution);
        let turn = match resolution.and_then(|resolution| resolution.failure_for(wait)) {
            // SAFETY: attached, as the caller promises; the resolution owns a reference.
            Some(failure) => Turn::Failed(unsafe { own(failure.error) }),
            None => Turn::Again,
        };
        let over = state.close_if_over(wait.resolution);
        drop(state);
        // SAFETY: promised by the caller.
        unsafe { release(over) };
        turn
    }
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Whom a waiter waits for, in the end: the thread, and when its call began. An error if it need
    /// not wait.
    fn look(&self, wait: Wait) -> Result<(u32, u64), Woken> {
        let resolution = self
            .resolutions
            .get(&wait.resolution)
            .ok_or(Woken::Decided)?;
        if resolution.resolved || resolution.failure_for(wait).is_some() {
            return Err(Woken::Decided);
        }
        let run = resolution.runners.last().ok_or(Woken::Needed)?;
        let last = self.chain(run).last().unwrap_or(run);
        Ok((last.runner.thread, last.began))
    }

    /// The call itself, the one that its thread waits for, the one that that one's waits for...
    fn chain<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a Run> {
        // What ends this is that there are no cycles; the bound is for a thread that two greenlets
        // of it, or a signal handler, make wait for its own call.
        iter::successors(Some(run), |run| {
            let resolution = self.waits.get(&run.runner.thread)?;
            self.resolutions.get(resolution)?.runners.last()
        })
        .take(self.waits.len() + 1)
    }

    /// Takes a thread out of the waiters.
    fn end_wait(&mut self, wait: Wait, me: Runner) {
        match wait.outer {
            Some(outer) => self.waits.insert(me.thread, outer),
            None => self.waits.remove(&me.thread),
        };
        if let Some(resolution) = self.resolutions.get_mut(&wait.resolution) {
            resolution.waiters -= 1;
        }
    }

    /// The open resolution of the proxy, made from its runner if there is none.
    ///
    /// # Safety
    ///
    /// Called inside `locked(proxy)`.
    unsafe fn resolution(&mut self, proxy: *mut ProxyObject) -> u64 {
        if let Some(number) = self.open.get(&proxy.addr()) {
            return *number;
        }
        // SAFETY: promised by the caller.
        let runner = unsafe {
            (*proxy).runner.contended = true;
            (*proxy).runner
        };
        let number = self.tick();
        self.open.insert(proxy.addr(), number);
        let runners = if runner.is_nobody() {
            Vec::new()
        } else {
            vec![Run { runner, began: 0 }]
        };
        self.resolutions.insert(
            number,
            Resolution {
                proxy: proxy.addr(),
                runners,
                waiters: 0,
                resolved: false,
                failure: None,
            },
        );
        number
    }

    fn add_runner(&mut self, resolution: u64, runner: Runner) {
        let began = self.tick();
        if let Some(resolution) = self.resolutions.get_mut(&resolution) {
            resolution.runners.push(Run { runner, began });
        }
    }

    /// Forgets a resolution that nobody waits for any more, once it is resolved or has no runner; the
    /// failure that it leaves behind.
    fn close_if_over(&mut self, number: u64) -> Option<Failure> {
        let resolution = self.resolutions.get(&number)?;
        if resolution.waiters > 0 || !(resolution.resolved || resolution.runners.is_empty()) {
            return None;
        }
        let resolution = self.resolutions.remove(&number)?;
        if !resolution.resolved {
            self.open.remove(&resolution.proxy);
        }
        resolution.failure
    }

    /// Whether the newest call of `resolution` waits, over however many others, for one of `me`.
    fn would_close_a_cycle(&self, resolution: u64, me: Runner) -> bool {
        self.resolutions
            .get(&resolution)
            .and_then(|resolution| resolution.runners.last())
            .is_some_and(|run| self.chain(run).any(|run| run.runner.is_same_thread(me)))
    }
}

impl Resolution {
    /// The failure of a call that began after the waiter came.
    fn failure_for(&self, wait: Wait) -> Option<Failure> {
        self.failure.filter(|failure| failure.began > wait.came)
    }
}

/// Drops the reference of a failure that is out of the graph.
///
/// # Safety
///
/// The caller is attached to the interpreter and holds no lock.
unsafe fn release(failure: Option<Failure>) {
    if let Some(failure) = failure {
        // SAFETY: promised by the caller.
        unsafe { disown(failure.error) };
    }
}

/// How long a waiter still waits for the call that runs.
struct Patience {
    importing: bool,
    /// The call that is being watched, and since when.
    watched: Option<(u32, u64)>,
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
            watched: None,
            since: now,
            active: now,
            activity: None,
            next: now,
        }
    }

    fn poll_interval(&self) -> Duration {
        if self.importing {
            IMPORTING / 5
        } else {
            POLL_INTERVAL
        }
    }

    fn is_exhausted_by(&mut self, runner: (u32, u64)) -> bool {
        let now = Instant::now();
        if self.watched != Some(runner) {
            *self = Self {
                watched: Some(runner),
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
        self.next = now + POLL_INTERVAL;
        let (thread, _) = runner;
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
