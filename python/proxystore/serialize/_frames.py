"""Frames: objects with large buffers, as `_framing` writes them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

from proxystore._native import join_buffers, make_frame, open_frame
from proxystore.connectors.exceptions import ConnectorError
from proxystore.serialize import _rebuild

if TYPE_CHECKING:
    from proxystore.serialize import BytesLike

__all__ = [
    'MAGIC',
    'Frame',
    'Kind',
    'join_buffers',
    'make_frame',
    'open',
    'read',
    'unwrap',
    'wrap',
]

#: How every frame begins.
MAGIC = b'PF\n'


class Kind:
    """What a frame holds."""

    PICKLE = 1
    BYTES = 2
    TEXT = 3
    CLOUDPICKLE = 4
    ARRAY = 5
    REGISTERED = 6
    OPAQUE = 7


_NAMES = {
    Kind.PICKLE: 'pickle',
    Kind.BYTES: 'bytes',
    Kind.TEXT: 'string',
    Kind.CLOUDPICKLE: 'cloudpickle',
    Kind.ARRAY: 'numpy',
    Kind.REGISTERED: 'registered',
    Kind.OPAQUE: 'custom',
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


def wrap(data: Any) -> list[BytesLike]:
    """Frame what a serializer of the user's returned, with checksums.

    Args:
        data: One buffer, or a list of buffers.
    """
    buffer: Any = join_buffers(data) if isinstance(data, list) else data  # pyright: ignore[reportUnknownArgumentType]
    return make_frame(Kind.OPAQUE, b'', [], [memoryview(buffer).cast('B')], True)


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
    return (frame.buffers[0] if frame.kind == Kind.OPAQUE else data), frame.has_sums


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
        case Kind.ARRAY:
            return _rebuild.array(buffers[0], *pickle.loads(stream[0]))
        case Kind.PICKLE | Kind.CLOUDPICKLE:
            if len(stream) == 1:
                return pickle.loads(stream[0], buffers=buffers)
            return pickle.Unpickler(_Parts(stream), buffers=buffers).load()
        case Kind.BYTES:
            return bytes(buffers[0])
        case Kind.TEXT:
            return str(buffers[0], 'utf-8')
        case Kind.REGISTERED:
            head = bytes(stream[0])
            several, name = head[0], head[1:].decode()
            return _rebuild.registered(name, buffers if several else buffers[0])
        case _:
            msg = (
                'A serializer of its own was used for this object: get it with the deserializer '
                'that belongs to it.'
            )
            raise ValueError(msg)


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
