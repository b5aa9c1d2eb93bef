//! `Proxy(factory, *, cache_defaults=False, target=None)`.

use std::{ffi::c_int, ptr};

use pyo3::ffi::{self, Py_ssize_t, PyObject};

use super::{
    exceptions::take_raised,
    globals::Name,
    layout::{ProxyObject, replace},
    references::own,
};

/// The signature, as `inspect.signature` reads it.
pub(super) const DOC: &std::ffi::CStr =
    c"ProxyBase(factory, *, cache_defaults=False, target=None)\n--\n\n\
      The native half of proxystore.proxy.Proxy.";

/// What a call of the constructor brings; borrowed references or null.
struct Arguments {
    factory: *mut PyObject,
    cache_defaults: *mut PyObject,
    target: *mut PyObject,
}

/// `tp_init`.
pub(super) unsafe extern "C-unwind" fn initialize(
    this: *mut PyObject,
    arguments: *mut PyObject,
    keywords: *mut PyObject,
) -> c_int {
    // SAFETY: the interpreter calls this slot with a proxy, a tuple, and a dictionary or null.
    unsafe {
        let Some(arguments) = parse(arguments, keywords) else {
            return -1;
        };
        if ffi::PyCallable_Check(arguments.factory) == 0 {
            ffi::PyErr_SetString(ffi::PyExc_TypeError, c"Factory must be callable.".as_ptr());
            return -1;
        }
        let proxy = this.cast::<ProxyObject>();
        replace(proxy, &raw mut (*proxy).factory, own(arguments.factory));
        if arguments.target.is_null() || ffi::Py_IsNone(arguments.target) != 0 {
            // A proxy may be initialized again.
            replace(proxy, &raw mut (*proxy).target, ptr::null_mut());
            replace(proxy, &raw mut (*proxy).default_class, ptr::null_mut());
            replace(proxy, &raw mut (*proxy).default_hash, ptr::null_mut());
            return 0;
        }
        replace(proxy, &raw mut (*proxy).target, own(arguments.target));
        if arguments.cache_defaults.is_null() {
            return 0;
        }
        match ffi::PyObject_IsTrue(arguments.cache_defaults) {
            0 => 0,
            1 => cache_defaults(proxy, arguments.target),
            _ => -1,
        }
    }
}

unsafe fn parse(arguments: *mut PyObject, keywords: *mut PyObject) -> Option<Arguments> {
    static FACTORY: Name = Name::new(c"factory");
    static CACHE_DEFAULTS: Name = Name::new(c"cache_defaults");
    static TARGET: Name = Name::new(c"target");

    // SAFETY: promised by `initialize`.
    unsafe {
        let positional = ffi::PyTuple_Size(arguments);
        let mut parsed = Arguments {
            factory: ptr::null_mut(),
            cache_defaults: ptr::null_mut(),
            target: ptr::null_mut(),
        };
        if positional > 1 {
            return fail(ffi::PyErr_Format(
                ffi::PyExc_TypeError,
                c"Proxy() takes 1 positional argument but %zd were given".as_ptr(),
                positional,
            ));
        }
        if positional == 1 {
            parsed.factory = ffi::PyTuple_GetItem(arguments, 0);
        }
        let (mut at, mut name, mut value): (Py_ssize_t, _, _) =
            (0, ptr::null_mut(), ptr::null_mut());
        while !keywords.is_null()
            && ffi::PyDict_Next(keywords, &raw mut at, &raw mut name, &raw mut value) != 0
        {
            let place = if is(name, &FACTORY) {
                &mut parsed.factory
            } else if is(name, &CACHE_DEFAULTS) {
                &mut parsed.cache_defaults
            } else if is(name, &TARGET) {
                &mut parsed.target
            } else {
                return fail(ffi::PyErr_Format(
                    ffi::PyExc_TypeError,
                    c"Proxy() got an unexpected keyword argument %R".as_ptr(),
                    name,
                ));
            };
            if !place.is_null() {
                return fail(ffi::PyErr_Format(
                    ffi::PyExc_TypeError,
                    c"Proxy() got multiple values for argument %R".as_ptr(),
                    name,
                ));
            }
            *place = value;
        }
        if parsed.factory.is_null() {
            ffi::PyErr_SetString(
                ffi::PyExc_TypeError,
                c"Proxy() missing 1 required positional argument: 'factory'".as_ptr(),
            );
            return None;
        }
        Some(parsed)
    }
}

fn fail(_null: *mut PyObject) -> Option<Arguments> {
    None
}

unsafe fn is(name: *mut PyObject, known: &Name) -> bool {
    // SAFETY: the keys of a dictionary of keyword arguments are strings.
    unsafe {
        let known = known.object();
        name == known || ffi::PyUnicode_Compare(name, known) == 0
    }
}

/// Notes the class and the hash of the target, or why it has no hash.
unsafe fn cache_defaults(proxy: *mut ProxyObject, target: *mut PyObject) -> c_int {
    static CLASS: Name = Name::new(c"__class__");

    // SAFETY: promised by `initialize`.
    unsafe {
        let class = ffi::PyObject_GetAttr(target, CLASS.object());
        if class.is_null() {
            return -1;
        }
        replace(proxy, &raw mut (*proxy).default_class, class);
        let hash = ffi::PyObject_Hash(target);
        let hash = if hash != -1 {
            ffi::PyLong_FromSsize_t(hash)
        } else if ffi::PyErr_ExceptionMatches(ffi::PyExc_TypeError) != 0 {
            unhashable()
        } else {
            return -1;
        };
        if hash.is_null() {
            return -1;
        }
        replace(proxy, &raw mut (*proxy).default_hash, hash);
    }
    0
}

/// The `TypeError` that is set, without its traceback: it outlives the frames.
unsafe fn unhashable() -> *mut PyObject {
    // SAFETY: attached, with an exception set, as the caller promises.
    unsafe {
        let error = take_raised();
        ffi::PyException_SetTraceback(error, ffi::Py_None());
        error
    }
}
