r"""Objects as bytes.

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
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if sys.version_info >= (3, 12):  # pragma: >=3.12 cover
    from collections.abc import Buffer
    from typing import Protocol, runtime_checkable

    @runtime_checkable
    class BytesLike(Buffer, Sized, Protocol):
        """Object with the buffer protocol and a length."""

else:  # pragma: <3.12 cover
    BytesLike = bytes | bytearray | memoryview

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    'BytesLike',
    'SerializationError',
    'deserialize',
    'is_bytes_like',
    'serialize',
    'serialize_buffers',
    'takes_buffers',
]

_PICKLE_PROTOCOL = 5

# Offset from the start of a serialized object at which the data of an array
# begins. A connector that keeps whole objects at page boundaries then hands
# out arrays that are aligned for every vector instruction.
_ALIGNMENT = 64

# Up to this size a copy takes less time than a view.
_SMALL_OBJECT = 4096

# From this size on pickle hands buffers to its file instead of copying them.
_LARGE_BUFFER = 64 * 1024

_NPY_MAGIC = b'\x93NUMPY'

DeserializerT = TypeVar('DeserializerT', bound=Callable[..., Any])


class SerializationError(Exception):
    """An object cannot be serialized, or bytes cannot be deserialized."""


def is_bytes_like(obj: Any) -> TypeGuard[BytesLike]:
    """Tell whether an object can stand where bytes are expected.

    Args:
        obj: Object in question.

    Returns:
        `True` for `bytes`, `bytearray` and `memoryview`; from Python 3.12 on
        for every object with the buffer protocol and a length.
    """
    return isinstance(obj, BytesLike)


def takes_buffers(deserializer: DeserializerT) -> DeserializerT:
    """Declare that a deserializer takes any buffer, not only `bytes`.

    A store then hands it what the connector returned, without a copy: `bytes`
    or a `memoryview`, often of memory that nobody else uses and that the
    deserialized object may keep.

    ```python
    @takes_buffers
    def deserialize_table(data: BytesLike) -> pyarrow.Table: ...
    ```

    Args:
        deserializer: Function that takes the serialized object.

    Returns:
        The same function.
    """
    deserializer.__takes_buffers__ = True  # type: ignore[attr-defined]
    return deserializer


def serialize(obj: Any) -> bytes:
    """Serialize an object.

    Args:
        obj: Object to serialize.

    Returns:
        The object's bytes, which `deserialize()` turns back into it.

    Raises:
        SerializationError: If neither pickle nor cloudpickle takes it.
    """
    kind = type(obj)  # pyright: ignore[reportUnknownVariableType]
    if kind is dict or kind is list or kind is tuple:
        # The quick way for small objects. Large arrays in them would be copied
        # twice: they make it fail.
        try:
            return b'PK\n' + pickle.dumps(
                obj, _PICKLE_PROTOCOL, buffer_callback=_refuse_large_buffer
            )
        except Exception:
            pass
    return b''.join(serialize_buffers(obj))


def serialize_buffers(obj: Any) -> list[BytesLike]:
    """Serialize an object without copying the buffers in it.

    Args:
        obj: Object to serialize.

    Returns:
        Buffers that, joined, are what `serialize()` returns. They may be the
        object's own memory: use them before it changes.

    Raises:
        SerializationError: If neither pickle nor cloudpickle takes it.
    """
    kind = type(obj)  # pyright: ignore[reportUnknownVariableType]
    plain = kind is dict or kind is list or kind is tuple
    serializers = _ANY_OBJECT if plain else _SERIALIZERS
    cause: Exception | None = None
    for supported, serializer in serializers:
        if supported is not None and not supported(obj):
            continue
        try:
            return serializer(obj)
        except Exception as error:
            cause = error
    msg = f'Object of type {kind} is not supported.'
    raise SerializationError(msg) from cause


@takes_buffers
def deserialize(buffer: BytesLike) -> Any:
    """Deserialize an object.

    Args:
        buffer: What `serialize()` returned. An array is made over this
            memory, without a copy, if a connector made it for this one
            `get()`; else over memory of its own. It can be written to in
            either case.

    Returns:
        The object.

    Raises:
        ValueError: If the argument is not bytes-like.
        SerializationError: If the identifier is unknown or the body is
            damaged.
    """
    if type(buffer) is bytes and len(buffer) < _SMALL_OBJECT and buffer.startswith(b'PK\n'):
        try:
            if buffer.startswith(_reader_head):
                return _reader(buffer)
            return pickle.loads(buffer[3:])
        except Exception as error:
            msg = 'Failed to deserialize object using the pickle serializer.'
            raise SerializationError(msg) from error
    if not is_bytes_like(buffer):
        msg = f'Expected data to be a bytes-like type, not {type(buffer)}.'
        raise ValueError(msg)
    view = memoryview(buffer)
    if view.ndim != 1 or view.format != 'B':
        view = view.cast('B')
    # An identifier has two bytes; a body may begin with the line feed already.
    head = bytes(view[:3])
    identifier, body = (head[:2], view[3:])
    deserializer = _DESERIALIZERS.get(identifier)
    if deserializer is None or head[2:] not in {b'\n', b''}:
        identifier = bytes(view[:64]).split(b'\n', 1)[0]
        msg = f'Unknown identifier {identifier!r} for deserialization.'
        raise SerializationError(msg)
    name, function = deserializer
    try:
        return function(body)
    except Exception as error:
        msg = f'Failed to deserialize object using the {name} serializer.'
        raise SerializationError(msg) from error


def register_reader(head: bytes, reader: Callable[[bytes], Any]) -> None:
    """Read small pickled objects that begin in a certain way by a quicker function.

    Args:
        head: How the serialized objects begin.
        reader: Function that takes the whole serialized object.
    """
    global _reader_head, _reader
    _reader_head, _reader = head, reader


def _read_pickle(data: bytes) -> Any:
    return pickle.loads(data[3:])


# A head that nothing has.
_reader_head: bytes = b'PK\n\0'
_reader: Callable[[bytes], Any] = _read_pickle


def _is_str(obj: Any) -> bool:
    return isinstance(obj, str)


def _is_bytes(obj: Any) -> bool:
    return isinstance(obj, bytes)


def _is_array(obj: Any) -> bool:
    numpy = sys.modules.get('numpy')
    return numpy is not None and isinstance(obj, numpy.ndarray)


def _is_pandas_frame(obj: Any) -> bool:
    pandas = sys.modules.get('pandas')
    return pandas is not None and isinstance(obj, pandas.DataFrame)


def _is_polars_frame(obj: Any) -> bool:
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


def _serialize_array(obj: np.ndarray[Any, Any]) -> list[BytesLike]:
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


def _serialize_pandas(obj: Any) -> list[BytesLike]:
    if type(obj) is not obj.__class__:
        # A proxy would be pickled as a proxy.
        obj = obj.copy(deep=False)
    return _pickle_buffers(b'PD\n', obj)


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


def _serialize_pickle(obj: Any) -> list[BytesLike]:
    return _pickle_buffers(b'PK\n', obj)


def _deserialize_pickle(body: memoryview) -> Any:
    return pickle.loads(body)


def _serialize_cloudpickle(obj: Any) -> list[BytesLike]:
    cloudpickle: Any = importlib.import_module('cloudpickle')
    return [b'CP\n' + cloudpickle.dumps(obj, protocol=_PICKLE_PROTOCOL)]


class _LargeBufferError(Exception):
    """A buffer is better gathered than copied into the pickle."""


def _refuse_large_buffer(buffer: pickle.PickleBuffer) -> bool:
    if buffer.raw().nbytes >= _LARGE_BUFFER:
        raise _LargeBufferError
    return True


class _Gather(list[BytesLike]):
    """File that keeps what is written to it without copying it."""

    def write(self, data: BytesLike | pickle.PickleBuffer) -> None:
        # Buffers larger than a pickle frame are written as they are.
        self.append(data.raw() if isinstance(data, pickle.PickleBuffer) else data)


def _pickle_buffers(identifier: bytes, obj: Any) -> list[BytesLike]:
    gather = _Gather([identifier])
    pickle.Pickler(gather, protocol=_PICKLE_PROTOCOL).dump(obj)
    return gather


_Supported = Callable[[Any], bool]
_Serializer = Callable[[Any], list[BytesLike]]

_ANY_OBJECT: Sequence[tuple[_Supported | None, _Serializer]] = (
    (None, _serialize_pickle),
    (None, _serialize_cloudpickle),
)
_SERIALIZERS: Sequence[tuple[_Supported | None, _Serializer]] = (
    (_is_bytes, _serialize_bytes),
    (_is_str, _serialize_str),
    (_is_array, _serialize_array),
    (_is_pandas_frame, _serialize_pandas),
    (_is_polars_frame, _serialize_polars),
    *_ANY_OBJECT,
)
_DESERIALIZERS: dict[bytes, tuple[str, Callable[[memoryview], Any]]] = {
    b'BS': ('bytes', _deserialize_bytes),
    b'US': ('string', _deserialize_str),
    b'NP': ('numpy', _deserialize_array),
    b'PD': ('pandas', _deserialize_pandas),
    b'PL': ('polars', _deserialize_polars),
    b'PK': ('pickle', _deserialize_pickle),
    b'CP': ('cloudpickle', _deserialize_pickle),
}
