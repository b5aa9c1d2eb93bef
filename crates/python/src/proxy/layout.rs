//! What a proxy is in memory, and how its target is reached.

use std::{
    ffi::c_int,
    mem::offset_of,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use pyo3::{
    Bound, PyAny, Python,
    ffi::{self, PyObject, PyTypeObject},
    sync::critical_section::with_critical_section,
};

use super::{
    globals::{BASE, CLASS},
    references::{decrement, disown, own},
    resolving::{self, Runner},
};

/// A proxy. Python subclasses append their own slots behind it.
///
/// The four slots are member descriptors too, so anybody may replace or delete them at any time: a
/// pointer read from here is owned before anything else runs.
#[repr(C)]
pub(super) struct ProxyObject {
    head: PyObject,
    pub(super) factory: *mut PyObject,
    /// Null until resolved.
    pub(super) target: *mut PyObject,
    /// Null stands for None, here and in `default_hash`.
    pub(super) default_class: *mut PyObject,
    pub(super) default_hash: *mut PyObject,
    pub(super) weak_references: *mut PyObject,
    /// Who calls the factory now; read and written only inside [`locked`].
    pub(super) runner: Runner,
    /// The address of the target that was last found to be no proxy itself. Calls through such a
    /// target need no check against endless recursion. (A chain of proxies whose every link goes
    /// unchecked because an address was used again cannot be closed to a cycle: each link is
    /// younger than the proxy that leads to it.)
    plain: AtomicUsize,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a few words"
)]
pub(super) const SIZE: c_int = size_of::<ProxyObject>() as c_int;

/// Byte offsets for the member descriptors.
pub(super) const FACTORY: usize = offset_of!(ProxyObject, factory);
pub(super) const TARGET: usize = offset_of!(ProxyObject, target);
pub(super) const DEFAULT_CLASS: usize = offset_of!(ProxyObject, default_class);
pub(super) const DEFAULT_HASH: usize = offset_of!(ProxyObject, default_hash);
pub(super) const WEAK_REFERENCES: usize = offset_of!(ProxyObject, weak_references);

/// An object to forward an operation to: the target of a proxy, or an operand that is no proxy.
///
/// Not released by a destructor: a thread that is killed at interpreter exit unwinds through the
/// slots, and must neither run Python code nor abort on its way.
#[must_use]
pub(super) struct Entered {
    /// Null if an exception is set.
    pub(super) object: *mut PyObject,
    hold: Hold,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The caller's reference is enough.
    Borrowed,
    Owned,
    /// Owned, and counted as a level of recursion.
    Guarded,
}

impl Entered {
    pub(super) const FAILED: Self = Self {
        object: ptr::null_mut(),
        hold: Hold::Borrowed,
    };

    #[inline]
    pub(super) fn failed(&self) -> bool {
        self.object.is_null()
    }

    /// Gives back what entering took.
    ///
    /// # Safety
    ///
    /// The caller is attached to the interpreter.
    #[inline]
    pub(super) unsafe fn leave(self) {
        if self.hold == Hold::Borrowed {
            return;
        }
        // SAFETY: `enter` took this reference and this level of recursion.
        unsafe {
            if self.hold == Hold::Guarded {
                ffi::Py_LeaveRecursiveCall();
            }
            decrement(self.object);
        }
    }
}

/// Whether `object` is a proxy, of whatever subclass.
///
/// # Safety
///
/// `object` is a valid object and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn is_proxy(object: *mut PyObject) -> bool {
    // SAFETY: promised by the caller; a class is a valid object.
    unsafe {
        let class = ffi::Py_TYPE(object);
        if class == CLASS.class() {
            return true;
        }
        is_proxy_class(class)
    }
}

/// Whether `class` is the class of proxies. What has no metaclass is none, which is the case of
/// most operands and quickly told; the constructor sees to it that proxies have one.
///
/// # Safety
///
/// `class` is a valid class and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn is_proxy_class(class: *mut PyTypeObject) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        ffi::Py_TYPE(class.cast()) != &raw mut ffi::PyType_Type
            && ffi::PyType_IsSubtype(class, BASE.class()) != 0
    }
}

/// The target of the proxy `this`, resolved if need be.
///
/// # Safety
///
/// `this` is a proxy and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn enter(this: *mut PyObject) -> Entered {
    // SAFETY: promised by the caller.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        let mut target = resolved(proxy);
        if target.is_null() {
            target = resolving::resolve(proxy);
            if target.is_null() {
                return Entered::FAILED;
            }
        }
        if (*proxy).plain.load(Ordering::Relaxed) == target.addr() {
            return Entered {
                object: target,
                hold: Hold::Owned,
            };
        }
        enter_unknown(proxy, target)
    }
}

/// Enters a target that may be a proxy itself, even this one.
#[cold]
unsafe fn enter_unknown(proxy: *mut ProxyObject, target: *mut PyObject) -> Entered {
    // SAFETY: promised by the caller of `enter`; `target` is an owned reference.
    unsafe {
        if !is_proxy(target) {
            (*proxy).plain.store(target.addr(), Ordering::Relaxed);
            return Entered {
                object: target,
                hold: Hold::Owned,
            };
        }
        if ffi::Py_EnterRecursiveCall(c" in a proxy of a proxy".as_ptr()) != 0 {
            decrement(target);
            return Entered::FAILED;
        }
        Entered {
            object: target,
            hold: Hold::Guarded,
        }
    }
}

/// What to operate on in place of `object`: the target if it is a proxy, else the object itself.
///
/// # Safety
///
/// `object` is a valid object and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn operand(object: *mut PyObject) -> Entered {
    // SAFETY: promised by the caller.
    unsafe {
        if is_proxy(object) {
            return enter(object);
        }
    }
    Entered {
        object,
        hold: Hold::Borrowed,
    }
}

/// A new reference to the target, or null (with no exception set) if there is none yet.
///
/// # Safety
///
/// `proxy` is a proxy and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn resolved(proxy: *mut ProxyObject) -> *mut PyObject {
    // SAFETY: promised by the caller; nothing can replace the pointer before it is owned.
    unsafe { locked(proxy, || own((*proxy).target)) }
}

/// Puts `value` (owned or null) into a slot and drops what was there.
///
/// # Safety
///
/// `slot` points into the proxy; `value` is null or an owned reference; the caller is attached to
/// the interpreter.
pub(super) unsafe fn replace(
    proxy: *mut ProxyObject,
    slot: *mut *mut PyObject,
    value: *mut PyObject,
) {
    // SAFETY: promised by the caller. The old value goes last, as that may run Python code.
    unsafe {
        let old = locked(proxy, || ptr::replace(slot, value));
        disown(old);
    }
}

/// Runs `action` while no other thread reads or writes the slots of this proxy: free where there is
/// a GIL, a critical section where there is none. Member descriptors take the same section.
///
/// `action` must not run Python code.
///
/// # Safety
///
/// `proxy` is a proxy and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn locked<R>(proxy: *mut ProxyObject, action: impl FnOnce() -> R) -> R {
    let object = proxy.cast::<PyObject>();
    // SAFETY: promised by the caller; the reference lives as long as this call.
    let bound: &Bound<'_, PyAny> =
        unsafe { Bound::ref_from_ptr(Python::assume_attached(), &object) };
    with_critical_section(bound, action)
}
