//! Python objects that the slots need at hand: classes, functions and names, set once and kept for
//! the life of the process.

use std::{
    ffi::CStr,
    ptr,
    sync::atomic::{AtomicI64, AtomicPtr, Ordering},
};

use pyo3::{
    exceptions::PyImportError,
    ffi::{self, PyObject, PyTypeObject},
    prelude::*,
};

/// The native base of every proxy class.
pub(super) static BASE: Global = Global::new();
/// The Python class `proxystore.proxy.Proxy`.
pub(super) static CLASS: Global = Global::new();
/// `proxystore.proxy.ProxyResolveError`.
pub(super) static RESOLVE_ERROR: Global = Global::new();
/// Iterates over a generator by `yield from`.
pub(super) static DELEGATE: Global = Global::new();
/// `proxystore.proxy._proxy_trampoline`.
pub(super) static TRAMPOLINE: Global = Global::new();

/// Gives everything here to the interpreter that is attached, if no other one has it.
///
/// # Errors
///
/// `ImportError` if another one has it: interpreters share no objects.
pub(super) fn claim(_attached: Python<'_>) -> PyResult<()> {
    const NOBODY: i64 = -1;
    static OWNER: AtomicI64 = AtomicI64::new(NOBODY);

    // SAFETY: attached.
    let this = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match OWNER.compare_exchange(NOBODY, this, Ordering::AcqRel, Ordering::Acquire) {
        Err(other) if other != this => Err(PyImportError::new_err(
            "another interpreter of this process has imported proxystore, which works in one of \
             them only",
        )),
        _ => Ok(()),
    }
}

/// An object that is kept for ever once it is set.
pub(super) struct Global(AtomicPtr<PyObject>);

impl Global {
    const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// A borrowed reference, or null if it has not been set.
    #[inline]
    pub(super) fn object(&self) -> *mut PyObject {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn class(&self) -> *mut PyTypeObject {
        self.object().cast()
    }

    /// Keeps `object`, which must be an owned reference.
    pub(super) fn set(&self, object: *mut PyObject) {
        self.0.store(object, Ordering::Release);
    }
}

/// An interned string, made on first use.
pub(super) struct Name {
    text: &'static CStr,
    object: AtomicPtr<PyObject>,
}

impl Name {
    pub(super) const fn new(text: &'static CStr) -> Self {
        Self {
            text,
            object: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// A borrowed reference, or null with an exception set.
    ///
    /// # Safety
    ///
    /// The caller is attached to the interpreter.
    #[inline]
    pub(super) unsafe fn object(&self) -> *mut PyObject {
        let object = self.object.load(Ordering::Relaxed);
        if !object.is_null() {
            return object;
        }
        // SAFETY: attached, as the caller promises; the text is a C string.
        let object = unsafe { ffi::PyUnicode_InternFromString(self.text.as_ptr()) };
        self.object.store(object, Ordering::Release);
        object
    }
}
