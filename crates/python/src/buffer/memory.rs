//! Memory that Rust owns, seen from Python.

use std::ffi::{c_int, c_void};

use proxystore::Memory;
use pyo3::{
    exceptions::PyBufferError,
    ffi,
    prelude::*,
    types::{PyBytes, PyMemoryView},
};

/// Up to this size an object is copied into `bytes`: cheaper than a memory view over it, and it
/// does not keep a larger allocation alive. In bytes.
const SMALL: usize = 16 * 1024;

/// The bytes of one object, private to this process and writable, given out by the buffer protocol.
///
/// The memory is freed or unmapped when the last view of it is gone, whatever happened to the
/// object, its connector or its producer meanwhile.
#[pyclass(frozen, weakref, name = "Memory", module = "proxystore._native")]
pub(crate) struct PyMemory(Memory);

impl PyMemory {
    pub(super) const fn new(memory: Memory) -> Self {
        Self(memory)
    }
}

#[pymethods]
impl PyMemory {
    /// Whether holding this keeps memory from being used for other objects.
    #[getter]
    fn is_guarded(&self) -> bool {
        self.0.is_guarded()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<proxystore._native.Memory of {} bytes>", self.0.len())
    }

    /// # Safety
    ///
    /// Called by the interpreter with a view to fill, as the buffer protocol defines.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let memory = &slf.get().0;
        let length = isize::try_from(memory.len())
            .map_err(|_| PyBufferError::new_err("the object is larger than the address space"))?;
        // SAFETY: the interpreter hands in a valid `view`. The memory stays in place and writable
        // as long as `slf` lives, and the view holds a reference to `slf`. Rust makes no reference
        // to these bytes once Python can see them.
        let outcome = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                memory.as_ptr().cast::<c_void>(),
                length,
                0,
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

/// Gives `memory` to Python: `bytes` if it is small, else a writable `memoryview` without a copy.
pub(crate) fn into_python(py: Python<'_>, memory: Memory) -> PyResult<Bound<'_, PyAny>> {
    if let Some(bytes) = memory.as_slice()
        && bytes.len() <= SMALL
    {
        return Ok(PyBytes::new(py, bytes).into_any());
    }
    let owner = Bound::new(py, PyMemory(memory))?;
    Ok(PyMemoryView::from(owner.as_any())?.into_any())
}
