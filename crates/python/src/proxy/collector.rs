//! Life and death: construction, the cyclic collector, and the end.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use pyo3::ffi::{self, PyObject, PyTypeObject, visitproc};

use super::{
    globals::BASE,
    layout::{ProxyObject, is_proxy_class},
    references::{decrement, disown},
};

/// `tp_traverse`.
pub(super) unsafe extern "C-unwind" fn traverse(
    this: *mut PyObject,
    visit: visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector calls this slot with a proxy, which no other thread changes meanwhile.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        for object in [
            ffi::Py_TYPE(this).cast(),
            (*proxy).factory,
            (*proxy).target,
            (*proxy).default_class,
            (*proxy).default_hash,
        ] {
            if object.is_null() {
                continue;
            }
            let status = visit(object, argument);
            if status != 0 {
                return status;
            }
        }
    }
    0
}

/// `tp_clear`. What a finalizer of the same cycle sees afterwards is an unresolved proxy without a
/// factory.
pub(super) unsafe extern "C-unwind" fn clear(this: *mut PyObject) -> c_int {
    // SAFETY: the collector calls this slot with a proxy.
    unsafe {
        for object in take_slots(this.cast()) {
            disown(object);
        }
    }
    0
}

/// `tp_dealloc`. Chains of proxies of any length are safe: instances always belong to a Python
/// class, whose own deallocator bounds the depth of nested calls before it calls this one.
pub(super) unsafe extern "C-unwind" fn deallocate(this: *mut PyObject) {
    // SAFETY: the interpreter calls this slot with a proxy that nothing refers to any more.
    unsafe {
        ffi::PyObject_GC_UnTrack(this.cast());
        let proxy = this.cast::<ProxyObject>();
        if !(*proxy).weak_references.is_null() {
            ffi::PyObject_ClearWeakRefs(this);
        }
        let class = ffi::Py_TYPE(this);
        let slots = take_slots(proxy);
        ffi::PyObject_GC_Del(this.cast());
        for object in slots {
            disown(object);
        }
        decrement(class.cast());
    }
}

unsafe fn take_slots(proxy: *mut ProxyObject) -> [*mut PyObject; 4] {
    // SAFETY: promised by the callers: no other thread has a reference.
    unsafe {
        [
            ptr::replace(&raw mut (*proxy).factory, ptr::null_mut()),
            ptr::replace(&raw mut (*proxy).target, ptr::null_mut()),
            ptr::replace(&raw mut (*proxy).default_class, ptr::null_mut()),
            ptr::replace(&raw mut (*proxy).default_hash, ptr::null_mut()),
        ]
    }
}

/// `tp_new`: a proxy that knows nothing yet. Only subclasses have instances.
pub(super) unsafe extern "C-unwind" fn allocate(
    class: *mut PyTypeObject,
    _arguments: *mut PyObject,
    _keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a subclass of the native base, whose instances
    // are zeroed memory: null in every slot.
    unsafe {
        if !is_proxy_class(class) || class == BASE.class() {
            ffi::PyErr_SetString(
                ffi::PyExc_TypeError,
                c"only proxystore.proxy.Proxy and its subclasses have instances".as_ptr(),
            );
            return ptr::null_mut();
        }
        ffi::PyType_GenericAlloc(class, 0)
    }
}
