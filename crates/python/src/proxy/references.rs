//! Counting references.
//!
//! Under the limited API of Python 3.11 the count is a plain field that extensions change in place,
//! and newer interpreters keep to that for extensions built so, immortal objects included. A call
//! into the interpreter instead would be a tenth of what a forwarded operation costs.

use pyo3::ffi::{self, PyObject};

/// Takes a reference, if there is an object.
///
/// # Safety
///
/// `object` is null or a valid object and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn own(object: *mut PyObject) -> *mut PyObject {
    if !object.is_null() {
        // SAFETY: promised by the caller.
        unsafe { increment(object) };
    }
    object
}

/// Gives up a reference, if there is an object.
///
/// # Safety
///
/// `object` is null or an owned reference and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn disown(object: *mut PyObject) {
    if !object.is_null() {
        // SAFETY: promised by the caller.
        unsafe { decrement(object) };
    }
}

/// Takes a reference.
///
/// # Safety
///
/// `object` is a valid object and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn increment(object: *mut PyObject) {
    // SAFETY: promised by the caller; the GIL guards the count.
    #[cfg(all(Py_LIMITED_API, not(Py_3_12), not(Py_GIL_DISABLED)))]
    unsafe {
        (*object).ob_refcnt += 1;
    }
    // SAFETY: promised by the caller.
    #[cfg(not(all(Py_LIMITED_API, not(Py_3_12), not(Py_GIL_DISABLED))))]
    unsafe {
        ffi::Py_INCREF(object);
    }
}

/// Gives up a reference.
///
/// # Safety
///
/// `object` is an owned reference and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn decrement(object: *mut PyObject) {
    // SAFETY: promised by the caller; the GIL guards the count.
    #[cfg(all(Py_LIMITED_API, not(Py_3_12), not(Py_GIL_DISABLED)))]
    unsafe {
        if (*object).ob_refcnt > 1 {
            (*object).ob_refcnt -= 1;
            return;
        }
    }
    // SAFETY: promised by the caller.
    unsafe { ffi::Py_DECREF(object) };
}
