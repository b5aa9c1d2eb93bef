"""How a store turns objects into bytes, and back."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from proxystore.connectors.exceptions import ObjectCorruptedError
from proxystore.connectors.protocols import needs_checksums
from proxystore.serialize import (
    BytesLike,
    CorruptedObjectError,
    MissingChecksumError,
    SerializationError,
    deserialize,
    is_bytes_like,
    serialize_buffers,
)
from proxystore.serialize import _frames as frames
from proxystore.serialize._framing import write, write_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxystore.store.types import ConnectorKeyT, DeserializerT, SerializerT

__all__ = ['Serialization', 'guarded_memory', 'size']


class Serialization:
    """How the objects of one store are written and read.

    Args:
        name: Name of the store.
        serializer: Serializer to use instead of the default.
        deserializer: Deserializer to use instead of the default.
        verify: Whether to write and compare checksums. `None` leaves it to
            the connector and to the object.
        compatible: Whether to write only formats that upstream reads.

    Raises:
        ValueError: If `verify` and `compatible` are both set.
    """

    __slots__ = (
        '_asked',
        '_name',
        '_special',
        '_sums',
        'compatible',
        'deserializer',
        'serializer',
        'verify',
    )

    def __init__(
        self,
        name: str,
        serializer: SerializerT | None,
        deserializer: DeserializerT | None,
        *,
        verify: bool | None,
        compatible: bool,
    ) -> None:
        if verify and compatible:
            msg = (
                f'The store "{name}" cannot be compatible and verify: the formats that '
                'ProxyStore 1.1.0 reads have no checksums.'
            )
            raise ValueError(msg)
        self._name = name
        self.serializer = serializer
        self.deserializer = deserializer
        self.verify = verify
        self.compatible = compatible
        self._special = bool(verify) or compatible
        # The connector that was asked whether it needs checksums, and what it said.
        self._asked: Any = None
        self._sums = False

    def write(
        self,
        obj: Any,
        connector: Any,
        serializer: SerializerT | None,
        *,
        deferred: bool = False,
    ) -> Any:
        """Serialize an object.

        Args:
            obj: The object.
            connector: Connector that it is for.
            serializer: Serializer to use instead of the store's.
            deferred: Whether the object's key is there already.

        Returns:
            One buffer, or a list of buffers if the connector takes them.

        Raises:
            SerializationError: If the object cannot be serialized.
            TypeError: If the serializer does not return buffers.
        """
        if serializer is None:
            serializer = self.serializer
        if serializer is None:
            kind = type(obj)  # pyright: ignore[reportUnknownVariableType]
            if (kind is dict or kind is list or kind is tuple) and not self._special:
                # The shortest way, for what most small objects are.
                small = write_plain(obj)
                if small is not None:
                    return small
            data: Any = self._write(obj, connector, deferred)
        else:
            data = self._write_by(serializer, obj)
        if isinstance(data, list) and not getattr(connector, 'accepts_buffers', False):
            return frames.join_buffers(data)  # pyright: ignore[reportUnknownArgumentType]
        return data  # pyright: ignore[reportUnknownVariableType]

    def read(self, key: ConnectorKeyT, data: BytesLike, deserializer: DeserializerT | None) -> Any:
        """Deserialize an object.

        Args:
            key: Its key.
            data: What the connector returned.
            deserializer: Deserializer to use instead of the store's.

        Raises:
            SerializationError: If it cannot be deserialized.
        """
        if deserializer is None:
            deserializer = self.deserializer
        try:
            if deserializer is None:
                return deserialize(data, verify=self.verify)
            return deserializer(self._for_deserializer(data, deserializer))
        except Exception as error:
            function = deserialize if deserializer is None else deserializer
            name = getattr(function, '__qualname__', None)
            path = repr(function) if name is None else f'{function.__module__}.{name}'
            msg = (
                f'Failed to deserialize object (deserializer={path}, key={key}) '
                f'of the store "{self._name}".'
            )
            raise _error_like(error, msg) from error

    def _write(self, obj: Any, connector: Any, deferred: bool) -> Any:
        try:
            if self.compatible:
                return serialize_buffers(obj)
            sums = self.verify
            if sums is None:
                sums = (
                    needs_checksums(connector, deferred=True)
                    if deferred
                    else self._needs_sums(connector)
                )
            return write(obj, sums=sums, always=bool(self.verify))
        except Exception as error:
            cause = error.__cause__ if isinstance(error, SerializationError) else error
            msg = (
                f'Object of type {type(obj)} is not supported. '
                f'It cannot be put into the store "{self._name}".'
            )
            raise SerializationError(msg) from cause

    def _write_by(self, serializer: Callable[[Any], Any], obj: Any) -> Any:
        data = serializer(obj)
        if isinstance(data, list | tuple):
            parts: list[Any] = list(data)  # pyright: ignore[reportUnknownArgumentType]
            wrong = [part for part in parts if not _is_buffer(part)]
            data = parts
        else:
            wrong = [] if is_bytes_like(data) else [data]
        if wrong:
            msg = (
                'Serializer must return a bytes-like object, or a list or tuple of such objects. '
                f'That of the store "{self._name}" returned {type(wrong[0])}.'
            )
            raise TypeError(msg)
        return frames.wrap(data) if self.verify else data

    def _needs_sums(self, connector: Any) -> bool:
        if connector is not self._asked:
            self._sums = needs_checksums(connector)
            self._asked = connector
        return self._sums

    def _for_deserializer(self, data: BytesLike, deserializer: DeserializerT) -> BytesLike:
        """Return what a deserializer of the user's is given."""
        data, has_sums = frames.unwrap(data, self.verify)
        if self.verify and not has_sums:
            msg = (
                'The object carries no checksum. '
                'Its producer has to write one: Store(..., verify=True).'
            )
            raise MissingChecksumError(msg)
        if type(data) is not bytes and not getattr(deserializer, '__takes_buffers__', False):
            return bytes(data)
        return data


def guarded_memory(data: Any) -> weakref.ref[Any] | None:
    """Return the memory of an object, if the connector cannot use it again while it is held.

    Args:
        data: What a connector returned.

    Returns:
        A reference that does not hold it, or `None` if it is other memory.
    """
    memory = data.obj if type(data) is memoryview else data
    return weakref.ref(memory) if getattr(memory, 'is_guarded', False) else None


def size(data: Any) -> int:
    """Return how many bytes one buffer has, or several that make up an object."""
    if isinstance(data, list):
        return sum([size(part) for part in data])  # pyright: ignore[reportUnknownVariableType]
    return data.nbytes if isinstance(data, memoryview) else len(data)


def _is_buffer(part: Any) -> bool:
    if is_bytes_like(part):
        return True
    try:
        memoryview(part)
    except TypeError:
        return False
    return True


def _error_like(error: Exception, message: str) -> SerializationError:
    if isinstance(error, ObjectCorruptedError):
        return CorruptedObjectError(message)
    if isinstance(error, MissingChecksumError):
        return MissingChecksumError(message)
    return SerializationError(message)
