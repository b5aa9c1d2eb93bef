"""Upstream's formats of serialized objects.

A serialized object is an identifier of two letters, a line feed and a body:

| identifier | objects | body |
|---|---|---|
| `BS` | `bytes` | the bytes |
| `US` | `str` | UTF-8 |
| `NP` | numpy arrays | what `numpy.save` writes |
| `PD` | pandas data frames | what `DataFrame.to_pickle` writes |
| `PL` | polars data frames | Arrow IPC file |
| `PK` | anything else | pickle |
| `CP` | what pickle refuses | cloudpickle |

The first that takes an object is used. numpy, pandas, polars and cloudpickle
are imported only when a body needs them: an object of theirs cannot exist
before its module does.
"""

from __future__ import annotations

import ast
import importlib
import io
import math
import operator
import pickle
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from proxystore.serialize import BytesLike

__all__ = [
    'DESERIALIZERS',
    'PROTOCOL',
    'Gather',
    'is_array',
    'is_bytes',
    'is_pandas_frame',
    'is_polars_frame',
    'is_str',
    'pickle_buffers',
    'plain_pandas_frame',
    'serialize',
    'serialize_array',
]

#: Protocol of every pickle.
PROTOCOL = 5

# Offset from the start of a serialized object at which the data of an array
# begins. A connector that keeps whole objects at page boundaries then hands
# out arrays that are aligned for every vector instruction.
_ALIGNMENT = 64

_NPY_MAGIC = b'\x93NUMPY'


def serialize(obj: Any) -> list[BytesLike]:
    """Serialize an object into buffers that, joined, are the serialized object.

    Args:
        obj: Object to serialize. The buffers may be its own memory.

    Raises:
        Exception: What cloudpickle, tried last, raised.
    """
    kind = type(obj)  # pyright: ignore[reportUnknownVariableType]
    plain = kind is dict or kind is list or kind is tuple
    for supported, serializer in () if plain else _SERIALIZERS:
        if supported(obj):
            try:
                return serializer(obj)
            except Exception:
                break
    try:
        return pickle_buffers(b'PK\n', obj)
    except Exception:
        return _serialize_cloudpickle(obj)


def is_str(obj: Any) -> bool:
    """Tell whether an object is a `str`."""
    return isinstance(obj, str)


def is_bytes(obj: Any) -> bool:
    """Tell whether an object is `bytes`."""
    return isinstance(obj, bytes)


def is_array(obj: Any) -> bool:
    """Tell whether an object is a numpy array."""
    numpy = sys.modules.get('numpy')
    return numpy is not None and isinstance(obj, numpy.ndarray)


def is_pandas_frame(obj: Any) -> bool:
    """Tell whether an object is a pandas data frame."""
    pandas = sys.modules.get('pandas')
    return pandas is not None and isinstance(obj, pandas.DataFrame)


def is_polars_frame(obj: Any) -> bool:
    """Tell whether an object is a polars data frame."""
    polars = sys.modules.get('polars')
    return polars is not None and isinstance(obj, polars.DataFrame)


def _serialize_bytes(obj: bytes) -> list[BytesLike]:
    # A slice of a subclass, or of a proxy, is the plain bytes; of bytes it is the object itself.
    return [b'BS\n', obj[:]]


def _deserialize_bytes(body: memoryview) -> bytes:
    return bytes(body)


def _serialize_str(obj: str) -> list[BytesLike]:
    return [b'US\n' + obj.encode()]


def _deserialize_str(body: memoryview) -> str:
    return str(body, 'utf-8')


def serialize_array(obj: np.ndarray[Any, Any]) -> list[BytesLike]:
    """Serialize an array, as a plain one."""
    import numpy as np

    array = np.asarray(obj)
    flags = array.flags
    if array.dtype.hasobject or array.dtype.itemsize == 0 or not flags.forc:
        return _save_array(obj)
    description = repr(
        {
            'descr': np.lib.format.dtype_to_descr(array.dtype),
            'fortran_order': flags.f_contiguous and not flags.c_contiguous,
            'shape': array.shape,
        }
    )
    if not description.isascii():
        return _save_array(obj)
    header = description.encode()
    prefix_length = 3 + len(_NPY_MAGIC) + 4
    padding = -(prefix_length + len(header) + 1) % _ALIGNMENT
    header_length = len(header) + padding + 1
    if header_length > 0xFFFF:
        return _save_array(obj)
    prefix = b'NP\n%b\x01\x00%b%b%b\n' % (
        _NPY_MAGIC,
        struct.pack('<H', header_length),
        header,
        b' ' * padding,
    )
    if array.size == 0:
        return [prefix]
    data: Any = array.ravel(order='K').view(np.uint8)
    return [prefix, memoryview(data)]


def _save_array(obj: np.ndarray[Any, Any]) -> list[BytesLike]:
    import numpy as np

    file = io.BytesIO()
    np.save(file, obj, allow_pickle=True)
    return [b'NP\n', file.getbuffer()]


def _deserialize_array(body: memoryview) -> Any:
    import numpy as np

    if bytes(body[: len(_NPY_MAGIC)]) != _NPY_MAGIC:
        # An archive of arrays, or a pickle: numpy.load tells them apart.
        return np.load(io.BytesIO(body), allow_pickle=True)
    dtype, fortran_order, shape, start = _parse_npy_header(body)
    if dtype.hasobject:
        return np.load(io.BytesIO(body), allow_pickle=True)
    count = math.prod(shape)
    if count * dtype.itemsize > len(body) - start:
        msg = (
            f'An array of shape {shape} and type {dtype} takes {count * dtype.itemsize} bytes, '
            f'but only {len(body) - start} are there.'
        )
        raise ValueError(msg)
    order: Any = 'F' if fortran_order else 'C'
    if count * dtype.itemsize == 0:
        return np.ndarray(shape, dtype, order=order)
    array = np.frombuffer(body, dtype, count, start)
    if not (array.flags.aligned and array.flags.writeable and _is_private(body)):
        array = array.copy()
    return array.reshape(shape, order=order)


def _parse_npy_header(body: memoryview) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """Read the header of an array without allocating what it announces.

    Returns:
        Type, whether in Fortran order, shape, and where the data begins.
    """
    import numpy as np

    version = bytes(body[6:8])
    length_format, encoding = {
        b'\x01\x00': ('<H', 'latin1'),
        b'\x02\x00': ('<I', 'latin1'),
        b'\x03\x00': ('<I', 'utf8'),
    }[version]
    (length,) = struct.unpack_from(length_format, body, 8)
    header_start = 8 + struct.calcsize(length_format)
    start = header_start + length
    if start > len(body):
        msg = f'The header of {length} bytes is cut off after {len(body) - header_start}.'
        raise ValueError(msg)
    header = ast.literal_eval(str(body[header_start:start], encoding).strip())
    dtype = np.lib.format.descr_to_dtype(header['descr'])
    shape = tuple(map(operator.index, header['shape']))
    if shape and min(shape) < 0:
        msg = f'The header gives the shape {shape}.'
        raise ValueError(msg)
    return dtype, bool(header['fortran_order']), shape, start


def _is_private(view: memoryview) -> bool:
    # Memory that the native connectors make for one `get()` and never touch again.
    native = sys.modules.get('proxystore._native')
    return native is not None and isinstance(view.obj, native.Memory)


def plain_pandas_frame(obj: Any) -> Any:
    """Return a frame itself for a proxy of it, which would be pickled as a proxy."""
    return obj if type(obj) is obj.__class__ else obj.copy(deep=False)


def _serialize_pandas(obj: Any) -> list[BytesLike]:
    return pickle_buffers(b'PD\n', plain_pandas_frame(obj))


def _deserialize_pandas(body: memoryview) -> Any:
    try:
        return pickle.loads(body)
    except Exception:
        # Perhaps an older version of pandas has pickled it.
        pd: Any = importlib.import_module('pandas')
        return pd.read_pickle(io.BytesIO(body))


def _serialize_polars(obj: Any) -> list[BytesLike]:
    file = io.BytesIO()
    obj.write_ipc(file)
    return [b'PL\n', file.getbuffer()]


def _deserialize_polars(body: memoryview) -> Any:
    pl: Any = importlib.import_module('polars')
    return pl.read_ipc(io.BytesIO(body))


def _deserialize_pickle(body: memoryview) -> Any:
    return pickle.loads(body)


def _serialize_cloudpickle(obj: Any) -> list[BytesLike]:
    cloudpickle: Any = importlib.import_module('cloudpickle')
    return [b'CP\n' + cloudpickle.dumps(obj, protocol=PROTOCOL)]


class Gather(list[Any]):
    """File that keeps what is written to it without copying it."""

    def write(self, data: BytesLike | pickle.PickleBuffer) -> None:
        """Append what a pickler writes."""
        # Buffers larger than a pickle frame are written as they are.
        self.append(data.raw() if isinstance(data, pickle.PickleBuffer) else data)


def pickle_buffers(identifier: bytes, obj: Any) -> list[BytesLike]:
    """Pickle an object without copying the buffers in it."""
    gather = Gather([identifier])
    pickle.Pickler(gather, protocol=PROTOCOL).dump(obj)
    return gather


_SERIALIZERS: Sequence[tuple[Callable[[Any], bool], Callable[[Any], list[BytesLike]]]] = (
    (is_bytes, _serialize_bytes),
    (is_str, _serialize_str),
    (is_array, serialize_array),
    (is_pandas_frame, _serialize_pandas),
    (is_polars_frame, _serialize_polars),
)
#: Deserializers of bodies, and their names, by identifiers.
DESERIALIZERS: dict[bytes, tuple[str, Callable[[memoryview], Any]]] = {
    b'BS': ('bytes', _deserialize_bytes),
    b'US': ('string', _deserialize_str),
    b'NP': ('numpy', _deserialize_array),
    b'PD': ('pandas', _deserialize_pandas),
    b'PL': ('polars', _deserialize_polars),
    b'PK': ('pickle', _deserialize_pickle),
    b'CP': ('cloudpickle', _deserialize_pickle),
}
