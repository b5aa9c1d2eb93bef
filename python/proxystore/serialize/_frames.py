"""Objects with large buffers: pickles, and the buffers beside them."""

from __future__ import annotations

import contextlib
import functools
import importlib
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from proxystore._native import join_buffers, make_frame, open_frame
from proxystore.connectors.exceptions import ConnectorError
from proxystore.serialize import _rebuild, _reducers, _registry, _upstream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from proxystore.serialize import BytesLike

__all__ = [
    'MAGIC',
    'Frame',
    'join_buffers',
    'open',
    'read',
    'unwrap',
    'wrap',
    'write',
    'write_plain',
]

#: How every frame begins.
MAGIC = b'PF\n'

# Objects with fewer bytes of buffers than this are written in upstream's
# formats: to copy them takes about as long as to pass them beside the pickle.
_LARGE = 64 * 1024
# Pickles from this size on follow the header in parts, instead of in it.
_LONG_STREAM = 64 * 1024
_PART = 1024 * 1024
# A quick look into larger containers than this would not be quick.
_FEW_ITEMS = 8
# What stands in the pickles of objects that may have put buffers into them as bytes.
_COPIED = (b'reconstruct', b'polars', b'torch')

_PICKLE, _BYTES, _TEXT, _CLOUDPICKLE, _ARRAY, _REGISTERED, _OPAQUE = range(1, 8)
_NAMES = {
    _PICKLE: 'pickle',
    _BYTES: 'bytes',
    _TEXT: 'string',
    _CLOUDPICKLE: 'cloudpickle',
    _ARRAY: 'numpy',
    _REGISTERED: 'registered',
    _OPAQUE: 'custom',
}


class Frame(NamedTuple):
    """A frame, taken apart.

    Attributes:
        kind: What it holds.
        has_sums: Whether its buffers have checksums.
        stream: Parts of what precedes the buffers.
        buffers: The buffers.
    """

    kind: int
    has_sums: bool
    stream: list[memoryview]
    buffers: list[memoryview]

    @property
    def name(self) -> str:
        """Name of the kind."""
        return _NAMES[self.kind]


class _How(NamedTuple):
    sums: bool
    always: bool


class _LargeBufferError(Exception):
    """A buffer is better passed beside the pickle than copied into it."""


def refuse_large_buffer(buffer: pickle.PickleBuffer) -> bool:
    if buffer.raw().nbytes >= _reducers.SMALL_BUFFER:
        raise _LargeBufferError
    return True


def write_plain(obj: Any) -> bytes | None:
    """Serialize a list, tuple or dictionary in upstream's format, if a frame has no advantage.

    Args:
        obj: The object.

    Returns:
        Its bytes, or `None` if it has large buffers or cannot be pickled just
        so.
    """
    if _registry.registrations or (len(obj) <= _FEW_ITEMS and _has_large_bytes(obj)):
        return None
    try:
        data = b'PK\n' + pickle.dumps(obj, 5, buffer_callback=refuse_large_buffer)
    except Exception:
        # The long way round tells what is wrong, or does without the shortcut.
        return None
    if len(data) >= _LARGE and any(name in data for name in _COPIED):
        return None
    return data


def _has_large_bytes(obj: Any) -> bool:
    items = obj.values() if type(obj) is dict else obj  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    for item in items:  # noqa: SIM110  # pyright: ignore[reportUnknownVariableType]
        if type(item) is bytes and len(item) >= _LARGE:  # pyright: ignore[reportUnknownArgumentType]
            return True
    return False


def write(obj: Any, *, sums: bool, always: bool) -> list[BytesLike]:
    """Serialize an object into buffers, framed if it has large ones.

    Those that `write_plain()` takes are better off with it.

    Args:
        obj: The object.
        sums: Give its buffers checksums if it is framed.
        always: Frame it in any case.

    Returns:
        Buffers that, joined, are the serialized object.

    Raises:
        Exception: What cloudpickle, tried last, raised.
    """
    kind: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]
    how = _How(sums, always)
    if kind is dict or kind is list or kind is tuple:
        return _write_pickle(obj, how)
    registration = _registry.find(kind)
    if registration is not None:
        several, parts = _reducers.registered_buffers(obj, registration)
        stream = bytes([several]) + registration.name.encode()
        return make_frame(_REGISTERED, stream, [], parts, sums)
    for supported, writer in _WRITERS:
        if supported(obj):
            with contextlib.suppress(Exception):
                written: list[BytesLike] = writer(obj, how)
                return written
            break
    return _write_pickle(obj, how)


def wrap(data: Any) -> list[BytesLike]:
    """Frame what a serializer of the user's returned, with checksums.

    Args:
        data: One buffer, or a list of buffers.
    """
    buffer: Any = join_buffers(data) if isinstance(data, list) else data  # pyright: ignore[reportUnknownArgumentType]
    return make_frame(_OPAQUE, b'', [], [memoryview(buffer).cast('B')], True)


def unwrap(data: BytesLike, verify: bool | None) -> tuple[BytesLike, bool]:
    """Take what a serializer of the user's returned out of its frame.

    Args:
        data: Bytes of an object.
        verify: Whether to compare the checksum; as for `deserialize()`.

    Returns:
        A view of it, or the bytes themselves if they are no such frame; and
        whether there were checksums.

    Raises:
        ObjectCorruptedError: If a checksum does not match.
    """
    view = memoryview(data).cast('B')
    if bytes(view[: len(MAGIC)]) != MAGIC:
        return data, False
    try:
        frame = open(view, False)
    except ConnectorError:
        if verify:
            raise
        # The user's own, which begins like a frame by chance.
        return data, False
    if frame.has_sums and verify is not False:
        open(view, True)
    return (frame.buffers[0] if frame.kind == _OPAQUE else data), frame.has_sums


def open(data: memoryview, verify: bool | None) -> Frame:  # noqa: A001
    """Take a frame apart.

    Args:
        data: Its bytes.
        verify: `False` does not compare the checksums of the buffers.

    Raises:
        ObjectCorruptedError: If the bytes are not those that were written.
        UnsupportedOperationError: If a newer version has written them.
    """
    return Frame(*open_frame(data, verify is not False))


def read(frame: Frame) -> Any:
    """Make the object of a frame.

    Args:
        frame: The frame.
    """
    stream, buffers = frame.stream, frame.buffers
    match frame.kind:
        case 1 | 4:
            if len(stream) == 1:
                return pickle.loads(stream[0], buffers=buffers)
            return pickle.Unpickler(_Parts(stream), buffers=buffers).load()
        case 2:
            return bytes(buffers[0])
        case 3:
            return str(buffers[0], 'utf-8')
        case 5:
            return _rebuild.array(buffers[0], *pickle.loads(stream[0]))
        case 6:
            head = bytes(stream[0])
            several, name = head[0], head[1:].decode()
            return _rebuild.registered(name, buffers if several else buffers[0])
        case _:
            msg = (
                'A serializer of its own was used for this object: get it with the deserializer '
                'that belongs to it.'
            )
            raise ValueError(msg)


class _Sink:
    """Takes the buffers of a pickle."""

    __slots__ = ('buffers', 'size')

    def __init__(self) -> None:
        self.buffers: list[Any] = []
        self.size = 0

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        size = raw.nbytes
        if size < _reducers.SMALL_BUFFER:
            return True
        self.buffers.append(raw)
        self.size += size
        return False


class _Pickler(pickle.Pickler):
    """Pickler whose reducers do not copy buffers."""

    # Whether reducers were used, and whether some were those of registered types.
    reduced = False
    registered = False

    def reducer_override(self, obj: Any) -> Any:
        class_: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]
        reducer, registered = _reducers.find(class_)
        if reducer is None:
            return NotImplemented
        reduced = reducer(obj)
        if reduced is not NotImplemented:
            self.reduced = True
            self.registered |= registered
        return reduced


@functools.cache
def _cloud_pickler() -> Any:
    base: Any = importlib.import_module('cloudpickle').Pickler

    class _CloudPickler(base):  # type: ignore[misc]
        reduced = False
        registered = False

        def reducer_override(self, obj: Any) -> Any:
            reduced = _Pickler.reducer_override(cast('_Pickler', self), obj)
            return base.reducer_override(self, obj) if reduced is NotImplemented else reduced

    return _CloudPickler


def _write_pickle(obj: Any, how: _How, identifier: bytes = b'PK\n') -> list[BytesLike]:
    try:
        return _try_pickle(_Pickler, _PICKLE, identifier, obj, how)
    except Exception:
        return _try_pickle(_cloud_pickler(), _CLOUDPICKLE, b'CP\n', obj, how)


def _try_pickle(
    pickler_type: Any, kind: int, identifier: bytes, obj: Any, how: _How
) -> list[BytesLike]:
    stream, sink = _upstream.Gather(), _Sink()
    pickler = pickler_type(stream, _upstream.PROTOCOL, buffer_callback=sink.take)
    pickler.dump(obj)
    if how.always or sink.size >= _LARGE or pickler.registered:
        return _make_frame(kind, stream, sink.buffers, how.sums)
    if sink.buffers or pickler.reduced:
        # Too little for a frame.
        return _upstream.serialize(obj)
    return [identifier, *stream]


def _make_frame(
    kind: int, stream: Sequence[bytes], buffers: list[Any], sums: bool
) -> list[BytesLike]:
    if sum(map(len, stream)) < _LONG_STREAM:
        return make_frame(kind, b''.join(stream), [], buffers, sums)
    parts: list[Any] = []
    short: list[bytes] = []
    size = 0
    for part in stream:
        if len(part) >= _PART:
            parts += [b''.join(short), part] if short else [part]
            short, size = [], 0
            continue
        short.append(part)
        size += len(part)
        if size >= _PART:
            parts.append(b''.join(short))
            short, size = [], 0
    if short:
        parts.append(b''.join(short))
    return make_frame(kind, b'', parts, buffers, sums)


class _Parts:
    """File of several buffers, for an unpickler."""

    def __init__(self, parts: list[memoryview]) -> None:
        self._parts = [part for part in reversed(parts) if part.nbytes > 0]

    def read(self, size: int) -> bytes:
        # No more than is there, whatever a pickle asks for.
        data = bytearray(min(size, sum(map(len, self._parts))))
        return bytes(data[: self.readinto(data)])

    def readinto(self, target: Any) -> int:
        target = memoryview(target)
        filled = 0
        while filled < len(target) and self._parts:
            part = self._parts.pop()
            taken = min(len(part), len(target) - filled)
            target[filled : filled + taken] = part[:taken]
            filled += taken
            if taken < len(part):
                self._parts.append(part[taken:])
        return filled

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b'\n'):
            byte = self.read(1)
            if not byte:
                break
            line += byte
        return bytes(line)


def _write_bytes(obj: bytes, how: _How) -> list[BytesLike]:
    # A slice of a subclass, or of a proxy, is the plain bytes; of bytes it is the object itself.
    data = obj[:]
    return make_frame(_BYTES, b'', [], [data], how.sums) if how.always else [b'BS\n', data]


def _write_str(obj: str, how: _How) -> list[BytesLike]:
    data = obj.encode()
    return make_frame(_TEXT, b'', [], [data], how.sums) if how.always else [b'US\n', data]


def _write_array(obj: Any, how: _How) -> list[BytesLike]:
    import numpy as np

    if obj.__class__ is not np.ndarray and obj.__class__ is not np.memmap:
        # The pickle of a subclass says which. A proxy would be pickled as a proxy.
        return _write_pickle(obj if type(obj) is obj.__class__ else obj.view(), how)
    array: np.ndarray[Any, Any] = np.asarray(obj)
    dtype = array.dtype
    if dtype.hasobject or dtype.itemsize == 0:
        if how.always or _has_large_buffers(array):
            return _write_pickle(array, how)
        return _upstream.serialize_array(array)
    if not how.always and array.nbytes < _LARGE:
        return _upstream.serialize_array(array)
    arranged, axes = _reducers.dense(array)
    stream = pickle.dumps((dtype, arranged.shape, axes), _upstream.PROTOCOL)
    return make_frame(_ARRAY, stream, [], [_reducers.elements(arranged)], how.sums)


def _has_large_buffers(obj: Any) -> bool:
    try:
        pickle.dumps(obj, _upstream.PROTOCOL, buffer_callback=refuse_large_buffer)
    except Exception:
        return True
    return False


def _write_pandas(obj: Any, how: _How) -> list[BytesLike]:
    return _write_pickle(_upstream.plain_pandas_frame(obj), how, b'PD\n')


def _write_polars(obj: Any, how: _How) -> list[BytesLike]:
    # A proxy would be pickled as a proxy.
    frame = obj if type(obj) is obj.__class__ else obj.clone()
    if how.always:
        return _write_pickle(frame, how)
    if frame.estimated_size() >= _LARGE and _reducers.goes_through_arrow(frame):
        return _write_pickle(frame, how)
    return _upstream.serialize(frame)


_WRITERS: Any = (
    (_upstream.is_bytes, _write_bytes),
    (_upstream.is_str, _write_str),
    (_upstream.is_array, _write_array),
    (_upstream.is_pandas_frame, _write_pandas),
    (_upstream.is_polars_frame, _write_polars),
)
