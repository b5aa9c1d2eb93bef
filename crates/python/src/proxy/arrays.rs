//! What numpy asks of objects that it does not know: universal functions and the array structure.
//!
//! An array or an array scalar on the left of an operator never asks a reflected method of ours: it
//! would take a proxy for an opaque object and compute object by object. It does ask
//! `__array_ufunc__`, so that is where proxies among the operands are unwrapped.

use std::ptr;

use pyo3::ffi::{self, Py_ssize_t, PyObject};

use super::{
    globals::Name,
    layout::{enter, operand},
    references::{decrement, disown, own},
};

/// `__array_ufunc__(ufunc, method, *inputs, **kwargs)`: the same call, on the targets.
pub(super) unsafe extern "C-unwind" fn universal_function(
    _this: *mut PyObject,
    arguments: *mut PyObject,
    keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the method's descriptor checks that `this` is a proxy; the interpreter brings a tuple,
    // and a dictionary or null.
    unsafe {
        let count = ffi::PyTuple_Size(arguments);
        if count < 2 {
            return ffi::PyErr_Format(
                ffi::PyExc_TypeError,
                c"__array_ufunc__() takes at least 2 arguments (%zd given)".as_ptr(),
                count,
            );
        }
        let function = ffi::PyObject_GetAttr(
            ffi::PyTuple_GetItem(arguments, 0),
            ffi::PyTuple_GetItem(arguments, 1),
        );
        if function.is_null() {
            return ptr::null_mut();
        }
        let inputs = unwrapped(arguments, 2);
        let result = if inputs.is_null() || !unwrap_output(keywords) {
            ptr::null_mut()
        } else {
            ffi::PyObject_Call(function, inputs, keywords)
        };
        disown(inputs);
        decrement(function);
        result
    }
}

/// Unwraps the proxies in the tuple `out`; numpy makes the dictionary for this call alone.
unsafe fn unwrap_output(keywords: *mut PyObject) -> bool {
    static OUT: Name = Name::new(c"out");

    if keywords.is_null() {
        return true;
    }
    // SAFETY: promised by `universal_function`.
    unsafe {
        let out = ffi::PyDict_GetItemWithError(keywords, OUT.object());
        if out.is_null() || ffi::PyTuple_Check(out) == 0 {
            return ffi::PyErr_Occurred().is_null();
        }
        let outputs = unwrapped(out, 0);
        if outputs.is_null() {
            return false;
        }
        let status = ffi::PyDict_SetItem(keywords, OUT.object(), outputs);
        decrement(outputs);
        status == 0
    }
}

/// A new tuple of what is in `tuple` from `first` on, with targets in place of proxies.
unsafe fn unwrapped(tuple: *mut PyObject, first: Py_ssize_t) -> *mut PyObject {
    // SAFETY: `tuple` is a tuple of at least `first` objects, as the callers promise; setting an
    // item of the new one uses the reference up.
    unsafe {
        let count = ffi::PyTuple_Size(tuple);
        let result = ffi::PyTuple_New(count - first);
        if result.is_null() {
            return ptr::null_mut();
        }
        for position in first..count {
            let item = operand(ffi::PyTuple_GetItem(tuple, position));
            if item.failed() {
                decrement(result);
                return ptr::null_mut();
            }
            let object = own(item.object);
            item.leave();
            if ffi::PyTuple_SetItem(result, position - first, object) != 0 {
                decrement(result);
                return ptr::null_mut();
            }
        }
        result
    }
}

/// `__array_struct__` of the target, unless the target holds dates or durations: the structure has no
/// place for their unit, so numpy would take hours for days. Without it numpy asks for
/// `__array_interface__`, which has.
///
/// # Safety
///
/// `this` is a proxy, `name` that attribute's name, and the caller is attached to the interpreter.
pub(super) unsafe fn structure(this: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: promised by the caller.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let value = if holds_times(target.object) {
            ffi::PyErr_SetObject(ffi::PyExc_AttributeError, name);
            ptr::null_mut()
        } else {
            ffi::PyObject_GetAttr(target.object, name)
        };
        target.leave();
        value
    }
}

unsafe fn holds_times(array: *mut PyObject) -> bool {
    static TYPE: Name = Name::new(c"dtype");
    static KIND: Name = Name::new(c"kind");

    // SAFETY: a valid object, as the caller promises; every reference is used up once.
    unsafe {
        let class = ffi::PyObject_GetAttr(array, TYPE.object());
        let kind = if class.is_null() {
            class
        } else {
            let kind = ffi::PyObject_GetAttr(class, KIND.object());
            decrement(class);
            kind
        };
        if kind.is_null() {
            ffi::PyErr_Clear();
            return false;
        }
        let times = ffi::PyUnicode_Check(kind) != 0
            && [c"m", c"M"]
                .iter()
                .any(|letter| ffi::PyUnicode_CompareWithASCIIString(kind, letter.as_ptr()) == 0);
        decrement(kind);
        times
    }
}
