//! Frames around objects whose buffers travel beside their pickle.

use std::{
    ffi::{c_int, c_void},
    ops::Range,
    sync::Arc,
};

use proxystore::{Error, ErrorKind, Memory, Segment};
use proxystore_frame::{Damage, Entry, Frame, Kind, Layout};
use pyo3::{
    exceptions::{PyOverflowError, PyValueError},
    ffi,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyList, PyMemoryView, PySlice},
};

use super::{
    gather::{Gathered, LARGE, View, join, sums},
    memory::PyMemory,
};
use crate::{door, errors};

/// The most bytes between two buffers.
const GAP: [u8; 63] = [0; 63];

/// The header of a frame whose checksums are yet to be made.
///
/// A connector that is given the header and its buffers makes them while it copies, without
/// changing this. Whoever else looks at the bytes gets the checksums of what the buffers held
/// when somebody looked first.
#[pyclass(frozen, name = "FrameHeader", module = "proxystore._native")]
pub(crate) struct PyFrameHeader {
    layout: Arc<Layout>,
    /// What follows the header, without the gaps.
    entries: Vec<Py<PyAny>>,
    sealed: PyOnceLock<Vec<u8>>,
}

impl PyFrameHeader {
    pub(super) const fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn sealed(&self, py: Python<'_>) -> PyResult<&[u8]> {
        let sealed = self.sealed.get_or_try_init(py, || {
            let views = self
                .entries
                .iter()
                .map(|entry| View::borrow(entry.bind(py)));
            let views = views.collect::<PyResult<Vec<_>>>()?;
            let segments: Vec<Segment<'_>> = views.iter().map(View::segment).collect();
            sums(py, &segments).map(|sums| self.layout.header(&sums))
        })?;
        Ok(sealed)
    }
}

#[pymethods]
impl PyFrameHeader {
    fn __len__(&self) -> usize {
        self.layout.header_len()
    }

    /// # Safety
    ///
    /// Called by the interpreter with a view to fill, as the buffer protocol defines.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let bytes = slf.get().sealed(slf.py())?;
        // SAFETY: the interpreter hands in a valid `view`. The bytes are made once, read-only, and
        // stay in place as long as `slf` lives, to which the view holds a reference. A vector has
        // at most `isize::MAX` bytes.
        let outcome = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                bytes.as_ptr().cast_mut().cast::<c_void>(),
                bytes.len().cast_signed(),
                1,
                flags,
            )
        };
        if outcome == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

/// Makes a frame: a list of its header, its buffers and the gaps between them.
///
/// `parts` continue the `stream`; `sums` asks for checksums of all that follows the header.
#[pyfunction]
pub(crate) fn make_frame<'py>(
    py: Python<'py>,
    kind: u8,
    stream: &Bound<'py, PyAny>,
    parts: Vec<Bound<'py, PyAny>>,
    buffers: Vec<Bound<'py, PyAny>>,
    sums: bool,
) -> PyResult<Bound<'py, PyList>> {
    let kind = Kind::from_number(kind)
        .ok_or_else(|| PyValueError::new_err(format!("no frame has the kind {kind}")))?;
    let stream = View::borrow(stream)?.segment().to_vec();
    let continued = parts.len();
    let mut entries = parts;
    entries.extend(buffers);
    let lengths = entries
        .iter()
        .map(|entry| View::borrow(entry).map(|view| view.segment().len()))
        .collect::<PyResult<Vec<_>>>()?;
    let layout = Layout::new(kind, stream, continued, lengths, sums)
        .map_err(|error| PyOverflowError::new_err(error.to_string()))?;
    let list = PyList::empty(py);
    if sums && !entries.is_empty() {
        let header = PyFrameHeader {
            layout: Arc::new(layout.clone()),
            entries: entries.iter().map(|entry| entry.clone().unbind()).collect(),
            sealed: PyOnceLock::new(),
        };
        list.append(Bound::new(py, header)?)?;
    } else {
        list.append(PyBytes::new(py, &layout.header(&[])))?;
    }
    for (index, entry) in entries.into_iter().enumerate() {
        list.append(entry)?;
        let gap = layout.gap(index);
        if gap > 0 {
            list.append(PyBytes::new(py, &GAP[..gap]))?;
        }
    }
    Ok(list)
}

/// Joins a list of buffers; a frame gets the checksums of the bytes that were copied.
#[pyfunction]
pub(crate) fn join_buffers<'py>(buffers: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    join(buffers.py(), Gathered::borrow(buffers)?.payload())
}

/// What a frame consists of: its kind, whether it has checksums, its stream (a view, or several
/// that continue each other) and its buffers.
type Opened<'py> = (u8, bool, Vec<Bound<'py, PyAny>>, Vec<Bound<'py, PyAny>>);

/// Takes a frame apart, without a copy: the parts are views of `data`.
///
/// Only the buffers that the object will keep are copied, each into memory of its own, if others may
/// see or change that of `data`. They are writable in either case. With `verify`, the checksums
/// that the frame has are compared.
#[pyfunction]
pub(crate) fn open_frame<'py>(data: &Bound<'py, PyAny>, verify: bool) -> PyResult<Opened<'py>> {
    let py = data.py();
    let view = View::borrow(data)?;
    let bytes = view.segment();
    let frame = Frame::parse(bytes).map_err(|damage| refuse(py, &damage))?;
    if verify && frame.has_sums {
        let verified = if bytes.len() < LARGE {
            frame.verify(bytes)
        } else {
            door::call(py, || Ok(frame.verify(bytes)))?
        };
        verified.map_err(|damage| refuse(py, &damage))?;
    }
    let whole = PyMemoryView::from(data)?;
    let slice = |range: &Range<usize>| {
        let slice = PySlice::new(py, range.start.cast_signed(), range.end.cast_signed(), 1);
        whole.get_item(slice)
    };
    let mut stream = Vec::with_capacity(frame.parts.len() + 1);
    stream.push(slice(&frame.stream)?);
    for part in &frame.parts {
        stream.push(slice(&part.range)?);
    }
    let keep = frame.kind.keeps_buffers() && !is_private(&whole)?;
    let buffers = if keep {
        copies(py, bytes, &frame.buffers)?
    } else {
        let slices = frame.buffers.iter().map(|buffer| slice(&buffer.range));
        slices.collect::<PyResult<_>>()?
    };
    Ok((frame.kind.number(), frame.has_sums, stream, buffers))
}

/// Whether nobody else sees the memory: the native connectors make it for one `get`.
fn is_private(view: &Bound<'_, PyMemoryView>) -> PyResult<bool> {
    Ok(view.getattr("obj")?.is_instance_of::<PyMemory>())
}

fn copies<'py>(
    py: Python<'py>,
    bytes: Segment<'_>,
    buffers: &[Entry],
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let copied = door::call(py, || {
        let copy = |buffer: &Entry| Memory::copied_from(&[bytes.slice(buffer.range.clone())]);
        let copies = buffers.iter().map(copy).collect::<Result<Vec<_>, _>>();
        copies.map_err(|error| Error::from_io("there is no memory for a copy", error))
    })?;
    let views = copied.into_iter().map(|memory| {
        let owner = Bound::new(py, PyMemory::new(memory))?;
        Ok(PyMemoryView::from(owner.as_any())?.into_any())
    });
    views.collect()
}

fn refuse(py: Python<'_>, damage: &Damage) -> PyErr {
    let kind = match damage {
        Damage::UnknownVersion(_) | Damage::UnknownKind(_) | Damage::UnknownFlags(_) => {
            ErrorKind::Unsupported
        }
        _ => ErrorKind::Corrupted,
    };
    errors::to_python(py, &Error::new(kind, damage.to_string()))
}
