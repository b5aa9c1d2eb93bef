//! Which names a proxy answers itself, decided by the name alone.
//!
//! A failed lookup raises, and raising and clearing an `AttributeError` costs ten times
//! what a successful one does. So each proxy class has a table of the names that it and its bases
//! define; all other names go to the target at once. The metaclass in `proxystore.proxy` reports
//! changed classes through [`forget`], and their tables are made anew on the next lookup.

use std::{
    collections::HashMap,
    ptr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicPtr, Ordering},
    },
};

use pyo3::{
    ffi::{self, Py_hash_t, PyObject, PyTypeObject},
    intern,
    prelude::*,
    types::{PyDict, PyString, PyType, PyWeakrefReference},
};

use super::globals::{BASE, CLASS};

/// Names that belong to the target although every class defines them, or although the native base
/// has to define them where the interpreter looks.
const OF_THE_TARGET: [&str; 17] = [
    "__annotations__",
    "__array_ufunc__",
    "__buffer__",
    "__ceil__",
    "__class__",
    "__complex__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__floor__",
    "__instancecheck__",
    "__module__",
    "__release_buffer__",
    "__static_attributes__",
    "__subclasscheck__",
    "__trunc__",
    "__weakref__",
];

/// The table of `proxystore.proxy.Proxy` itself; never freed, as another thread may be reading it.
static TABLE_OF_CLASS: AtomicPtr<Table> = AtomicPtr::new(ptr::null_mut());

/// The tables of its subclasses, by the address of the class.
static TABLES: RwLock<Option<HashMap<usize, Entry>>> = RwLock::new(None);

/// Whose attribute a name is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Defined by the proxy's class.
    Proxy,
    Target,
    /// `__class__`: the target's, but perhaps known before there is a target.
    Class,
    /// `__array_struct__`: the target's, but not always.
    Structure,
    /// An exception is set.
    Unknown,
}

/// Decides whose attribute `name` is on the proxy `this`.
///
/// # Safety
///
/// `this` is a proxy, `name` a valid object, and the caller is attached to the interpreter.
#[inline]
pub(super) unsafe fn owner(this: *mut PyObject, name: *mut PyObject) -> Owner {
    // SAFETY: promised by the caller; a table that was published is never freed.
    unsafe {
        let hash = ffi::PyObject_Hash(name);
        if hash == -1 {
            return Owner::Unknown;
        }
        let class = ffi::Py_TYPE(this);
        if class == CLASS.class()
            && let Some(table) = TABLE_OF_CLASS.load(Ordering::Acquire).as_ref()
        {
            return table.owner(name, hash);
        }
        match owner_in_subclass(Python::assume_attached(), this, class, name, hash) {
            Ok(owner) => owner,
            Err(error) => {
                error.restore(Python::assume_attached());
                Owner::Unknown
            }
        }
    }
}

/// Forgets the table of the Python class, which is another one now.
pub(super) fn forget_class() {
    TABLE_OF_CLASS.store(ptr::null_mut(), Ordering::Release);
}

/// Forgets the tables of `class` and its subclasses, which have changed.
pub(super) fn forget(class: &Bound<'_, PyType>) -> PyResult<()> {
    let mut stale = vec![class.clone()];
    let mut entries = Vec::new();
    while let Some(class) = stale.pop() {
        if class.as_type_ptr() == CLASS.class() {
            forget_class();
        }
        let entry = tables(|tables| tables.remove(&class.as_ptr().addr()));
        entries.extend(entry);
        for subclass in subclasses(&class)?.try_iter()? {
            stale.push(subclass?.cast_into()?);
        }
    }
    // Their weak references die here, after the lock has been given back.
    drop(entries);
    Ok(())
}

/// The direct subclasses, whatever the class itself calls by that name.
fn subclasses<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let method = intern!(class.py(), "__subclasses__");
    class
        .py()
        .get_type::<PyType>()
        .call_method1(method, (class,))
}

struct Entry {
    table: Arc<Table>,
    /// Its callback takes the entry away when the class dies.
    _watch: Py<PyWeakrefReference>,
}

/// What the classes of one method resolution order define: an open-addressed set of names.
struct Table {
    slots: Box<[Slot]>,
    /// Whether instances of the class have a dictionary of their own.
    has_dictionary: bool,
    /// Bases whose later changes nobody reports. The class keeps them alive.
    unwatched: Box<[*mut PyObject]>,
}

// SAFETY: the pointers are used only by threads that are attached to the interpreter, which guards
// the objects; the table itself does not change.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

struct Slot {
    hash: Py_hash_t,
    /// Interned; none in a free slot.
    name: Option<Py<PyString>>,
    owner: Owner,
}

impl Table {
    /// Collects the names of `class`.
    fn new(class: &Bound<'_, PyType>) -> PyResult<Self> {
        let py = class.py();
        let object = py.get_type::<PyAny>();
        let generic = py.import("typing")?.getattr("Generic")?;
        let names = PyDict::new(py);
        names.set_item("__array_struct__", ())?;
        let mut unwatched = Vec::new();
        for base in class.mro() {
            let dictionary = base.getattr("__dict__")?;
            for name in dictionary.try_iter()? {
                names.set_item(name?, ())?;
            }
            let base = base.cast_into::<PyType>()?;
            let watched = base.get_type().as_type_ptr() == Self::metaclass(py)?
                || base.as_type_ptr() == BASE.class();
            if !watched && !base.is(&object) && !base.is(&generic) {
                unwatched.push(base.as_ptr());
            }
        }
        let free = || Slot {
            hash: 0,
            name: None,
            owner: Owner::Target,
        };
        let mut table = Self {
            slots: std::iter::repeat_with(free)
                .take((4 * names.len()).next_power_of_two())
                .collect(),
            has_dictionary: class.getattr("__dictoffset__")?.extract::<isize>()? != 0,
            unwatched: unwatched.into_boxed_slice(),
        };
        for (name, _) in names {
            let name = name.cast_into::<PyString>()?;
            let owner = match name.to_cow()?.as_ref() {
                "__array_struct__" => Owner::Structure,
                "__class__" => Owner::Class,
                text if OF_THE_TARGET.contains(&text) => Owner::Target,
                _ => Owner::Proxy,
            };
            table.insert(&name, owner)?;
        }
        Ok(table)
    }

    /// The metaclass that reports changes: that of `Proxy`.
    fn metaclass(py: Python<'_>) -> PyResult<*mut PyTypeObject> {
        // SAFETY: the class is set before the first proxy is made and kept for ever.
        let class = unsafe { Bound::from_borrowed_ptr_or_err(py, CLASS.object()) }?;
        Ok(class.get_type().as_type_ptr())
    }

    fn insert(&mut self, name: &Bound<'_, PyString>, owner: Owner) -> PyResult<()> {
        let hash = name.hash()?;
        let mask = self.slots.len() - 1;
        let mut at = hash.cast_unsigned() & mask;
        while self.slots[at].name.is_some() {
            at = (at + 1) & mask;
        }
        let name = PyString::intern(name.py(), &name.to_cow()?).unbind();
        self.slots[at] = Slot {
            hash,
            name: Some(name),
            owner,
        };
        Ok(())
    }

    /// # Safety
    ///
    /// `name` is a valid object with this hash; the caller is attached to the interpreter.
    #[inline]
    unsafe fn owner(&self, name: *mut PyObject, hash: Py_hash_t) -> Owner {
        let mask = self.slots.len() - 1;
        let mut at = hash.cast_unsigned() & mask;
        loop {
            let slot = &self.slots[at];
            let Some(known) = &slot.name else {
                return Owner::Target;
            };
            let known = known.as_ptr();
            // SAFETY: promised by the caller.
            if slot.hash == hash && (known == name || unsafe { is_equal(known, name) }) {
                return slot.owner;
            }
            at = (at + 1) & mask;
        }
    }
}

/// Whether `name`, which may be anything, is a string equal to `known`.
#[cold]
unsafe fn is_equal(known: *mut PyObject, name: *mut PyObject) -> bool {
    // SAFETY: promised by the caller of `Table::owner`.
    unsafe { ffi::PyUnicode_Check(name) != 0 && ffi::PyUnicode_Compare(known, name) == 0 }
}

fn owner_in_subclass(
    py: Python<'_>,
    this: *mut PyObject,
    class: *mut PyTypeObject,
    name: *mut PyObject,
    hash: Py_hash_t,
) -> PyResult<Owner> {
    // SAFETY: the class of a live object is alive.
    let class = unsafe { PyType::from_borrowed_type_ptr(py, class) };
    let table = table(&class)?;
    // SAFETY: `name` is a valid object, as the caller of `owner` promises.
    let owner = unsafe { table.owner(name, hash) };
    if owner != Owner::Target || (!table.has_dictionary && table.unwatched.is_empty()) {
        return Ok(owner);
    }
    // SAFETY: as above.
    let name = unsafe { Bound::from_borrowed_ptr(py, name) };
    if OF_THE_TARGET.contains(&&*name.cast::<PyString>()?.to_cow()?) {
        return Ok(owner);
    }
    if table.has_dictionary {
        // SAFETY: `this` is a valid object whose class gives it a dictionary.
        let dictionary = unsafe {
            Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetDict(this, ptr::null_mut()))
        }?;
        if dictionary.contains(&name)? {
            return Ok(Owner::Proxy);
        }
    }
    for base in &table.unwatched {
        // SAFETY: a class keeps its bases alive.
        let base = unsafe { Bound::from_borrowed_ptr(py, *base) };
        if base.getattr("__dict__")?.contains(&name)? {
            return Ok(Owner::Proxy);
        }
    }
    Ok(owner)
}

/// The table of `class`, made now if it is not there yet.
fn table(class: &Bound<'_, PyType>) -> PyResult<Arc<Table>> {
    let address = class.as_ptr().addr();
    let known = TABLES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(|tables| tables.get(&address).map(|entry| entry.table.clone()));
    if let Some(table) = known {
        return Ok(table);
    }
    let table = Arc::new(Table::new(class)?);
    if class.as_type_ptr() == CLASS.class() {
        TABLE_OF_CLASS.store(Arc::into_raw(table.clone()).cast_mut(), Ordering::Release);
        return Ok(table);
    }
    let bury = pyo3::types::PyCFunction::new_closure(
        class.py(),
        None,
        None,
        move |_, _| -> PyResult<()> {
            drop(tables(|tables| tables.remove(&address)));
            Ok(())
        },
    )?;
    let entry = Entry {
        table: table.clone(),
        _watch: PyWeakrefReference::new_with(class, bury)?.unbind(),
    };
    drop(tables(|tables| tables.insert(address, entry)));
    Ok(table)
}

/// Changes the tables. What comes out of them has to be dropped by the caller, as that can run
/// Python code.
fn tables<R>(change: impl FnOnce(&mut HashMap<usize, Entry>) -> R) -> R {
    let mut tables = TABLES.write().unwrap_or_else(PoisonError::into_inner);
    change(tables.get_or_insert_default())
}
