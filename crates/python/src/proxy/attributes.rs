//! Attribute access: who answers is decided by the name alone, see [`names`](super::names).

use std::ptr;

use pyo3::ffi::{self, Py_ssize_t, PyObject};

use super::{
    arrays,
    globals::Name,
    layout::{ProxyObject, enter, locked, resolved},
    names::{self, Owner},
    references::{disown, own},
};

/// `tp_getattro`.
pub(super) unsafe extern "C-unwind" fn lookup(
    this: *mut PyObject,
    name: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this with a proxy and a string.
    unsafe {
        match names::owner(this, name) {
            Owner::Target => {}
            Owner::Proxy => return own_attribute(this, name),
            Owner::Class => {
                let known = known_class(this.cast());
                if !known.is_null() {
                    return known;
                }
            }
            Owner::Structure => return arrays::structure(this, name),
            Owner::Unknown => return ptr::null_mut(),
        }
        target_attribute(this, name)
    }
}

/// An attribute of the proxy's class; one that turns out to be missing (a deleted slot) is looked
/// for in the target.
unsafe fn own_attribute(this: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: promised by `lookup`.
    unsafe {
        let value = ffi::PyObject_GenericGetAttr(this, name);
        if value.is_null() && ffi::PyErr_ExceptionMatches(ffi::PyExc_AttributeError) != 0 {
            ffi::PyErr_Clear();
            return target_attribute(this, name);
        }
        value
    }
}

#[inline]
unsafe fn target_attribute(this: *mut PyObject, name: *mut PyObject) -> *mut PyObject {
    // SAFETY: promised by `lookup`.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let value = ffi::PyObject_GetAttr(target.object, name);
        target.leave();
        value
    }
}

/// The class that an unresolved proxy says its target has, or null.
unsafe fn known_class(proxy: *mut ProxyObject) -> *mut PyObject {
    // SAFETY: promised by `lookup`.
    unsafe {
        locked(proxy, || {
            let class = (*proxy).default_class;
            if (*proxy).target.is_null() && !class.is_null() && ffi::Py_IsNone(class) == 0 {
                own(class)
            } else {
                ptr::null_mut()
            }
        })
    }
}

/// `__setattr__`. A method in the Python class and not a slot of the native base, as
/// `object.__setattr__` refuses objects whose type has such a slot, and extensions use it to reach
/// the proxy's own slots.
pub(super) unsafe extern "C-unwind" fn set(
    this: *mut PyObject,
    arguments: *const *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this with a proxy and `count` valid arguments.
    unsafe {
        if count != 2 {
            return wrong_count(c"__setattr__", 2, count);
        }
        none_if_done(store(this, *arguments, *arguments.add(1)))
    }
}

/// `__delattr__`; a method for the same reason as [`set`].
pub(super) unsafe extern "C-unwind" fn delete(
    this: *mut PyObject,
    arguments: *const *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this with a proxy and `count` valid arguments.
    unsafe {
        if count != 1 {
            return wrong_count(c"__delattr__", 1, count);
        }
        none_if_done(store(this, *arguments, ptr::null_mut()))
    }
}

unsafe fn store(this: *mut PyObject, name: *mut PyObject, value: *mut PyObject) -> i32 {
    // SAFETY: promised by `set` and `delete`.
    unsafe {
        match names::owner(this, name) {
            Owner::Proxy => return ffi::PyObject_GenericSetAttr(this, name, value),
            Owner::Unknown => return -1,
            Owner::Target | Owner::Class | Owner::Structure => {}
        }
        if is_generic_alias_mark(name) {
            // `Proxy[T](...)` tries to note the alias on the new proxy, which is no reason to
            // resolve it, and lets this error pass.
            ffi::PyErr_SetObject(ffi::PyExc_AttributeError, name);
            return -1;
        }
        let target = enter(this);
        if target.failed() {
            return -1;
        }
        let status = ffi::PyObject_SetAttr(target.object, name, value);
        target.leave();
        status
    }
}

unsafe fn is_generic_alias_mark(name: *mut PyObject) -> bool {
    static MARK: Name = Name::new(c"__orig_class__");

    // SAFETY: promised by `set` and `delete`. The name in `typing` is interned.
    unsafe { name == MARK.object() }
}

unsafe fn none_if_done(status: i32) -> *mut PyObject {
    if status < 0 {
        return ptr::null_mut();
    }
    // SAFETY: attached, as in every slot.
    unsafe { own(ffi::Py_None()) }
}

unsafe fn wrong_count(name: &std::ffi::CStr, expected: u32, count: Py_ssize_t) -> *mut PyObject {
    // SAFETY: attached, as in every slot; the arguments fit the format.
    unsafe {
        ffi::PyErr_Format(
            ffi::PyExc_TypeError,
            c"%s() takes %u arguments (%zd given)".as_ptr(),
            name.as_ptr(),
            expected,
            count,
        )
    }
}

/// The property `__proxy_resolved__`.
pub(super) unsafe extern "C-unwind" fn is_resolved(
    this: *mut PyObject,
    _closure: *mut std::ffi::c_void,
) -> *mut PyObject {
    // SAFETY: the descriptor checks that `this` is a proxy.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        let resolved = locked(proxy, || !(*proxy).target.is_null());
        ffi::PyBool_FromLong(resolved.into())
    }
}

/// The property `__proxy_wrapped__`: the target, resolved if need be.
pub(super) unsafe extern "C-unwind" fn wrapped(
    this: *mut PyObject,
    _closure: *mut std::ffi::c_void,
) -> *mut PyObject {
    // SAFETY: the descriptor checks that `this` is a proxy.
    unsafe {
        let target = resolved(this.cast());
        if target.is_null() {
            return super::resolving::resolve(this.cast());
        }
        target
    }
}

/// Sets the target without calling the factory, or (with a null `value`) forgets it.
pub(super) unsafe extern "C-unwind" fn set_wrapped(
    this: *mut PyObject,
    value: *mut PyObject,
    _closure: *mut std::ffi::c_void,
) -> i32 {
    // SAFETY: the descriptor checks that `this` is a proxy; `value` is null or a valid object.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        let old = locked(proxy, || ptr::replace(&raw mut (*proxy).target, own(value)));
        if value.is_null() && old.is_null() {
            ffi::PyErr_SetString(
                ffi::PyExc_AttributeError,
                c"the proxy is not resolved: there is no __proxy_target__ to delete".as_ptr(),
            );
            return -1;
        }
        disown(old);
    }
    0
}
