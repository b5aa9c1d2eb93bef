//! Text, hash, and the special methods that have no slot.

use std::ptr;

use pyo3::ffi::{self, Py_hash_t, Py_ssize_t, PyObject};

use super::{
    layout::{ProxyObject, enter, locked},
    references::{decrement, disown, own},
};

/// `tp_hash`.
pub(super) unsafe extern "C-unwind" fn hash(this: *mut PyObject) -> Py_hash_t {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        let known = locked(proxy, || {
            if (*proxy).target.is_null() {
                own((*proxy).default_hash)
            } else {
                ptr::null_mut()
            }
        });
        if !known.is_null() && ffi::Py_IsNone(known) == 0 {
            return known_hash(known);
        }
        disown(known);
        let target = enter(this);
        if target.failed() {
            return -1;
        }
        let hash = ffi::PyObject_Hash(target.object);
        target.leave();
        hash
    }
}

/// The hash that a proxy was given for the time that it is unresolved: an integer, or the exception
/// that hashing raises.
unsafe fn known_hash(known: *mut PyObject) -> Py_hash_t {
    // SAFETY: `known` is an owned reference, used up here.
    unsafe {
        let hash = if ffi::PyLong_Check(known) != 0 {
            hash_from_int(known)
        } else if ffi::PyExceptionInstance_Check(known) != 0 {
            ffi::PyErr_SetObject(ffi::Py_TYPE(known).cast(), known);
            -1
        } else {
            ffi::PyErr_SetString(
                ffi::PyExc_TypeError,
                c"__proxy_default_hash__ must be an integer, an exception or None".as_ptr(),
            );
            -1
        };
        decrement(known);
        hash
    }
}

/// The hash that an integer stands for as the result of `__hash__`: itself, not its own hash.
unsafe fn hash_from_int(int: *mut PyObject) -> Py_hash_t {
    // SAFETY: `int` is a Python integer.
    unsafe {
        let hash = ffi::PyLong_AsSsize_t(int);
        if hash != -1 {
            return hash;
        }
        if ffi::PyErr_Occurred().is_null() {
            return -2;
        }
        ffi::PyErr_Clear();
        ffi::PyObject_Hash(int)
    }
}

/// `tp_str`.
pub(super) unsafe extern "C-unwind" fn string(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let text = ffi::PyObject_Str(target.object);
        target.leave();
        text
    }
}

/// `tp_repr`: tells what the proxy is, and does not resolve it.
pub(super) unsafe extern "C-unwind" fn represent(this: *mut PyObject) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        let factory = locked(proxy, || own((*proxy).factory));
        let shown = if factory.is_null() {
            ffi::PyUnicode_FromString(c"nothing".as_ptr())
        } else {
            ffi::PyObject_Repr(factory)
        };
        disown(factory);
        if shown.is_null() {
            return ptr::null_mut();
        }
        let name = ffi::PyType_GetName(ffi::Py_TYPE(this));
        let text = if name.is_null() {
            ptr::null_mut()
        } else if resolved_now(proxy) {
            represent_resolved(this, name, shown)
        } else {
            ffi::PyUnicode_FromFormat(c"<%U at %p with factory %U>".as_ptr(), name, this, shown)
        };
        disown(name);
        decrement(shown);
        text
    }
}

unsafe fn resolved_now(proxy: *mut ProxyObject) -> bool {
    // SAFETY: promised by `represent`.
    unsafe { locked(proxy, || !(*proxy).target.is_null()) }
}

unsafe fn represent_resolved(
    this: *mut PyObject,
    name: *mut PyObject,
    factory: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: promised by `represent`.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let text = ffi::PyUnicode_FromFormat(
            c"<%U at %p wrapping %R at %p with factory %U>".as_ptr(),
            name,
            this,
            target.object,
            target.object,
            factory,
        );
        target.leave();
        text
    }
}

macro_rules! methods_without_arguments {
    ($($name:ident($target:ident) => $value:expr;)*) => {$(
        pub(super) unsafe extern "C-unwind" fn $name(
            this: *mut PyObject,
            _none: *mut PyObject,
        ) -> *mut PyObject {
            // SAFETY: the method's descriptor checks that `this` is a proxy.
            unsafe {
                let entered = enter(this);
                if entered.failed() {
                    return ptr::null_mut();
                }
                let $target = entered.object;
                let value = $value;
                entered.leave();
                value
            }
        }
    )*};
}

methods_without_arguments! {
    bytes(target) => call((&raw mut ffi::PyBytes_Type).cast(), target);
    complex(target) => call((&raw mut ffi::PyComplex_Type).cast(), target);
    reversed(target) => call((&raw mut ffi::PyReversed_Type).cast(), target);
    directory(target) => ffi::PyObject_Dir(target);
    path(target) => ffi::PyOS_FSPath(target);
    truncate(target) => call_function(c"math", c"trunc", target, ptr::null_mut());
    floor(target) => call_function(c"math", c"floor", target, ptr::null_mut());
    ceiling(target) => call_function(c"math", c"ceil", target, ptr::null_mut());
}

/// `__format__`.
pub(super) unsafe extern "C-unwind" fn format(
    this: *mut PyObject,
    specification: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the method's descriptor checks that `this` is a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let text = ffi::PyObject_Format(target.object, specification);
        target.leave();
        text
    }
}

/// `__round__`, with or without a number of digits.
pub(super) unsafe extern "C-unwind" fn round(
    this: *mut PyObject,
    arguments: *const *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: the method's descriptor checks that `this` is a proxy; `count` arguments are valid.
    unsafe {
        let digits = match count {
            0 => ptr::null_mut(),
            1 => *arguments,
            _ => {
                return ffi::PyErr_Format(
                    ffi::PyExc_TypeError,
                    c"__round__() takes at most 1 argument (%zd given)".as_ptr(),
                    count,
                );
            }
        };
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let result = call_function(c"builtins", c"round", target.object, digits);
        target.leave();
        result
    }
}

/// `__instancecheck__`: `isinstance(x, proxy_of_a_class)`.
pub(super) unsafe extern "C-unwind" fn is_instance(
    this: *mut PyObject,
    object: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the method's descriptor checks that `this` is a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let status = ffi::PyObject_IsInstance(object, target.object);
        target.leave();
        boolean(status)
    }
}

/// `__subclasscheck__`: `issubclass(C, proxy_of_a_class)`.
pub(super) unsafe extern "C-unwind" fn is_subclass(
    this: *mut PyObject,
    class: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the method's descriptor checks that `this` is a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let status = ffi::PyObject_IsSubclass(class, target.object);
        target.leave();
        boolean(status)
    }
}

unsafe fn boolean(status: i32) -> *mut PyObject {
    if status < 0 {
        return ptr::null_mut();
    }
    // SAFETY: attached, as in every slot.
    unsafe { ffi::PyBool_FromLong(status.into()) }
}

unsafe fn call(function: *mut PyObject, argument: *mut PyObject) -> *mut PyObject {
    // SAFETY: two valid objects, as the callers promise; null ends the arguments.
    unsafe { ffi::PyObject_CallFunctionObjArgs(function, argument, ptr::null_mut::<PyObject>()) }
}

/// Calls a function of the standard library with one or two arguments (null ends them).
unsafe fn call_function(
    module: &std::ffi::CStr,
    function: &std::ffi::CStr,
    first: *mut PyObject,
    second: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: attached, as in every slot; every reference is used up once.
    unsafe {
        let module = ffi::PyImport_ImportModule(module.as_ptr());
        if module.is_null() {
            return ptr::null_mut();
        }
        let function = ffi::PyObject_GetAttrString(module, function.as_ptr());
        decrement(module);
        if function.is_null() {
            return ptr::null_mut();
        }
        let result =
            ffi::PyObject_CallFunctionObjArgs(function, first, second, ptr::null_mut::<PyObject>());
        decrement(function);
        result
    }
}
