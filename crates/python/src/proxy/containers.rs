//! Containers, iterators and calls.

use std::{ffi::c_int, ptr};

use pyo3::ffi::{self, Py_ssize_t, PyObject};

use super::{layout::enter, protocols::type_error, references::decrement};

/// `mp_length`, `sq_length`.
pub(super) unsafe extern "C-unwind" fn length(this: *mut PyObject) -> Py_ssize_t {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return -1;
        }
        let length = ffi::PyObject_Size(target.object);
        target.leave();
        length
    }
}

/// `mp_subscript`.
pub(super) unsafe extern "C-unwind" fn item(
    this: *mut PyObject,
    key: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy and a valid object.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let item = ffi::PyObject_GetItem(target.object, key);
        target.leave();
        item
    }
}

/// `mp_ass_subscript`; a null value deletes.
pub(super) unsafe extern "C-unwind" fn set_item(
    this: *mut PyObject,
    key: *mut PyObject,
    value: *mut PyObject,
) -> c_int {
    // SAFETY: the interpreter calls this slot with a proxy, a valid object, and one or null.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return -1;
        }
        let status = if value.is_null() {
            ffi::PyObject_DelItem(target.object, key)
        } else {
            ffi::PyObject_SetItem(target.object, key, value)
        };
        target.leave();
        status
    }
}

/// `sq_item`: what `bisect` and others in C index by. Negative indices come here with the length
/// already added, which `sq_length` makes the interpreter do.
pub(super) unsafe extern "C-unwind" fn sequence_item(
    this: *mut PyObject,
    index: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let key = ffi::PyLong_FromSsize_t(index);
        if key.is_null() {
            return ptr::null_mut();
        }
        let result = item(this, key);
        decrement(key);
        result
    }
}

/// `sq_ass_item`.
pub(super) unsafe extern "C-unwind" fn set_sequence_item(
    this: *mut PyObject,
    index: Py_ssize_t,
    value: *mut PyObject,
) -> c_int {
    // SAFETY: the interpreter calls this slot with a proxy and a valid object or null.
    unsafe {
        let key = ffi::PyLong_FromSsize_t(index);
        if key.is_null() {
            return -1;
        }
        let status = set_item(this, key, value);
        decrement(key);
        status
    }
}

/// `sq_contains`.
pub(super) unsafe extern "C-unwind" fn contains(
    this: *mut PyObject,
    value: *mut PyObject,
) -> c_int {
    // SAFETY: the interpreter calls this slot with a proxy and a valid object.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return -1;
        }
        let found = ffi::PySequence_Contains(target.object, value);
        target.leave();
        found
    }
}

/// `tp_iter`.
pub(super) unsafe extern "C-unwind" fn iterate(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let iterator = ffi::PyObject_GetIter(target.object);
        target.leave();
        iterator
    }
}

/// `tp_iternext`. The target's slot is called directly: `PyIter_Next` would lose the value that a
/// generator returns.
pub(super) unsafe extern "C-unwind" fn next(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let class = ffi::Py_TYPE(target.object);
        let item = if ffi::PyIter_Check(target.object) == 0 {
            type_error(c"'%U' object is not an iterator", target.object)
        } else {
            let slot = ffi::PyType_GetSlot(class, ffi::Py_tp_iternext);
            let slot: Option<ffi::iternextfunc> = std::mem::transmute(slot);
            slot.map_or(ptr::null_mut(), |next| next(target.object))
        };
        target.leave();
        item
    }
}

/// `tp_call`.
pub(super) unsafe extern "C-unwind" fn call(
    this: *mut PyObject,
    arguments: *mut PyObject,
    keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy, a tuple, and a dictionary or null.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let result = ffi::PyObject_Call(target.object, arguments, keywords);
        target.leave();
        result
    }
}
