"""Says in plain data what an object is, so that two processes can compare.

Runs in either environment; imports nothing that the object did not bring.
"""

from __future__ import annotations

from typing import Any


def describe(obj: Any) -> Any:
    """Describes an object down to its types and bits."""
    kind = f'{type(obj).__module__}.{type(obj).__qualname__}'
    if kind.startswith('numpy') and hasattr(obj, 'dtype'):
        return kind, _describe_array(obj)
    if kind.startswith('pandas'):
        return kind, _describe_pandas(obj)
    if kind.startswith('polars'):
        return kind, str(obj.schema), obj.rows(), obj.shape
    if isinstance(obj, (list, tuple, set, frozenset)):
        parts = obj if isinstance(obj, (list, tuple)) else sorted(obj, key=repr)
        return kind, [describe(part) for part in parts]
    if isinstance(obj, dict):
        return kind, [(describe(key), describe(value)) for key, value in obj.items()]
    if callable(obj):
        return kind, obj.__name__, obj(1)
    if obj is None or isinstance(obj, (bool, int, float, complex, str, bytes, bytearray)):
        return kind, repr(obj)
    return kind, describe(vars(obj))


def _describe_array(array: Any) -> Any:
    if array.dtype.hasobject:
        content: Any = [describe(item) for item in array.ravel(order='C').tolist()]
    elif array.dtype.names:
        # Not the bytes of the whole: copies differ in what lies between the fields.
        content = [(name, _describe_array(array[name])) for name in array.dtype.names]
    else:
        content = array.tobytes(order='C')
    flags = array.flags
    return array.dtype.str, str(array.dtype.descr), array.shape, flags.f_contiguous, content


def _describe_pandas(frame: Any) -> Any:
    return (
        [str(dtype) for dtype in frame.dtypes],
        repr(frame.index),
        repr(frame.columns),
        [[repr(item) for item in row] for row in frame.itertuples()],
        str(frame.attrs),
    )
