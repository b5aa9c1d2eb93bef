//! Pickling and copying: a proxy travels as its factory and what it knows of the target without it.

use std::ptr;

use pyo3::ffi::{self, PyObject};

use super::{
    globals::{Name, TRAMPOLINE},
    layout::{ProxyObject, locked},
    references::{decrement, disown, own},
};

/// `__reduce__`: `(_proxy_trampoline, (factory, default_class, default_hash))`. The target stays.
pub(super) unsafe extern "C-unwind" fn reduce(
    this: *mut PyObject,
    _none: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the method's descriptor checks that `this` is a proxy.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        let (factory, class, hash) = locked(proxy, || {
            (
                own((*proxy).factory),
                own((*proxy).default_class),
                own((*proxy).default_hash),
            )
        });
        let reduced = if factory.is_null() {
            ffi::PyErr_SetString(
                ffi::PyExc_AttributeError,
                c"a proxy without __proxy_factory__ cannot be pickled".as_ptr(),
            );
            ptr::null_mut()
        } else {
            let arguments = ffi::PyTuple_Pack(3, factory, or_none(class), or_none(hash));
            if arguments.is_null() {
                ptr::null_mut()
            } else {
                let pair = ffi::PyTuple_Pack(2, TRAMPOLINE.object(), arguments);
                decrement(arguments);
                pair
            }
        };
        disown(factory);
        disown(class);
        disown(hash);
        reduced
    }
}

/// `__reduce_ex__`: whatever `__reduce__` of this object, perhaps of a subclass, says.
pub(super) unsafe extern "C-unwind" fn reduce_with_protocol(
    this: *mut PyObject,
    _protocol: *mut PyObject,
) -> *mut PyObject {
    static REDUCE: Name = Name::new(c"__reduce__");

    // SAFETY: the method's descriptor checks that `this` is a proxy.
    unsafe { ffi::PyObject_CallMethodObjArgs(this, REDUCE.object(), ptr::null_mut::<PyObject>()) }
}

/// `__deepcopy__`: a proxy with a copied factory. Without this, `copy.deepcopy` would resolve the
/// proxy to ask the target, and some targets (arrays) would then be copied in its place.
pub(super) unsafe extern "C-unwind" fn deep_copy(
    this: *mut PyObject,
    memo: *mut PyObject,
) -> *mut PyObject {
    static REDUCE_EX: Name = Name::new(c"__reduce_ex__");

    // SAFETY: the method's descriptor checks that `this` is a proxy; every reference is used up
    // once.
    unsafe {
        let protocol = ffi::PyLong_FromLong(4);
        let reduced = ffi::PyObject_CallMethodObjArgs(
            this,
            REDUCE_EX.object(),
            protocol,
            ptr::null_mut::<PyObject>(),
        );
        disown(protocol);
        if reduced.is_null() {
            return ptr::null_mut();
        }
        let copy = rebuild_copied(reduced, memo);
        decrement(reduced);
        copy
    }
}

unsafe fn rebuild_copied(reduced: *mut PyObject, memo: *mut PyObject) -> *mut PyObject {
    static DEEP_COPY: Name = Name::new(c"deepcopy");

    // SAFETY: promised by `deep_copy`; a subclass may have reduced to anything.
    unsafe {
        if ffi::PyTuple_Check(reduced) == 0 || ffi::PyTuple_Size(reduced) < 2 {
            ffi::PyErr_SetString(
                ffi::PyExc_TypeError,
                c"__reduce_ex__() of a proxy must return a tuple of a callable and its arguments"
                    .as_ptr(),
            );
            return ptr::null_mut();
        }
        let module = ffi::PyImport_ImportModule(c"copy".as_ptr());
        if module.is_null() {
            return ptr::null_mut();
        }
        let arguments = ffi::PyObject_CallMethodObjArgs(
            module,
            DEEP_COPY.object(),
            ffi::PyTuple_GetItem(reduced, 1),
            memo,
            ptr::null_mut::<PyObject>(),
        );
        decrement(module);
        if arguments.is_null() {
            return ptr::null_mut();
        }
        let copy = ffi::PyObject_CallObject(ffi::PyTuple_GetItem(reduced, 0), arguments);
        decrement(arguments);
        copy
    }
}

unsafe fn or_none(object: *mut PyObject) -> *mut PyObject {
    if object.is_null() {
        // SAFETY: attached, as in every method.
        unsafe { ffi::Py_None() }
    } else {
        object
    }
}
