"""Objects as bytes.

What [`serialize`][proxystore.serialize.serialize] returns is in one of
upstream's formats, which `_upstream` describes. A store writes an object with
large buffers as a frame instead, unless it is `compatible`: a short header and
the buffers as they are, which [`deserialize`][proxystore.serialize.deserialize]
gives back without a copy. `docs/serializer.md` describes it.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence, Sized
from typing import Any, TypeGuard, TypeVar

if sys.version_info >= (3, 12):  # pragma: >=3.12 cover
    from collections.abc import Buffer
    from typing import Protocol, runtime_checkable

    @runtime_checkable
    class BytesLike(Buffer, Sized, Protocol):
        """Object with the buffer protocol and a length."""

else:  # pragma: <3.12 cover
    BytesLike = bytes | bytearray | memoryview

from proxystore.connectors.exceptions import ObjectCorruptedError
from proxystore.serialize import _frames, _framing, _registry, _upstream

__all__ = [
    'BytesLike',
    'CorruptedObjectError',
    'MissingChecksumError',
    'SerializationError',
    'deserialize',
    'is_bytes_like',
    'register_serializer',
    'serialize',
    'serialize_buffers',
    'takes_buffers',
    'unregister_serializer',
]

# Up to this size a copy takes less time than a view.
_SMALL_OBJECT = 4096

DeserializerT = TypeVar('DeserializerT', bound=Callable[..., Any])


class SerializationError(Exception):
    """An object cannot be serialized, or bytes cannot be deserialized."""


class CorruptedObjectError(SerializationError, ObjectCorruptedError):
    """The bytes of an object are not those that were written: a checksum does not match."""


class MissingChecksumError(SerializationError):
    """An object that is to be verified carries no checksums."""


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


def register_serializer(
    name: str,
    serializer: Callable[[Any], BytesLike | Sequence[BytesLike]],
    deserializer: Callable[[Any], Any],
) -> None:
    """Let stores serialize the objects of a class by functions of your own.

    They are used wherever such an object occurs: alone, or within containers
    and other objects. Both sides have to register them. Neither has to import
    the class before there is an object of it, and the bytes of an object name
    nothing but the class: what is called for them is what is registered here.

    Args:
        name: Module and qualified name of the class, such as
            `'package.module.Class'`. Objects of subclasses do not count.
        serializer: Function that turns an object into a buffer, or into a
            list or tuple of buffers, which may be the object's own memory.
        deserializer: Function that turns it into an object again. It is given
            one buffer, or a list of buffers if the serializer returned
            several. They can be written to, unless they are small, and kept.

    Raises:
        ValueError: If other functions are registered under the name.
    """
    _registry.register(_registry.Registration(name, serializer, deserializer))


def unregister_serializer(name: str) -> None:
    """Take back what `register_serializer()` did.

    Args:
        name: Name of the class. Nothing happens if it is not registered.
    """
    _registry.unregister(name)


def serialize(obj: Any) -> bytes:
    """Serialize an object, in a format that upstream reads.

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
                obj, _upstream.PROTOCOL, buffer_callback=_framing.refuse_large_buffer
            )
        except Exception:
            pass
    return b''.join(serialize_buffers(obj))


def serialize_buffers(
    obj: Any, *, compatible: bool = True, checksums: bool = False
) -> list[BytesLike]:
    """Serialize an object without copying the buffers in it.

    Args:
        obj: Object to serialize.
        compatible: Use only formats that upstream reads. If not, objects with
            large buffers are framed.
        checksums: Frame the object, and give its buffers checksums, which
            `deserialize()` compares. They are made while a connector stores
            the buffers, or when the first of them is read.

    Returns:
        Buffers that, joined, are the serialized object; if it is compatible,
        what `serialize()` returns. They may be the object's own memory: use
        them before it changes.

    Raises:
        SerializationError: If neither pickle nor cloudpickle takes it.
        ValueError: If it is to be compatible and to have checksums.
    """
    if compatible and checksums:
        msg = 'The formats that upstream reads have no room for checksums.'
        raise ValueError(msg)
    try:
        if compatible:
            return _upstream.serialize(obj)
        kind = type(obj)  # pyright: ignore[reportUnknownVariableType]
        if (kind is dict or kind is list or kind is tuple) and not checksums:
            data = _framing.write_plain(obj)
            if data is not None:
                return [data]
        return _framing.write(obj, sums=checksums, always=checksums)
    except Exception as error:
        msg = f'Object of type {type(obj)} is not supported.'
        raise SerializationError(msg) from error


@takes_buffers
def deserialize(buffer: BytesLike, *, verify: bool | None = None) -> Any:
    """Deserialize an object.

    Args:
        buffer: What `serialize()` returned, or `serialize_buffers()` joined.
            An array is made over this memory, without a copy, if a connector
            made it for this one `get()`; else over memory of its own. It can
            be written to in either case.
        verify: Compare the checksums of the object. `None` compares those
            that it has, `True` raises if it has none, `False` looks at none.

    Returns:
        The object.

    Raises:
        ValueError: If the argument is not bytes-like.
        CorruptedObjectError: If the bytes are not those that were written.
        MissingChecksumError: If there are no checksums to be compared.
        SerializationError: If the identifier is unknown, the body is damaged,
            or the object is of a type that has to be registered.
    """
    if (
        type(buffer) is bytes
        and len(buffer) < _SMALL_OBJECT
        and buffer.startswith(b'PK\n')
        and not verify
    ):
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
    if head == _frames.MAGIC:
        return _deserialize_frame(view, verify)
    identifier, body = (head[:2], view[3:])
    deserializer = _upstream.DESERIALIZERS.get(identifier)
    if deserializer is None or head[2:] not in {b'\n', b''}:
        identifier = bytes(view[:64]).split(b'\n', 1)[0]
        msg = f'Unknown identifier {identifier!r} for deserialization.'
        raise SerializationError(msg)
    name, function = deserializer
    if verify:
        msg = (
            f'The object carries no checksums: it is in the {name} format, which has none. '
            'Its producer has to write them: Store(..., verify=True).'
        )
        raise MissingChecksumError(msg)
    try:
        return function(body)
    except Exception as error:
        msg = f'Failed to deserialize object using the {name} serializer.'
        raise SerializationError(msg) from error


def _deserialize_frame(view: memoryview, verify: bool | None) -> Any:
    try:
        frame = _frames.open(view, verify)
    except ObjectCorruptedError as error:
        msg = f'The object is damaged: {error}.'
        raise CorruptedObjectError(msg) from error
    except Exception as error:
        msg = f'Failed to deserialize object: {error}.'
        raise SerializationError(msg) from error
    if verify and not frame.has_sums:
        msg = (
            'The object carries no checksums of its buffers. '
            'Its producer has to write them: Store(..., verify=True).'
        )
        raise MissingChecksumError(msg)
    try:
        return _frames.read(frame)
    except SerializationError:
        raise
    except Exception as error:
        msg = f'Failed to deserialize object using the frame serializer ({frame.name}).'
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
