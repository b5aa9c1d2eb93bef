//! The exception that is set, taken and put back as one object.

use pyo3::ffi::{self, PyObject};

#[cfg(not(Py_3_12))]
use super::references::{disown, own};

/// The exception that is set, as an owned reference; none is set afterwards.
///
/// # Safety
///
/// An exception is set, and the caller is attached to the interpreter.
pub(super) unsafe fn take_raised() -> *mut PyObject {
    // SAFETY: promised by the caller.
    #[cfg(Py_3_12)]
    unsafe {
        ffi::PyErr_GetRaisedException()
    }
    #[cfg(not(Py_3_12))]
    {
        let mut class = std::ptr::null_mut();
        let mut value = std::ptr::null_mut();
        let mut traceback = std::ptr::null_mut();
        // SAFETY: promised by the caller; every reference is used up once.
        unsafe {
            ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut traceback);
            ffi::PyErr_NormalizeException(&raw mut class, &raw mut value, &raw mut traceback);
            if !traceback.is_null() {
                ffi::PyException_SetTraceback(value, traceback);
            }
            disown(class);
            disown(traceback);
        }
        value
    }
}

/// Sets `error`, an owned reference, as it is: its context and traceback stay its own.
///
/// # Safety
///
/// `error` is an exception, and the caller is attached to the interpreter.
pub(super) unsafe fn raise(error: *mut PyObject) {
    // SAFETY: promised by the caller.
    #[cfg(Py_3_12)]
    unsafe {
        ffi::PyErr_SetRaisedException(error);
    }
    // SAFETY: promised by the caller; an exception's class lives as long as it does.
    #[cfg(not(Py_3_12))]
    unsafe {
        let class = ffi::Py_TYPE(error).cast::<PyObject>();
        ffi::PyErr_Restore(own(class), error, ffi::PyException_GetTraceback(error));
    }
}
