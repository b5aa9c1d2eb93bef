//! Keys, configurations and times, between Python and the core.

use std::time::{Duration, Instant};

use proxystore::{Capabilities, Config, Deadline, Error, ErrorKind, Field, Key, Value, When};
use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType},
};

use crate::errors;

/// How deep the values of keys and configurations may be nested: what is looked at level by level
/// must not take all of the stack.
const MAX_DEPTH: usize = 64;

/// The key that the named tuple `object` of class `class` stands for.
///
/// # Errors
///
/// `ConnectorKeyError` if it is not of that class, or holds what no key holds.
pub(crate) fn key_from_python(
    object: &Bound<'_, PyAny>,
    class: &Bound<'_, PyType>,
) -> PyResult<Key> {
    if !object.is_instance(class)? {
        return Err(errors::foreign_key(
            object.py(),
            format!(
                "expected a key of type {}, not {} of type {}",
                class.qualname()?,
                object.repr()?,
                object.get_type().qualname()?,
            ),
        ));
    }
    key_fields(object)
}

/// The key that a named tuple of any class stands for.
///
/// # Errors
///
/// `ConnectorKeyError` if it holds what no key holds.
pub(crate) fn key_fields(object: &Bound<'_, PyAny>) -> PyResult<Key> {
    fields(object.cast::<PyTuple>()?, MAX_DEPTH)
}

fn fields(tuple: &Bound<'_, PyTuple>, depth: usize) -> PyResult<Key> {
    let Some(depth) = depth.checked_sub(1) else {
        let message = format!("a key holds at most {MAX_DEPTH} tuples in each other");
        return Err(errors::foreign_key(tuple.py(), message));
    };
    // The exact length from the start, as a key that is made anew for every operation counts.
    let mut fields = Vec::with_capacity(tuple.len());
    for item in tuple {
        fields.push(field(&item, depth)?);
    }
    Ok(Key::new(fields))
}

fn field(item: &Bound<'_, PyAny>, depth: usize) -> PyResult<Field> {
    if let Ok(text) = item.cast::<PyString>() {
        return Ok(Field::Text(text.to_cow()?.into()));
    }
    if item.is_none() {
        return Ok(Field::Absent);
    }
    if let Ok(number) = item.extract::<i64>() {
        return Ok(Field::Integer(number));
    }
    if let Ok(tuple) = item.cast::<PyTuple>() {
        return fields(tuple, depth).map(Field::Nested);
    }
    Err(errors::foreign_key(
        item.py(),
        format!(
            "a key holds text, integers of 64 bits, None and tuples of these, not {} of type {}",
            item.repr()?,
            item.get_type().qualname()?,
        ),
    ))
}

/// The named tuple of class `class` with the fields of `key`.
pub(crate) fn key_to_python<'py>(
    key: &Key,
    class: &Bound<'py, PyType>,
) -> PyResult<Bound<'py, PyAny>> {
    class.call1(fields_to_python(class.py(), key)?)
}

/// The fields of `key`, those of a nested key as a tuple of their own.
pub(crate) fn fields_to_python<'py>(py: Python<'py>, key: &Key) -> PyResult<Bound<'py, PyTuple>> {
    let items = key.fields().iter().map(|field| match field {
        Field::Absent => Ok(py.None().into_bound(py)),
        Field::Integer(number) => Ok(number.into_pyobject(py)?.into_any()),
        Field::Text(text) => Ok(PyString::new(py, text).into_any()),
        Field::Nested(key) => Ok(fields_to_python(py, key)?.into_any()),
    });
    PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)
}

/// The deadline in so many seconds from now; none if no clock goes that far.
///
/// # Errors
///
/// `ValueError` if they are negative or no number.
pub(crate) fn deadline_in(seconds: f64) -> PyResult<Deadline> {
    if seconds.is_nan() || seconds < 0.0 {
        let message = "a timeout is a number of seconds, 0 or more";
        return Err(PyValueError::new_err(message));
    }
    let timeout = Duration::try_from_secs_f64(seconds).ok();
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    Ok(until.into())
}

/// The configuration that a dictionary of options stands for.
///
/// # Errors
///
/// `TypeError` for an option's name that is not text, or a value that no configuration file holds;
/// `ConnectorConfigError` for values nested without end.
pub(crate) fn config_from_python(options: &Bound<'_, PyDict>) -> PyResult<Config> {
    map(options, MAX_DEPTH)
}

fn map(options: &Bound<'_, PyDict>, depth: usize) -> PyResult<Config> {
    options
        .iter()
        .map(|(name, value)| Ok((name.extract::<String>()?, option(&value, depth)?)))
        .collect()
}

fn list<'py>(items: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> PyResult<Value> {
    items
        .map(|item| option(&item, depth))
        .collect::<PyResult<_>>()
        .map(Value::List)
}

fn option(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let Some(depth) = depth.checked_sub(1) else {
        let message = format!("an option of a connector is nested at most {MAX_DEPTH} levels deep");
        return Err(invalid_option(value.py(), message));
    };
    if value.is_none() {
        Ok(Value::Null)
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Ok(Value::Bool(flag.is_true()))
    } else if let Ok(number) = value.cast::<PyInt>() {
        number.extract().map(Value::Integer).map_err(|_| {
            let message =
                format!("an option of a connector has at most 64 bits, not as many as {number}");
            invalid_option(number.py(), message)
        })
    } else if let Ok(number) = value.cast::<PyFloat>() {
        Ok(Value::Float(number.value()))
    } else if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_cow().map_err(|error| {
            let message =
                format!("an option of a connector is text that UTF-8 can encode: {error}");
            invalid_option(value.py(), message)
        })?;
        Ok(Value::Text(text.into_owned()))
    } else if let Ok(items) = value.cast::<PyList>() {
        list(items.iter(), depth)
    } else if let Ok(items) = value.cast::<PyTuple>() {
        list(items.iter(), depth)
    } else if let Ok(options) = value.cast::<PyDict>() {
        map(options, depth).map(Value::Map)
    } else {
        Err(PyTypeError::new_err(format!(
            "an option of a connector is None, a bool, a number, text, a list or a dictionary, not {}",
            value.get_type().qualname()?
        )))
    }
}

fn invalid_option(py: Python<'_>, message: String) -> PyErr {
    errors::to_python(py, &Error::new(ErrorKind::InvalidConfig, message))
}

/// The dictionary of options that `config` stands for.
pub(crate) fn config_to_python<'py>(
    py: Python<'py>,
    config: &Config,
) -> PyResult<Bound<'py, PyDict>> {
    let options = PyDict::new(py);
    for (name, value) in config.iter() {
        options.set_item(name, value_to_python(py, value)?)?;
    }
    Ok(options)
}

pub(crate) fn value_to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any(),
        Value::Integer(number) => number.into_pyobject(py)?.into_any(),
        Value::Float(number) => PyFloat::new(py, *number).into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::List(items) => {
            let items = items.iter().map(|item| value_to_python(py, item));
            PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any()
        }
        Value::Map(map) => config_to_python(py, map)?.into_any(),
    })
}

/// A dictionary of what a connector can do. What depends on options or surroundings is `None`.
pub(crate) fn capabilities_to_python(
    py: Python<'_>,
    capabilities: Capabilities,
) -> PyResult<Bound<'_, PyDict>> {
    let Capabilities {
        deferrable,
        crosses_processes,
        crosses_hosts,
        outlives_process,
        remote,
        seals,
        verifies,
        verifies_deferred,
        zero_copy,
        max_object_size,
        transit_memory,
    } = capabilities;
    let abilities = PyDict::new(py);
    abilities.set_item("deferrable", deferrable)?;
    abilities.set_item("crosses_processes", crosses_processes)?;
    abilities.set_item("crosses_hosts", crosses_hosts)?;
    abilities.set_item("outlives_process", outlives_process)?;
    abilities.set_item("remote", remote)?;
    abilities.set_item("seals", seals)?;
    abilities.set_item("verifies", when(verifies))?;
    abilities.set_item("verifies_deferred", when(verifies_deferred))?;
    abilities.set_item("zero_copy", when(zero_copy))?;
    abilities.set_item("max_object_size", max_object_size)?;
    abilities.set_item("transit_memory", transit_memory)?;
    Ok(abilities)
}

fn when(ability: When) -> Option<bool> {
    match ability {
        When::Always => Some(true),
        When::Depends => None,
        When::Never => Some(false),
    }
}
