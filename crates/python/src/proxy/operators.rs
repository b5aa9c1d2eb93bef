//! Operators: each unwraps the proxies among its operands and asks the interpreter to operate on
//! what is in them, so that reflection, `NotImplemented` and error messages are those of the targets.

use std::{ffi::c_int, ptr};

use pyo3::ffi::{self, PyObject};

use super::{
    layout::{self, ProxyObject, enter, operand},
    references::own,
};

macro_rules! unary {
    ($($name:ident => $operate:ident;)*) => {$(
        pub(super) unsafe extern "C-unwind" fn $name(this: *mut PyObject) -> *mut PyObject {
            // SAFETY: the interpreter calls this slot with a proxy.
            unsafe {
                let target = enter(this);
                if target.failed() {
                    return ptr::null_mut();
                }
                let result = ffi::$operate(target.object);
                target.leave();
                result
            }
        }
    )*};
}

unary! {
    negative => PyNumber_Negative;
    positive => PyNumber_Positive;
    absolute => PyNumber_Absolute;
    invert => PyNumber_Invert;
    integer => PyNumber_Long;
    float => PyNumber_Float;
    index => PyNumber_Index;
}

macro_rules! binary {
    ($($name:ident => $operate:ident;)*) => {$(
        pub(super) unsafe extern "C-unwind" fn $name(
            left: *mut PyObject,
            right: *mut PyObject,
        ) -> *mut PyObject {
            // SAFETY: the interpreter calls this slot with two valid objects.
            unsafe {
                let left = operand(left);
                if left.failed() {
                    return ptr::null_mut();
                }
                let right = operand(right);
                let result = if right.failed() {
                    ptr::null_mut()
                } else {
                    ffi::$operate(left.object, right.object)
                };
                left.leave();
                right.leave();
                result
            }
        }
    )*};
}

binary! {
    add => PyNumber_Add;
    subtract => PyNumber_Subtract;
    multiply => PyNumber_Multiply;
    remainder => PyNumber_Remainder;
    divmod => PyNumber_Divmod;
    left_shift => PyNumber_Lshift;
    right_shift => PyNumber_Rshift;
    and => PyNumber_And;
    xor => PyNumber_Xor;
    or => PyNumber_Or;
    floor_divide => PyNumber_FloorDivide;
    true_divide => PyNumber_TrueDivide;
    matrix_multiply => PyNumber_MatrixMultiply;
}

macro_rules! in_place {
    ($($name:ident => $operate:ident;)*) => {$(
        pub(super) unsafe extern "C-unwind" fn $name(
            this: *mut PyObject,
            other: *mut PyObject,
        ) -> *mut PyObject {
            // SAFETY: the interpreter calls this slot with a proxy and a valid object.
            unsafe {
                let target = enter(this);
                if target.failed() {
                    return ptr::null_mut();
                }
                let other = operand(other);
                let result = if other.failed() {
                    ptr::null_mut()
                } else {
                    ffi::$operate(target.object, other.object)
                };
                target.leave();
                other.leave();
                keep(this, result)
            }
        }
    )*};
}

in_place! {
    add_in_place => PyNumber_InPlaceAdd;
    subtract_in_place => PyNumber_InPlaceSubtract;
    multiply_in_place => PyNumber_InPlaceMultiply;
    remainder_in_place => PyNumber_InPlaceRemainder;
    left_shift_in_place => PyNumber_InPlaceLshift;
    right_shift_in_place => PyNumber_InPlaceRshift;
    and_in_place => PyNumber_InPlaceAnd;
    xor_in_place => PyNumber_InPlaceXor;
    or_in_place => PyNumber_InPlaceOr;
    floor_divide_in_place => PyNumber_InPlaceFloorDivide;
    true_divide_in_place => PyNumber_InPlaceTrueDivide;
    matrix_multiply_in_place => PyNumber_InPlaceMatrixMultiply;
}

/// The result of an operation in place becomes the target, and the proxy the result.
unsafe fn keep(this: *mut PyObject, result: *mut PyObject) -> *mut PyObject {
    if result.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: promised by the operators in place; `result` is an owned reference.
    unsafe {
        let proxy = this.cast::<ProxyObject>();
        layout::replace(proxy, &raw mut (*proxy).target, result);
        own(this)
    }
}

/// `nb_power`: any of the three may be a proxy.
pub(super) unsafe extern "C-unwind" fn power(
    base: *mut PyObject,
    exponent: *mut PyObject,
    modulus: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with three valid objects.
    unsafe {
        let base = operand(base);
        if base.failed() {
            return ptr::null_mut();
        }
        let result = power_of(base.object, exponent, modulus, ffi::PyNumber_Power);
        base.leave();
        result
    }
}

pub(super) unsafe extern "C-unwind" fn power_in_place(
    this: *mut PyObject,
    exponent: *mut PyObject,
    modulus: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy and two valid objects.
    unsafe {
        let base = enter(this);
        if base.failed() {
            return ptr::null_mut();
        }
        let result = power_of(base.object, exponent, modulus, ffi::PyNumber_InPlacePower);
        base.leave();
        keep(this, result)
    }
}

type Ternary = unsafe extern "C" fn(*mut PyObject, *mut PyObject, *mut PyObject) -> *mut PyObject;

unsafe fn power_of(
    base: *mut PyObject,
    exponent: *mut PyObject,
    modulus: *mut PyObject,
    operate: Ternary,
) -> *mut PyObject {
    // SAFETY: promised by the two powers.
    unsafe {
        let exponent = operand(exponent);
        if exponent.failed() {
            return ptr::null_mut();
        }
        let modulus = operand(modulus);
        let result = if modulus.failed() {
            ptr::null_mut()
        } else {
            operate(base, exponent.object, modulus.object)
        };
        exponent.leave();
        modulus.leave();
        result
    }
}

/// `nb_bool`.
pub(super) unsafe extern "C-unwind" fn truth(this: *mut PyObject) -> c_int {
    // SAFETY: the interpreter calls this slot with a proxy.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return -1;
        }
        let result = ffi::PyObject_IsTrue(target.object);
        target.leave();
        result
    }
}

/// `tp_richcompare`.
pub(super) unsafe extern "C-unwind" fn compare(
    this: *mut PyObject,
    other: *mut PyObject,
    operator: c_int,
) -> *mut PyObject {
    // SAFETY: the interpreter calls this slot with a proxy and a valid object.
    unsafe {
        let target = enter(this);
        if target.failed() {
            return ptr::null_mut();
        }
        let other = operand(other);
        let result = if other.failed() {
            ptr::null_mut()
        } else {
            ffi::PyObject_RichCompare(target.object, other.object, operator)
        };
        target.leave();
        other.leave();
        result
    }
}
