//! Python's buffers, borrowed as a gather list.

use std::{marker::PhantomData, mem::MaybeUninit, ptr::NonNull, slice};

use proxystore::{Payload, Segment};
use pyo3::{
    exceptions::PyTypeError,
    ffi,
    prelude::*,
    types::{PyList, PyTuple},
};

/// Python objects whose bytes are borrowed for one operation: nothing is joined or copied.
///
/// The exporters stay locked against resizing until this is dropped, but a writable one may be
/// *written* by another Python thread meanwhile. What is read then is unspecified, as it would be
/// for any reader in Python; the bytes are therefore [`Segment`]s and never `&[u8]`.
pub(crate) enum Gathered<'py> {
    /// One buffer: the common case, which needs no list.
    One(View<'py>),
    /// Buffers that stand for their concatenation.
    Many {
        segments: Vec<Segment<'py>>,
        _views: Vec<View<'py>>,
    },
}

impl<'py> Gathered<'py> {
    /// Borrows the bytes of `object`: one object with the buffer protocol, or a list or tuple of
    /// such objects.
    ///
    /// # Errors
    ///
    /// `TypeError` for an object without the buffer protocol, `BufferError` for one whose memory is
    /// not contiguous.
    pub(crate) fn borrow(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(list) = object.cast::<PyList>() {
            Self::borrow_all(list.iter())
        } else if let Ok(tuple) = object.cast::<PyTuple>() {
            Self::borrow_all(tuple.iter())
        } else {
            View::borrow(object).map(Self::One)
        }
    }

    fn borrow_all(parts: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<Self> {
        let views = parts
            .map(|part| View::borrow(&part))
            .collect::<PyResult<Vec<_>>>()?;
        let segments = views.iter().map(|view| view.segment).collect();
        Ok(Self::Many {
            segments,
            _views: views,
        })
    }

    /// The payload, valid as long as this.
    pub(crate) fn payload(&self) -> Payload<'_> {
        match self {
            Self::One(view) => Payload::new(slice::from_ref(&view.segment)),
            Self::Many { segments, .. } => Payload::new(segments),
        }
    }
}

/// One exporter's memory, held by the buffer protocol.
pub(crate) struct View<'py> {
    segment: Segment<'py>,
    raw: ffi::Py_buffer,
    _attached: PhantomData<Python<'py>>,
}

impl<'py> View<'py> {
    fn borrow(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut raw = MaybeUninit::<ffi::Py_buffer>::uninit();
        // SAFETY: `object` is a live object and the interpreter is attached; `raw` is read only
        // after the call has filled it.
        let raw = unsafe {
            if ffi::PyObject_GetBuffer(object.as_ptr(), raw.as_mut_ptr(), ffi::PyBUF_SIMPLE) != 0 {
                return Err(not_bytes(object, PyErr::fetch(object.py())));
            }
            raw.assume_init()
        };
        let segment = NonNull::new(raw.buf.cast::<u8>()).map_or(Segment::EMPTY, |bytes| {
            // SAFETY: the exporter keeps `len` bytes at `buf` in place until the buffer is
            // released, which dropping this does. Segments are handed out only by `Gathered`,
            // bounded by its borrow.
            unsafe { Segment::from_raw_parts(bytes, raw.len.unsigned_abs()) }
        });
        Ok(Self {
            segment,
            raw,
            _attached: PhantomData,
        })
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // SAFETY: `raw` was filled by PyObject_GetBuffer and is released once, attached, since a
        // view never leaves the scope of its `Python<'py>`.
        unsafe { ffi::PyBuffer_Release(&raw mut self.raw) }
    }
}

fn not_bytes(object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyTypeError>(object.py()) {
        return error;
    }
    match object.get_type().qualname() {
        Ok(name) => PyTypeError::new_err(format!(
            "a connector stores bytes: expected bytes, bytearray, memoryview or another object \
             with the buffer protocol, not {name}"
        )),
        Err(error) => error,
    }
}
