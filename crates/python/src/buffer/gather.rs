//! Python's buffers, borrowed as a gather list.

use std::{marker::PhantomData, mem::MaybeUninit, ptr::NonNull, slice, sync::Arc};

use proxystore::{Payload, Seal, Segment};
use proxystore_frame::{Layout, copy_summed, sum};
use pyo3::{
    exceptions::PyTypeError,
    ffi,
    prelude::*,
    types::{PyBytes, PyList, PyTuple},
};

use super::frame::PyFrameHeader;
use crate::door;

/// From this many bytes on, summing and copying is worth leaving the interpreter.
pub(super) const LARGE: usize = 64 * 1024;

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
    /// A frame whose checksums are yet to be made of what follows its header.
    Frame(Unsealed<'py>),
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

    fn borrow_all(mut parts: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<Self> {
        let first = parts.next();
        let layout = first.as_ref().and_then(|first| {
            let header = first.cast::<PyFrameHeader>().ok()?;
            Some(Arc::clone(header.get().layout()))
        });
        let rest = parts
            .map(|part| View::borrow(&part))
            .collect::<PyResult<Vec<_>>>()?;
        if let Some(layout) = layout {
            let found = rest.iter().map(|view| view.segment.len());
            if layout.segments().map(|piece| piece.len).eq(found) {
                return Ok(Self::Frame(Unsealed::new(layout, rest)));
            }
        }
        let mut views = Vec::with_capacity(rest.len() + 1);
        if let Some(first) = first {
            views.push(View::borrow(&first)?);
        }
        views.extend(rest);
        let segments = views.iter().map(|view| view.segment).collect();
        Ok(Self::Many {
            segments,
            _views: views,
        })
    }

    /// Makes the checksums of a frame now, unless the connector makes them while it copies.
    ///
    /// # Errors
    ///
    /// `InternalError` in place of a panic.
    pub(crate) fn seal(
        &mut self,
        py: Python<'py>,
        connector_seals: impl FnOnce() -> bool,
    ) -> PyResult<()> {
        match self {
            Self::Frame(frame) if !frame.sealed && !connector_seals() => {
                let sums = sums(py, &frame.segments[1..])?;
                frame.complete(&sums);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether [`seal`](Self::seal) has something to do.
    pub(super) const fn is_unsealed(&self) -> bool {
        matches!(self, Self::Frame(frame) if !frame.sealed)
    }

    /// Makes the checksums of a frame now, whether the interpreter is attached or not.
    pub(super) fn complete(&mut self) {
        if let Self::Frame(frame) = self
            && !frame.sealed
        {
            frame.complete(&sum_each(&frame.segments[1..]));
        }
    }

    /// The payload, valid as long as this.
    pub(crate) fn payload(&self) -> Payload<'_> {
        match self {
            Self::One(view) => Payload::new(slice::from_ref(&view.segment)),
            Self::Many { segments, .. } => Payload::new(segments),
            Self::Frame(frame) if frame.sealed => Payload::new(&frame.segments),
            Self::Frame(frame) => Payload::new(&frame.segments).with_seal(&frame.seal),
        }
    }
}

/// A frame before its header is complete.
pub(crate) struct Unsealed<'py> {
    /// The first names `first`, the others what `views` hold.
    segments: Vec<Segment<'py>>,
    /// The header; with zeros in place of the checksums until `sealed`.
    first: Vec<u8>,
    sealed: bool,
    seal: FrameSeal,
    views: Vec<View<'py>>,
}

impl<'py> Unsealed<'py> {
    fn new(layout: Arc<Layout>, views: Vec<View<'py>>) -> Self {
        let header = layout.header(&[]);
        let mut frame = Self {
            segments: Vec::with_capacity(views.len() + 1),
            first: Vec::new(),
            sealed: false,
            seal: FrameSeal(layout),
            views,
        };
        frame.begin_with(header);
        frame
    }

    fn begin_with(&mut self, header: Vec<u8>) {
        self.segments.clear();
        self.first = header;
        // SAFETY: the vector is not touched again before `segments` is cleared, here or with the
        // whole. Segments are handed out only by `Gathered::payload`, bounded by its borrow.
        let first = unsafe { slice::from_raw_parts(self.first.as_ptr(), self.first.len()) };
        self.segments.push(Segment::from(first));
        self.segments
            .extend(self.views.iter().map(|view| view.segment));
    }

    fn complete(&mut self, sums: &[u64]) {
        self.begin_with(self.seal.seal(sums));
        self.sealed = true;
    }
}

/// What a connector completes a frame with, on whatever thread.
struct FrameSeal(Arc<Layout>);

impl Seal for FrameSeal {
    fn seal(&self, sums: &[u64]) -> Vec<u8> {
        self.0.header_from_segments(sums)
    }
}

/// The checksum of each segment.
///
/// # Errors
///
/// `InternalError` in place of a panic.
pub(super) fn sums(py: Python<'_>, segments: &[Segment<'_>]) -> PyResult<Vec<u64>> {
    if segments.iter().map(Segment::len).sum::<usize>() < LARGE {
        return Ok(sum_each(segments));
    }
    door::call(py, || Ok(sum_each(segments)))
}

fn sum_each(segments: &[Segment<'_>]) -> Vec<u64> {
    segments.iter().map(|&part| sum(&[part])).collect()
}

/// The bytes of `payload`, joined; a frame gets the checksums of what was copied.
///
/// # Errors
///
/// `MemoryError`; `InternalError` in place of a panic.
pub(crate) fn join<'py>(py: Python<'py>, payload: Payload<'_>) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, payload.len(), |target| {
        if payload.len() < LARGE {
            copy(payload, target);
            return Ok(());
        }
        door::call(py, || {
            copy(payload, target);
            Ok(())
        })
    })
}

fn copy(payload: Payload<'_>, target: &mut [u8]) {
    let Some(seal) = payload.seal() else {
        payload.cursor().fill(target);
        return;
    };
    let Some((first, rest)) = payload.segments().split_first() else {
        return;
    };
    let (header, mut target) = target.split_at_mut(first.len());
    let mut sums = Vec::with_capacity(rest.len());
    for segment in rest {
        let (part, rest) = target.split_at_mut(segment.len());
        sums.push(copy_summed(*segment, part));
        target = rest;
    }
    Segment::from(&seal.seal(&sums)).copy_to(header);
}

/// One exporter's memory, held by the buffer protocol.
pub(crate) struct View<'py> {
    segment: Segment<'py>,
    raw: ffi::Py_buffer,
    _attached: PhantomData<Python<'py>>,
}

impl<'py> View<'py> {
    /// Borrows the bytes of one object.
    ///
    /// # Errors
    ///
    /// As [`Gathered::borrow`].
    pub(crate) fn borrow(object: &Bound<'py, PyAny>) -> PyResult<Self> {
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
            let len = raw.len.unsigned_abs();
            if is_all_of_bytes(&raw) {
                // SAFETY: as below. Nobody writes to the bytes of an object of the very type
                // `bytes` that others know: the interpreter hashes and shares it.
                return Segment::from(unsafe { slice::from_raw_parts(bytes.as_ptr(), len) });
            }
            // SAFETY: the exporter keeps `len` bytes at `buf` in place until the buffer is
            // released, which dropping this does. Segments are handed out only bounded by a borrow
            // of this or of the `Gathered` that holds it.
            unsafe { Segment::from_raw_parts(bytes, len) }
        });
        Ok(Self {
            segment,
            raw,
            _attached: PhantomData,
        })
    }

    /// The bytes.
    pub(crate) const fn segment(&self) -> Segment<'_> {
        self.segment
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // SAFETY: `raw` was filled by PyObject_GetBuffer and is released once, attached, since a
        // view never leaves the scope of its `Python<'py>`.
        unsafe { ffi::PyBuffer_Release(&raw mut self.raw) }
    }
}

/// Whether what was borrowed is what an object of type `bytes`, and of no other, holds.
fn is_all_of_bytes(raw: &ffi::Py_buffer) -> bool {
    // SAFETY: a filled buffer has a reference to its exporter, or none at all, and the interpreter
    // is attached.
    unsafe {
        !raw.obj.is_null()
            && ffi::PyBytes_CheckExact(raw.obj) != 0
            && ffi::PyBytes_AsString(raw.obj).cast() == raw.buf
            && ffi::PyBytes_Size(raw.obj) == raw.len
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
