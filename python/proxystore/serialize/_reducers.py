"""How objects are pickled whose own pickling would copy their buffers.

A reducer returns what an object's `__reduce__` would, or `NotImplemented` if
the object's own pickling does as well.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxystore.serialize import _rebuild, _registry

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    'SMALL_BUFFER',
    'Reducer',
    'dense',
    'elements',
    'find',
    'goes_through_arrow',
    'registered_buffers',
]

#: Buffers below this size, in bytes, are copied into the pickle: that takes
#: less time than to pass them beside it.
SMALL_BUFFER = 4096

# Arrow data that takes so many times as many bytes as it shows, being a slice
# of something larger, is copied.
_WASTE = 2

Reducer = Callable[[Any], Any]

_MAX_KNOWN = 1024
_known: dict[type, tuple[Reducer | None, bool]] = {}
_known_version = 0


def find(class_: type) -> tuple[Reducer | None, bool]:
    """Find the reducer for the objects of a class, if there is one.

    Args:
        class_: The class.

    Returns:
        The reducer, and whether it is for a registered type.
    """
    global _known_version
    if _known_version != _registry.version():
        _known_version = _registry.version()
        _known.clear()
    try:
        return _known[class_]
    except KeyError:
        pass
    if _registry.find(class_) is not None:
        found: tuple[Reducer | None, bool] = (_reduce_registered, True)
    else:
        found = (_find_builtin(class_), False)
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[class_] = found
    return found


def registered_buffers(obj: Any, registration: _registry.Registration) -> tuple[bool, list[Any]]:
    """Serialize an object of a registered type.

    Returns:
        Whether the serializer returned several buffers, and all of them.

    Raises:
        TypeError: If it did not return buffers.
    """
    made = registration.serializer(obj)
    several = isinstance(made, list | tuple)
    try:
        return several, [_as_bytes(part) for part in (made if several else (made,))]
    except TypeError as error:
        msg = (
            f'The serializer registered for {registration.name} must return a bytes-like object '
            f'or a list of such objects, not {type(made)}.'
        )
        raise TypeError(msg) from error


def dense(
    array: np.ndarray[Any, Any],
) -> tuple[np.ndarray[Any, Any], tuple[int, ...] | None]:
    """Arrange the axes of an array so that its elements lie one after the other.

    Returns:
        The array in C order, which is copied only if there are gaps between
        its elements, and where its axes were; `None` if they were there.
    """
    if array.flags.c_contiguous:
        return array, None
    strides = array.strides
    order = sorted(range(array.ndim), key=lambda axis: -abs(strides[axis]))
    arranged = array.transpose(order)
    if not arranged.flags.c_contiguous:
        return array.copy(order='C'), None
    axes = [0] * array.ndim
    for position, axis in enumerate(order):
        axes[axis] = position
    return arranged, tuple(axes)


def elements(array: np.ndarray[Any, Any]) -> memoryview:
    """Return the bytes of an array in C order."""
    import numpy as np

    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)


def _as_bytes(part: Any) -> memoryview:
    view = memoryview(part)
    return view if view.ndim == 1 and view.format == 'B' else view.cast('B')


def _reduce_registered(obj: Any) -> Any:
    class_: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]
    registration = _registry.find(class_)
    if registration is None:
        return NotImplemented
    several, parts = registered_buffers(obj, registration)
    buffers = [pickle.PickleBuffer(part) for part in parts]
    return _rebuild.registered, (registration.name, buffers if several else buffers[0])


def _find_builtin(class_: type) -> Reducer | None:
    root = str(class_.__module__).partition('.')[0]
    numpy = sys.modules.get('numpy')
    if numpy is not None and issubclass(class_, numpy.ndarray):
        if class_ is numpy.ndarray:
            return _reduce_array
        if class_ is numpy.ma.MaskedArray:
            return _reduce_masked
        if class_ is numpy.memmap:
            return _reduce_memmap
        return _reduce_subclass if _pickles_as_array(class_, numpy.ndarray) else None
    return _BUILTIN.get((root, class_.__name__))


def _pickles_as_array(class_: Any, ndarray: Any) -> bool:
    names = ('__reduce__', '__reduce_ex__', '__setstate__', '__getstate__')
    return all(getattr(class_, name) is getattr(ndarray, name) for name in names)


def _reduce_array(array: np.ndarray[Any, Any]) -> Any:
    dtype = array.dtype
    if array.nbytes < SMALL_BUFFER or dtype.hasobject:
        return NotImplemented
    if dtype.kind not in 'Mm' and (array.flags.forc):
        # numpy does it, without a copy.
        return NotImplemented
    arranged, axes = dense(array)
    buffer = pickle.PickleBuffer(elements(arranged))
    return _rebuild.array, (buffer, dtype, arranged.shape, axes)


def _reduce_memmap(array: np.ndarray[Any, Any]) -> Any:
    import numpy as np

    plain = array.view(np.ndarray)
    reduced = _reduce_array(plain)
    return plain.__reduce_ex__(5) if reduced is NotImplemented else reduced


def _reduce_subclass(array: np.ndarray[Any, Any]) -> Any:
    import numpy as np

    if array.nbytes < SMALL_BUFFER or array.dtype.hasobject:
        return NotImplemented
    return _rebuild.array_subclass, (array.view(np.ndarray), type(array))


def _reduce_masked(array: np.ma.MaskedArray[Any, Any]) -> Any:
    import numpy as np

    if array.nbytes < SMALL_BUFFER or array.dtype.hasobject or array.__dict__.get('_optinfo'):
        return NotImplemented
    mask = None if array.mask is np.ma.nomask else np.asarray(array.mask)
    fill_value = None if array._fill_value is None else array.fill_value  # type: ignore[attr-defined]  # noqa: SLF001
    return _rebuild.masked_array, (array.data.view(np.ndarray), mask, fill_value, array.hardmask)


def _reduce_arrow_table(table: Any) -> Any:
    return _reduce_arrow(table, False)


def _reduce_arrow_batch(batch: Any) -> Any:
    return _reduce_arrow(batch, True)


def _reduce_arrow(data: Any, single: bool) -> Any:
    """Copy what is a small part of its buffers; pyarrow would pickle the whole buffers."""
    total = data.get_total_buffer_size()
    if total < SMALL_BUFFER or total <= _WASTE * data.nbytes:
        return NotImplemented
    pyarrow: Any = importlib.import_module('pyarrow')
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, data.schema) as writer:
        writer.write(data)
    return _rebuild.arrow_batches, (pickle.PickleBuffer(sink.getvalue()), single)


def _reduce_polars_frame(frame: Any) -> Any:
    if frame.estimated_size() < SMALL_BUFFER or not goes_through_arrow(frame):
        return NotImplemented
    return _rebuild.polars_frame, (frame.to_arrow(compat_level=_newest()),)


def _reduce_polars_series(series: Any) -> Any:
    if series.estimated_size() < SMALL_BUFFER:
        return NotImplemented
    if not _is_arrow_type(series.dtype) or not _has_pyarrow():
        return NotImplemented
    return _rebuild.polars_series, (series.name, series.to_arrow(compat_level=_newest()))


def goes_through_arrow(frame: Any) -> bool:
    """Tell whether a frame of polars is pickled as a table of pyarrow."""
    return all(_is_arrow_type(dtype) for dtype in frame.dtypes) and _has_pyarrow()


def _newest() -> Any:
    # The types of Arrow that polars itself uses: others would be a copy.
    return sys.modules['polars'].CompatLevel.newest()


def _has_pyarrow() -> bool:
    try:
        importlib.import_module('pyarrow')
    except ImportError:
        return False
    return True


_ARROW_TYPES = frozenset(
    {
        'Binary',
        'Boolean',
        'Date',
        'Datetime',
        'Duration',
        'Float32',
        'Float64',
        'Int16',
        'Int32',
        'Int64',
        'Int8',
        'String',
        'Time',
        'UInt16',
        'UInt32',
        'UInt64',
        'UInt8',
    }
)


def _is_arrow_type(dtype: Any) -> bool:
    """Tell whether data of this type of polars comes back from Arrow as what it was."""
    name = dtype.base_type().__name__
    if name == 'List':
        return _is_arrow_type(dtype.inner)
    if name == 'Struct':
        return all(_is_arrow_type(field.dtype) for field in dtype.fields)
    return name in _ARROW_TYPES


def _reduce_tensor(tensor: Any) -> Any:
    torch: Any = sys.modules['torch']
    if (
        tensor.layout is not torch.strided
        or tensor.device.type != 'cpu'
        or tensor.is_quantized
        or tensor.__dict__
        or (tensor.requires_grad and not tensor.is_leaf)
        or not SMALL_BUFFER <= tensor.nbytes <= tensor.untyped_storage().nbytes()
    ):
        return NotImplemented
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    buffer = pickle.PickleBuffer(plain.reshape(-1).view(torch.uint8).numpy())
    dtype = str(tensor.dtype).rpartition('.')[2]
    return _rebuild.torch_tensor, (buffer, dtype, tuple(tensor.shape), tensor.requires_grad)


_BUILTIN: dict[tuple[str, str], Reducer] = {
    ('polars', 'DataFrame'): _reduce_polars_frame,
    ('polars', 'Series'): _reduce_polars_series,
    ('pyarrow', 'RecordBatch'): _reduce_arrow_batch,
    ('pyarrow', 'Table'): _reduce_arrow_table,
    ('torch', 'Tensor'): _reduce_tensor,
}
