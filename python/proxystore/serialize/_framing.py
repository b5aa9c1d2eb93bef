"""Writing objects: as frames, or in upstream's formats where a frame has no advantage."""

from __future__ import annotations

import contextlib
import functools
import importlib
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from proxystore.serialize import _reducers, _registry, _upstream
from proxystore.serialize._frames import Kind, make_frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from proxystore.serialize import BytesLike

__all__ = ['refuse_large_buffer', 'write', 'write_plain']

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


class _How(NamedTuple):
    sums: bool
    always: bool


class _LargeBufferError(Exception):
    """A buffer is better passed beside the pickle than copied into it."""


def refuse_large_buffer(buffer: pickle.PickleBuffer) -> bool:
    """Make a pickler fail that is about to copy a large buffer."""
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
    if _registry.registrations:
        return None
    if len(obj) <= _FEW_ITEMS:
        for item in obj.values() if type(obj) is dict else obj:  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if type(item) is bytes and len(item) >= _LARGE:  # pyright: ignore[reportUnknownArgumentType]
                return None
    try:
        data = b'PK\n' + pickle.dumps(obj, 5, buffer_callback=refuse_large_buffer)
    except Exception:
        # The long way round tells what is wrong, or does without the shortcut.
        return None
    if len(data) >= _LARGE and any(name in data for name in _COPIED):
        return None
    return data


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
        return make_frame(Kind.REGISTERED, stream, [], parts, sums)
    for supported, writer in _WRITERS:
        if supported(obj):
            with contextlib.suppress(Exception):
                written: list[BytesLike] = writer(obj, how)
                return written
            break
    return _write_pickle(obj, how)


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
        return _try_pickle(_Pickler, Kind.PICKLE, identifier, obj, how)
    except Exception:
        return _try_pickle(_cloud_pickler(), Kind.CLOUDPICKLE, b'CP\n', obj, how)


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


def _write_bytes(obj: bytes, how: _How) -> list[BytesLike]:
    # A slice of a subclass, or of a proxy, is the plain bytes; of bytes it is the object itself.
    data = obj[:]
    return make_frame(Kind.BYTES, b'', [], [data], how.sums) if how.always else [b'BS\n', data]


def _write_str(obj: str, how: _How) -> list[BytesLike]:
    data = obj.encode()
    return make_frame(Kind.TEXT, b'', [], [data], how.sums) if how.always else [b'US\n', data]


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
    return make_frame(Kind.ARRAY, stream, [], [_reducers.elements(arranged)], how.sums)


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
