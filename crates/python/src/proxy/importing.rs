//! Whether this thread is in the middle of an import, and so holds the lock of a module.

use std::ptr;

use pyo3::ffi::{self, PyObject};

use super::{
    globals::Name,
    references::{decrement, disown},
};

/// The file name in the code of the frozen import machinery.
const MACHINERY: &[u8] = b"<frozen importlib._bootstrap>";

/// Looks for the import machinery on this thread's stack of Python frames.
///
/// # Safety
///
/// The caller is attached to the interpreter.
pub(super) unsafe fn is_importing() -> bool {
    static SYS: Name = Name::new(c"sys");
    static CURRENT_FRAME: Name = Name::new(c"_getframe");
    static CALLER: Name = Name::new(c"f_back");

    // SAFETY: attached, as the caller promises; every reference is used up once.
    unsafe {
        let mut sys = ptr::null_mut();
        let modules = ffi::PyImport_GetModuleDict();
        if ffi::compat::PyDict_GetItemRef(modules, SYS.object(), &raw mut sys) <= 0 {
            ffi::PyErr_Clear();
            return false;
        }
        let function = ffi::PyObject_GetAttr(sys, CURRENT_FRAME.object());
        decrement(sys);
        let mut frame = if function.is_null() {
            function
        } else {
            let frame = ffi::PyObject_CallNoArgs(function);
            decrement(function);
            frame
        };
        while !frame.is_null() && ffi::Py_IsNone(frame) == 0 {
            if runs_machinery(frame) {
                decrement(frame);
                return true;
            }
            let caller = ffi::PyObject_GetAttr(frame, CALLER.object());
            decrement(frame);
            frame = caller;
        }
        disown(frame);
        // A thread without Python frames cannot have begun an import in Python.
        ffi::PyErr_Clear();
        false
    }
}

unsafe fn runs_machinery(frame: *mut PyObject) -> bool {
    static CODE: Name = Name::new(c"f_code");
    static FILE: Name = Name::new(c"co_filename");

    // SAFETY: attached, as the caller of `is_importing` promises; `frame` is a valid object.
    unsafe {
        let code = ffi::PyObject_GetAttr(frame, CODE.object());
        if code.is_null() {
            return false;
        }
        let file = ffi::PyObject_GetAttr(code, FILE.object());
        decrement(code);
        if file.is_null() {
            return false;
        }
        let mut length = 0;
        let text = ffi::PyUnicode_AsUTF8AndSize(file, &raw mut length);
        let found = !text.is_null()
            && usize::try_from(length) == Ok(MACHINERY.len())
            && std::slice::from_raw_parts(text.cast::<u8>(), MACHINERY.len()) == MACHINERY;
        decrement(file);
        found
    }
}
