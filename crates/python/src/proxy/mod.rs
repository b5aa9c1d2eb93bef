//! The native Proxy.
//!
//! A heap type with raw slots, made by `PyType_FromSpec` from the limited API, over which
//! `proxystore.proxy.Proxy` is a thin Python class for generics, typing and the metaclass. A slot
//! of the base is inherited by Python subclasses as it is, so they cost nothing more.
//!
//! # Layout
//!
//! * `class`: which function fills which slot;
//! * `layout`: the object, and the one way to reach its target;
//! * `collector`, `construction`: its life;
//! * `attributes`, `names`: who answers to a name;
//! * `operators`, `containers`, `conversions`, `protocols`, `arrays`, `pickling`: everything that is
//!   forwarded;
//! * `resolving`: who calls the factory; `waiting`: what the other threads do meanwhile;
//! * `importing`, `globals`, `exceptions`, `references`: what these need of the interpreter.
//!
//! # Rules that hold throughout
//!
//! The slots `__proxy_factory__` and so on are members that anybody may replace or delete at any
//! time, from the very code that a slot calls. So every object is owned while it is used, and what
//! is read from the proxy is read inside [`layout::locked`].
//!
//! A proxy of itself, or of a chain that leads back, must end in `RecursionError`, and a chain of
//! any length must be destroyed without nesting: [`layout::enter`] counts the levels, and the
//! deallocator of the Python subclass bounds the depth.
//!
//! Slots hold nothing with a destructor while they call into the interpreter: it ends daemon
//! threads at exit by unwinding them (before Python 3.14), and a destructor would then touch
//! objects without being attached.

mod arrays;
mod attributes;
mod class;
mod collector;
mod construction;
mod containers;
mod conversions;
mod exceptions;
mod globals;
mod importing;
mod layout;
mod names;
mod operators;
mod pickling;
mod protocols;
mod references;
mod resolving;
mod waiting;

use pyo3::{prelude::*, types::PyType};

use self::globals::{CLASS, DELEGATE, RESOLVE_ERROR, TRAMPOLINE};

/// Adds the native half of the Proxy to the module.
///
/// # Errors
///
/// `ImportError` in any interpreter of this process but the first that comes.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    globals::claim(py)?;
    module.add("ProxyBase", class::create(py)?)?;
    for (name, method) in class::setters(py)? {
        module.add(name, method)?;
    }
    module.add_function(wrap_pyfunction!(adopt_proxy_class, module)?)?;
    module.add_function(wrap_pyfunction!(forget_proxy_names, module)?)
}

/// Tells the native half about the Python one. They stay alive for the life of the process.
#[pyfunction]
#[pyo3(signature = (proxy_class, resolve_error, trampoline, delegate, /))]
fn adopt_proxy_class(
    proxy_class: Bound<'_, PyType>,
    resolve_error: Bound<'_, PyType>,
    trampoline: Bound<'_, PyAny>,
    delegate: Bound<'_, PyAny>,
) {
    CLASS.set(proxy_class.into_ptr());
    names::forget_class();
    RESOLVE_ERROR.set(resolve_error.into_ptr());
    TRAMPOLINE.set(trampoline.into_ptr());
    DELEGATE.set(delegate.into_ptr());
}

/// Makes the proxies of a class that has changed, and of its subclasses, see the change.
#[pyfunction]
#[pyo3(signature = (proxy_class, /))]
fn forget_proxy_names(proxy_class: &Bound<'_, PyType>) -> PyResult<()> {
    names::forget(proxy_class)
}
