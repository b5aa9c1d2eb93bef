//! The native base class: which function fills which slot.

use std::{
    ffi::{CStr, c_int, c_uint, c_void},
    ptr,
};

use pyo3::{
    ffi::{
        self, METH_FASTCALL, METH_KEYWORDS, METH_NOARGS, METH_O, METH_VARARGS, PyGetSetDef,
        PyMemberDef, PyMethodDef, PyMethodDefPointer, PyObject, PyType_Slot, PyType_Spec,
    },
    prelude::*,
};

use super::{
    arrays, attributes, collector, construction, containers, conversions, globals::BASE, layout,
    operators, pickling, protocols,
};

#[expect(
    clippy::cast_possible_truncation,
    reason = "a class has 64 flags on some platforms, its specification always 32"
)]
const FLAGS: c_uint = (ffi::Py_TPFLAGS_DEFAULT
    | ffi::Py_TPFLAGS_BASETYPE
    | ffi::Py_TPFLAGS_HAVE_GC
    | ffi::Py_TPFLAGS_IMMUTABLETYPE) as c_uint;

/// The class. Made once: a module that is imported again must take the proxies of the first for
/// proxies.
pub(super) fn create(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: null or a class that is kept for ever, by the interpreter that `register` let in.
    let made = unsafe { Bound::from_borrowed_ptr_or_opt(py, BASE.object()) };
    if let Some(class) = made {
        return Ok(class);
    }
    let mut slots = slots();
    let mut spec = PyType_Spec {
        name: c"proxystore._native.ProxyBase".as_ptr(),
        basicsize: layout::SIZE,
        itemsize: 0,
        flags: FLAGS,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the slots end with a null one and fit their kinds; the tables that they point to are
    // never freed.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec)) }?;
    BASE.set(class.clone().into_ptr());
    Ok(class)
}

/// A method of proxies that is put into the dictionary of the Python class, not of the native base.
///
/// The class must have been made.
pub(super) fn setters(py: Python<'_>) -> PyResult<[(&'static str, Bound<'_, PyAny>); 2]> {
    let method = |name, function, doc| {
        let definition = Box::into_raw(Box::new(fast(name, function, doc)));
        // SAFETY: the class and the definition are kept for ever.
        unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(BASE.class(), definition))
        }
    };
    Ok([
        (
            "set_proxy_attribute",
            method(
                c"__setattr__",
                attributes::set,
                c"__setattr__($self, name, value, /)\n--\n\nSets an attribute of the target.",
            )?,
        ),
        (
            "delete_proxy_attribute",
            method(
                c"__delattr__",
                attributes::delete,
                c"__delattr__($self, name, /)\n--\n\nDeletes an attribute of the target.",
            )?,
        ),
    ])
}

macro_rules! slots {
    ($($slot:ident: $function:expr => $kind:ty;)*) => {
        vec![
            $(PyType_Slot {
                slot: ffi::$slot,
                pfunc: {
                    let function: $kind = $function;
                    function as *mut c_void
                },
            },)*
            PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
        ]
    };
}

type Unary = unsafe extern "C-unwind" fn(*mut PyObject) -> *mut PyObject;
type Binary = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject) -> *mut PyObject;
type Ternary =
    unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, *mut PyObject) -> *mut PyObject;
type Length = unsafe extern "C-unwind" fn(*mut PyObject) -> ffi::Py_ssize_t;
type Test = unsafe extern "C-unwind" fn(*mut PyObject) -> c_int;
type Binding = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject) -> c_int;
type Assignment = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, *mut PyObject) -> c_int;

fn slots() -> Vec<PyType_Slot> {
    let mut slots: Vec<PyType_Slot> = slots! {
        Py_tp_new: collector::allocate => unsafe extern "C-unwind" fn(
            *mut ffi::PyTypeObject, *mut PyObject, *mut PyObject) -> *mut PyObject;
        Py_tp_init: construction::initialize => Assignment;
        Py_tp_dealloc: collector::deallocate => unsafe extern "C-unwind" fn(*mut PyObject);
        Py_tp_traverse: collector::traverse => unsafe extern "C-unwind" fn(
            *mut PyObject, ffi::visitproc, *mut c_void) -> c_int;
        Py_tp_clear: collector::clear => Test;
        Py_tp_getattro: attributes::lookup => Binary;
        Py_tp_hash: conversions::hash => Length;
        Py_tp_str: conversions::string => Unary;
        Py_tp_repr: conversions::represent => Unary;
        Py_tp_call: containers::call => Ternary;
        Py_tp_iter: containers::iterate => Unary;
        Py_tp_iternext: containers::next => Unary;
        Py_tp_richcompare: operators::compare => unsafe extern "C-unwind" fn(
            *mut PyObject, *mut PyObject, c_int) -> *mut PyObject;
        Py_mp_length: containers::length => Length;
        Py_mp_subscript: containers::item => Binary;
        Py_mp_ass_subscript: containers::set_item => Assignment;
        Py_sq_length: containers::length => Length;
        Py_sq_item: containers::sequence_item => unsafe extern "C-unwind" fn(
            *mut PyObject, ffi::Py_ssize_t) -> *mut PyObject;
        Py_sq_ass_item: containers::set_sequence_item => unsafe extern "C-unwind" fn(
            *mut PyObject, ffi::Py_ssize_t, *mut PyObject) -> c_int;
        Py_sq_contains: containers::contains => Binding;
        Py_am_await: protocols::wait => Unary;
        Py_am_aiter: protocols::iterate => Unary;
        Py_am_anext: protocols::next => Unary;
        Py_bf_getbuffer: protocols::buffer => unsafe extern "C-unwind" fn(
            *mut PyObject, *mut ffi::Py_buffer, c_int) -> c_int;
        Py_nb_bool: operators::truth => Test;
        Py_nb_negative: operators::negative => Unary;
        Py_nb_positive: operators::positive => Unary;
        Py_nb_absolute: operators::absolute => Unary;
        Py_nb_invert: operators::invert => Unary;
        Py_nb_int: operators::integer => Unary;
        Py_nb_float: operators::float => Unary;
        Py_nb_index: operators::index => Unary;
        Py_nb_add: operators::add => Binary;
        Py_nb_subtract: operators::subtract => Binary;
        Py_nb_multiply: operators::multiply => Binary;
        Py_nb_remainder: operators::remainder => Binary;
        Py_nb_divmod: operators::divmod => Binary;
        Py_nb_power: operators::power => Ternary;
        Py_nb_lshift: operators::left_shift => Binary;
        Py_nb_rshift: operators::right_shift => Binary;
        Py_nb_and: operators::and => Binary;
        Py_nb_xor: operators::xor => Binary;
        Py_nb_or: operators::or => Binary;
        Py_nb_floor_divide: operators::floor_divide => Binary;
        Py_nb_true_divide: operators::true_divide => Binary;
        Py_nb_matrix_multiply: operators::matrix_multiply => Binary;
        Py_nb_inplace_add: operators::add_in_place => Binary;
        Py_nb_inplace_subtract: operators::subtract_in_place => Binary;
        Py_nb_inplace_multiply: operators::multiply_in_place => Binary;
        Py_nb_inplace_remainder: operators::remainder_in_place => Binary;
        Py_nb_inplace_power: operators::power_in_place => Ternary;
        Py_nb_inplace_lshift: operators::left_shift_in_place => Binary;
        Py_nb_inplace_rshift: operators::right_shift_in_place => Binary;
        Py_nb_inplace_and: operators::and_in_place => Binary;
        Py_nb_inplace_xor: operators::xor_in_place => Binary;
        Py_nb_inplace_or: operators::or_in_place => Binary;
        Py_nb_inplace_floor_divide: operators::floor_divide_in_place => Binary;
        Py_nb_inplace_true_divide: operators::true_divide_in_place => Binary;
        Py_nb_inplace_matrix_multiply: operators::matrix_multiply_in_place => Binary;
    };
    let tables = [
        (ffi::Py_tp_doc, construction::DOC.as_ptr().cast_mut().cast()),
        (ffi::Py_tp_members, leak(members()).cast()),
        (ffi::Py_tp_getset, leak(properties()).cast()),
        (ffi::Py_tp_methods, leak(methods()).cast()),
    ];
    for (slot, pfunc) in tables {
        slots.insert(0, PyType_Slot { slot, pfunc });
    }
    slots
}

/// The interpreter keeps the address.
fn leak<T>(table: Vec<T>) -> *mut T {
    table.leak().as_mut_ptr()
}

fn members() -> Vec<PyMemberDef> {
    // Missing means missing in the first two; the others are None until they are set.
    const REQUIRED: c_int = ffi::Py_T_OBJECT_EX;
    #[expect(
        deprecated,
        reason = "no other kind of member reads as None when it is null"
    )]
    const OPTIONAL: c_int = ffi::_Py_T_OBJECT;

    let member =
        |name: &'static CStr, kind, offset: usize, flags, doc: &'static CStr| PyMemberDef {
            name: name.as_ptr(),
            type_code: kind,
            offset: offset.cast_signed(),
            flags,
            doc: doc.as_ptr(),
        };
    vec![
        member(
            c"__proxy_factory__",
            REQUIRED,
            layout::FACTORY,
            0,
            c"The function that returns the target.",
        ),
        member(
            c"__proxy_target__",
            REQUIRED,
            layout::TARGET,
            0,
            c"The target, once the proxy is resolved.",
        ),
        member(
            c"__proxy_default_class__",
            OPTIONAL,
            layout::DEFAULT_CLASS,
            0,
            c"What __class__ is until the proxy is resolved.",
        ),
        member(
            c"__proxy_default_hash__",
            OPTIONAL,
            layout::DEFAULT_HASH,
            0,
            c"The hash, or the exception that hashing raises, until the proxy is resolved.",
        ),
        member(
            c"__weaklistoffset__",
            ffi::Py_T_PYSSIZET,
            layout::WEAK_REFERENCES,
            ffi::Py_READONLY,
            c"",
        ),
        // SAFETY: all zeros is the end of the table.
        unsafe { std::mem::zeroed() },
    ]
}

fn properties() -> Vec<PyGetSetDef> {
    type Getter = unsafe extern "C-unwind" fn(*mut PyObject, *mut c_void) -> *mut PyObject;
    type Setter = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject, *mut c_void) -> c_int;

    let property = |name: &'static CStr, get: Getter, set: Option<Setter>, doc: &'static CStr| {
        PyGetSetDef {
            name: name.as_ptr(),
            // SAFETY: the calling conventions differ only in what unwinding does, and unwinding
            // through here is the interpreter's own way of ending a thread.
            get: Some(unsafe { std::mem::transmute::<Getter, ffi::getter>(get) }),
            // SAFETY: as above.
            set: unsafe { std::mem::transmute::<Option<Setter>, Option<ffi::setter>>(set) },
            doc: doc.as_ptr(),
            closure: ptr::null_mut(),
        }
    };
    vec![
        property(
            c"__proxy_resolved__",
            attributes::is_resolved,
            None,
            c"Whether the proxy holds its target.",
        ),
        property(
            c"__proxy_wrapped__",
            attributes::wrapped,
            Some(attributes::set_wrapped),
            c"The target; resolves the proxy if need be.",
        ),
        // SAFETY: all zeros is the end of the table.
        unsafe { std::mem::zeroed() },
    ]
}

type Method = unsafe extern "C-unwind" fn(*mut PyObject, *mut PyObject) -> *mut PyObject;
type FastMethod = unsafe extern "C-unwind" fn(
    *mut PyObject,
    *const *mut PyObject,
    ffi::Py_ssize_t,
) -> *mut PyObject;

fn methods() -> Vec<PyMethodDef> {
    let none = |name, function, doc| plain(name, function, METH_NOARGS, doc);
    let one = |name, function, doc| plain(name, function, METH_O, doc);
    let many = |name, function, doc| plain(name, function, METH_VARARGS, doc);
    vec![
        one(
            c"__format__",
            conversions::format,
            c"format(target, specification)",
        ),
        fast(c"__round__", conversions::round, c"round(target[, digits])"),
        none(c"__trunc__", conversions::truncate, c"math.trunc(target)"),
        none(c"__floor__", conversions::floor, c"math.floor(target)"),
        none(c"__ceil__", conversions::ceiling, c"math.ceil(target)"),
        none(c"__complex__", conversions::complex, c"complex(target)"),
        none(c"__bytes__", conversions::bytes, c"bytes(target)"),
        none(c"__fspath__", conversions::path, c"os.fspath(target)"),
        none(c"__dir__", conversions::directory, c"dir(target)"),
        none(c"__reversed__", conversions::reversed, c"reversed(target)"),
        one(
            c"__instancecheck__",
            conversions::is_instance,
            c"isinstance(object, target)",
        ),
        one(
            c"__subclasscheck__",
            conversions::is_subclass,
            c"issubclass(class, target)",
        ),
        many(
            c"__enter__",
            protocols::enter_context,
            c"target.__enter__()",
        ),
        many(
            c"__exit__",
            protocols::exit_context,
            c"target.__exit__(...)",
        ),
        many(
            c"__aenter__",
            protocols::enter_async_context,
            c"target.__aenter__()",
        ),
        many(
            c"__aexit__",
            protocols::exit_async_context,
            c"target.__aexit__(...)",
        ),
        none(
            c"__reduce__",
            pickling::reduce,
            c"The factory and what is known of the target.",
        ),
        one(
            c"__reduce_ex__",
            pickling::reduce_with_protocol,
            c"As __reduce__().",
        ),
        one(
            c"__deepcopy__",
            pickling::deep_copy,
            c"An unresolved proxy with a copy of the factory.",
        ),
        PyMethodDef {
            ml_name: c"__array_ufunc__".as_ptr(),
            ml_meth: PyMethodDefPointer {
                // SAFETY: as in `plain`.
                PyCFunctionWithKeywords: unsafe {
                    std::mem::transmute::<Ternary, ffi::PyCFunctionWithKeywords>(
                        arrays::universal_function,
                    )
                },
            },
            ml_flags: METH_VARARGS | METH_KEYWORDS,
            ml_doc: c"A universal function of numpy on the target.".as_ptr(),
        },
        // SAFETY: all zeros is the end of the table.
        unsafe { std::mem::zeroed() },
    ]
}

fn plain(name: &'static CStr, function: Method, flags: c_int, doc: &'static CStr) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer {
            // SAFETY: the calling conventions differ only in what unwinding does, see `properties`.
            PyCFunction: unsafe { std::mem::transmute::<Method, ffi::PyCFunction>(function) },
        },
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }
}

fn fast(name: &'static CStr, function: FastMethod, doc: &'static CStr) -> PyMethodDef {
    PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: PyMethodDefPointer {
            // SAFETY: as in `plain`.
            PyCFunctionFast: unsafe {
                std::mem::transmute::<FastMethod, ffi::PyCFunctionFast>(function)
            },
        },
        ml_flags: METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
}
