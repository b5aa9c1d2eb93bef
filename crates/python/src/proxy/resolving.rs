//! The first touch: who calls the factory, and what becomes of its result.

use std::{cell::Cell, ptr};

use proxystore_fork::generation;
use pyo3::ffi::{self, PyObject};

use super::{
    exceptions::{raise, take_raised},
    globals::{Name, RESOLVE_ERROR},
    layout::{ProxyObject, locked},
    references::{decrement, disown, increment, own},
    waiting::{self, Turn, Wait},
};

/// A thread that calls a factory, as other threads and later processes can recognise it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Runner {
    /// The process: a runner of another generation died in a fork. Zero: nobody.
    generation: u64,
    /// The address of the greenlet, or zero where there are none.
    greenlet: usize,
    pub(super) thread: u32,
    /// Whether the wait graph has an entry for this proxy, which must be told of the end.
    pub(super) contended: bool,
}

impl Runner {
    pub(super) const NOBODY: Self = Self {
        generation: 0,
        greenlet: 0,
        thread: 0,
        contended: false,
    };

    /// This thread and greenlet.
    ///
    /// # Safety
    ///
    /// The caller is attached to the interpreter.
    unsafe fn current() -> Self {
        let generation = generation();
        Self {
            generation,
            // SAFETY: attached, as the caller promises.
            greenlet: unsafe { greenlet() },
            thread: thread(generation),
            contended: false,
        }
    }

    fn is_alive(self, now: Self) -> bool {
        self.generation == now.generation
    }

    pub(super) fn is_same_thread(self, other: Self) -> bool {
        self.generation == other.generation && self.thread == other.thread
    }

    pub(super) fn is_same(self, other: Self) -> bool {
        self.is_same_thread(other) && self.greenlet == other.greenlet
    }

    pub(super) fn is_nobody(self) -> bool {
        self.generation == 0
    }

    pub(super) fn contended(self) -> Self {
        Self {
            contended: true,
            ..self
        }
    }
}

/// What a thread that finds a proxy unresolved has to do.
enum Begin {
    Resolved(*mut PyObject),
    Run,
    /// This thread is already inside the factory.
    Reentered,
    Wait(Wait),
}

/// Resolves the proxy; a new reference to its target, or null with an exception set.
///
/// # Safety
///
/// `proxy` is a proxy that the caller keeps alive; the caller is attached to the interpreter.
#[cold]
#[inline(never)]
pub(super) unsafe fn resolve(proxy: *mut ProxyObject) -> *mut PyObject {
    // SAFETY: promised by the caller.
    unsafe {
        let me = Runner::current();
        loop {
            let wait = match begin(proxy, me) {
                Begin::Resolved(target) => return target,
                Begin::Run => return run(proxy, me),
                Begin::Reentered => return reentered(),
                Begin::Wait(wait) => wait,
            };
            match waiting::wait(proxy, me, wait) {
                Turn::Again => {}
                Turn::Run => return run(proxy, me),
                Turn::Failed(cause) => return failed(cause),
                Turn::Interrupted => return ptr::null_mut(),
            }
        }
    }
}

unsafe fn begin(proxy: *mut ProxyObject, me: Runner) -> Begin {
    // SAFETY: promised by the caller of `resolve`; nothing in the section runs Python code.
    unsafe {
        locked(proxy, || {
            if !(*proxy).target.is_null() {
                return Begin::Resolved(own((*proxy).target));
            }
            let runner = (*proxy).runner;
            if !runner.is_alive(me) {
                if runner.contended {
                    (*proxy).runner = Runner::NOBODY;
                    waiting::join_runners(proxy, me);
                } else {
                    (*proxy).runner = me;
                }
                return Begin::Run;
            }
            if runner.is_same(me) || (runner.contended && waiting::is_running(proxy, me)) {
                return Begin::Reentered;
            }
            if runner.is_same_thread(me) {
                // Another greenlet of this thread, which can only go on when this one does.
                waiting::join_runners(proxy, me);
                return Begin::Run;
            }
            match waiting::join(proxy, me) {
                Some(wait) => Begin::Wait(wait),
                None => Begin::Run,
            }
        })
    }
}

/// Calls the factory on behalf of `me`, who is already registered.
unsafe fn run(proxy: *mut ProxyObject, me: Runner) -> *mut PyObject {
    // SAFETY: promised by the caller of `resolve`.
    unsafe {
        let factory = locked(proxy, || own((*proxy).factory));
        let result = if factory.is_null() {
            ffi::PyErr_SetString(
                ffi::PyExc_AttributeError,
                c"the proxy has no factory: __proxy_factory__ is missing.".as_ptr(),
            );
            ptr::null_mut()
        } else {
            let result = ffi::PyObject_CallNoArgs(factory);
            decrement(factory);
            result
        };
        if result.is_null() {
            return finish_failed(proxy, me);
        }
        finish(proxy, me, result)
    }
}

/// Ends a call of the factory that gave `result`. The first result wins.
unsafe fn finish(proxy: *mut ProxyObject, me: Runner, result: *mut PyObject) -> *mut PyObject {
    // SAFETY: promised by the caller of `resolve`; `result` is an owned reference.
    unsafe {
        let (target, surplus) = locked(proxy, || {
            let surplus = if (*proxy).target.is_null() {
                (*proxy).target = result;
                ptr::null_mut()
            } else {
                result
            };
            if (*proxy).runner.contended {
                waiting::succeed(proxy);
                (*proxy).runner = Runner::NOBODY;
            } else if (*proxy).runner.is_same(me) {
                (*proxy).runner = Runner::NOBODY;
            }
            (own((*proxy).target), surplus)
        });
        disown(surplus);
        target
    }
}

/// Ends a call of the factory that raised.
unsafe fn finish_failed(proxy: *mut ProxyObject, me: Runner) -> *mut PyObject {
    // SAFETY: promised by the caller of `resolve`; an exception is set.
    unsafe {
        let error = take_raised();
        let ordinary = ffi::PyErr_GivenExceptionMatches(error, ffi::PyExc_Exception) != 0
            && !is_about_the_proxy(error);
        let target = locked(proxy, || {
            if (*proxy).runner.contended {
                (*proxy).runner =
                    waiting::fail(proxy, me, if ordinary { error } else { ptr::null_mut() });
            } else if (*proxy).runner.is_same(me) {
                (*proxy).runner = Runner::NOBODY;
            }
            own((*proxy).target)
        });
        if !ordinary {
            // An interrupt or an exit is not about the target: it goes on as it is.
            disown(target);
            raise(error);
            return ptr::null_mut();
        }
        if !target.is_null() {
            // Somebody else has set the target while the factory ran.
            decrement(error);
            return target;
        }
        failed(error)
    }
}

/// Whether the class of an exception says that it tells of the proxy itself, not of a failure to
/// get its target, and wants to be seen as it is.
unsafe fn is_about_the_proxy(error: *mut PyObject) -> bool {
    static ABOUT: Name = Name::new(c"__proxy_about_itself__");

    // SAFETY: attached, as the caller of `resolve` promises; `error` is a valid exception.
    unsafe { ffi::PyObject_HasAttr(ffi::Py_TYPE(error).cast(), ABOUT.object()) != 0 }
}

unsafe fn reentered() -> *mut PyObject {
    // SAFETY: attached, as the caller of `resolve` promises.
    unsafe {
        ffi::PyErr_SetString(
            ffi::PyExc_RecursionError,
            c"the factory of a proxy touched the proxy that it was resolving".as_ptr(),
        );
        failed(take_raised())
    }
}

/// Raises `ProxyResolveError` from `cause`, an owned reference.
unsafe fn failed(cause: *mut PyObject) -> *mut PyObject {
    // SAFETY: attached, as the caller of `resolve` promises; every reference is used up once.
    unsafe {
        // Cut off: proxies whose factories use proxies nest their messages.
        let mut message = ffi::PyUnicode_FromFormat(
            c"The factory of this proxy failed, so its target could not be resolved: %.300R"
                .as_ptr(),
            cause,
        );
        if message.is_null() {
            // The cause cannot even be shown.
            ffi::PyErr_Clear();
            message = ffi::PyUnicode_FromString(
                c"The factory of this proxy failed, so its target could not be resolved.".as_ptr(),
            );
        }
        let error = ffi::PyObject_CallFunctionObjArgs(
            RESOLVE_ERROR.object(),
            message,
            cause,
            ptr::null_mut::<PyObject>(),
        );
        disown(message);
        if error.is_null() {
            decrement(cause);
            return ptr::null_mut();
        }
        increment(cause);
        ffi::PyException_SetContext(error, cause);
        ffi::PyException_SetCause(error, cause);
        raise(error);
        ptr::null_mut()
    }
}

/// The address of the greenlet that runs, or zero if the process uses no greenlets.
unsafe fn greenlet() -> usize {
    static MODULE: Name = Name::new(c"greenlet");
    static CURRENT: Name = Name::new(c"getcurrent");
    // SAFETY: attached, as the caller of `resolve` promises. A module without the function, or one
    // that is still being imported, means that no greenlet has been made yet.
    unsafe {
        let mut module = ptr::null_mut();
        let modules = ffi::PyImport_GetModuleDict();
        if ffi::compat::PyDict_GetItemRef(modules, MODULE.object(), &raw mut module) <= 0 {
            ffi::PyErr_Clear();
            return 0;
        }
        let function = ffi::PyObject_GetAttr(module, CURRENT.object());
        decrement(module);
        let current = if function.is_null() {
            ptr::null_mut()
        } else {
            let current = ffi::PyObject_CallNoArgs(function);
            decrement(function);
            current
        };
        if current.is_null() {
            ffi::PyErr_Clear();
            return 0;
        }
        // The thread itself keeps the greenlet that runs alive.
        let address = current.addr();
        decrement(current);
        address
    }
}

/// The kernel's number of this thread.
fn thread(generation: u64) -> u32 {
    thread_local! {
        /// In a forked child the same thread has another number.
        static THREAD: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    }
    THREAD.with(|cached| {
        let (of, thread) = cached.get();
        if of == generation {
            return thread;
        }
        let thread = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .unsigned_abs();
        cached.set((generation, thread));
        thread
    })
}
