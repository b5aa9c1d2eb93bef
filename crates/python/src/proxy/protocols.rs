//! Context managers, coroutines, asynchronous iteration, and buffers.

use std::{
    ffi::{CStr, c_int},
    ptr,
};

use pyo3::ffi::{self, Py_buffer, PyObject};

use super::{
    globals::{DELEGATE, Name},
    layout::enter,
    references::{decrement, disown},
};

/// Flag of the code of a generator function that `types.coroutine` made awaitable.
const CO_ITERABLE_COROUTINE: i64 = 0x100;

macro_rules! managers {
    ($($method:ident => $name:literal, $complaint:literal;)*) => {$(
        pub(super) unsafe extern "C-unwind" fn $method(
            this: *mut PyObject,
            arguments: *mut PyObject,
        ) -> *mut PyObject {
            static NAME: Name = Name::new($name);

            // SAFETY: the method's descriptor checks that `this` is a proxy, and the interpreter
            // brings a tuple.
            unsafe {
                let target = enter(this);
                if target.failed() {
                    return ptr::null_mut();
                }
                // Only that the target is no manager is a TypeError; what its methods raise is not.
                let method = ffi::PyObject_GetAttr(target.object, NAME.object());
                let result = if !method.is_null() {
                    let result = ffi::PyObject_CallObject(method, arguments);
                    decrement(method);
                    result
                } else if ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) != 0 {
                    type_error($complaint, target.object)
                } else {
                    ptr::null_mut()
                };
                target.leave();
                result
            }
        }
    )*};
}

managers! {
    enter_context => c"__enter__", c"'%U' object does not support the context manager protocol";
    exit_context => c"__exit__", c"'%U' object does not support the context manager protocol";
    enter_async_context => c"__aenter__",
        c"'%U' object does not support the asynchronous context manager protocol";
    exit_async_context => c"__aexit__",
        c"'%U' object does not support the asynchronous context manager protocol";
}

/// `am_await`.
pub(super) unsafe extern "C-unwind" fn wait(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let iterator = match unary_slot(target.object, ffi::Py_am_await) {
            Some(wait) => wait(target.object),
            None => match is_generator_coroutine(target.object) {
                // The interpreter refuses the generator itself as the result of this slot.
                1 => ffi::PyObject_CallFunctionObjArgs(
                    DELEGATE.object(),
                    target.object,
                    ptr::null_mut::<PyObject>(),
                ),
                0 => type_error(
                    c"object %U can't be used in 'await' expression",
                    target.object,
                ),
                _ => ptr::null_mut(),
            },
        };
        target.leave();
        iterator
    }
}

/// Whether the object is a generator that may be awaited; -1 with an exception set.
unsafe fn is_generator_coroutine(object: *mut PyObject) -> c_int {
    static CODE: Name = Name::new(c"gi_code");
    static FLAGS: Name = Name::new(c"co_flags");

    // SAFETY: promised by `wait`.
    unsafe {
        if ffi::PyIter_Check(object) == 0 {
            return 0;
        }
        let code = ffi::PyObject_GetAttr(object, CODE.object());
        if code.is_null() {
            ffi::PyErr_Clear();
            return 0;
        }
        let flags = ffi::PyObject_GetAttr(code, FLAGS.object());
        decrement(code);
        if flags.is_null() {
            ffi::PyErr_Clear();
            return 0;
        }
        let bits = ffi::PyLong_AsLongLong(flags);
        decrement(flags);
        if bits == -1 && !ffi::PyErr_Occurred().is_null() {
            return -1;
        }
        (bits & CO_ITERABLE_COROUTINE != 0).into()
    }
}

/// `am_aiter`.
pub(super) unsafe extern "C-unwind" fn iterate(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        forward(
            this,
            ffi::Py_am_aiter,
            c"'async for' requires an object with __aiter__ method, got %U",
        )
    }
}

/// `am_anext`.
pub(super) unsafe extern "C-unwind" fn next(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        forward(
            this,
            ffi::Py_am_anext,
            c"'async for' requires an iterator with __anext__ method, got %U",
        )
    }
}

unsafe fn forward(this: *mut PyObject, slot: c_int, complaint: &CStr) -> *mut PyObject {
    // SAFETY: promised by the callers.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let result = match unary_slot(target.object, slot) {
            Some(function) => function(target.object),
            None => type_error(complaint, target.object),
        };
        target.leave();
        result
    }
}

/// A slot of the object's type that takes the object alone.
unsafe fn unary_slot(object: *mut PyObject, slot: c_int) -> Option<ffi::unaryfunc> {
    // SAFETY: `object` is valid, as the callers promise, and the slots asked for are of this type.
    unsafe {
        let function = ffi::PyType_GetSlot(ffi::Py_TYPE(object), slot);
        std::mem::transmute::<*mut std::ffi::c_void, Option<ffi::unaryfunc>>(function)
    }
}

/// Raises a `TypeError` whose format has a `%U` for the name of the object's type.
pub(super) unsafe fn type_error(format: &CStr, object: *mut PyObject) -> *mut PyObject {
    // SAFETY: `object` is valid, as the callers promise.
    unsafe {
        let name = ffi::PyType_GetName(ffi::Py_TYPE(object));
        if !name.is_null() {
            ffi::PyErr_Format(ffi::PyExc_TypeError, format.as_ptr(), name);
            disown(name);
        }
        ptr::null_mut()
    }
}

/// `bf_getbuffer`: the view is the target's own, so it is the target that the view keeps alive and
/// that is told of its release.
pub(super) unsafe extern "C-unwind" fn buffer(
    this: *mut PyObject,
    view: *mut Py_buffer,
    flags: c_int,
) -> c_int {
    // SAFETY: the interpreter calls this slot with a proxy and a place for the view.
    unsafe {
        (*view).obj = ptr::null_mut();
        let target = enter(this);
        if target.failed() {
            return -1;
        }
        let status = ffi::PyObject_GetBuffer(target.object, view, flags);
        target.leave();
        status
    }
}
