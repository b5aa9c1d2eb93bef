"""Asynchronous operations of a connector whose synchronous ones wait for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from proxystore.serialize import BytesLike

__all__ = ['ImmediateOperations']

T = TypeVar('T')


class ImmediateOperations:
    """Each operation calls its synchronous twin, and returns a future that is done."""

    close: Callable[..., None]
    evict: Callable[[Any], None]
    exists: Callable[[Any], bool]
    get: Callable[[Any], BytesLike | None]
    get_batch: Callable[[Any], list[BytesLike | None]]
    put: Callable[[Any], Any]
    put_batch: Callable[[Any], list[Any]]
    set: Callable[[Any, Any], None]

    def aclose(self) -> asyncio.Future[None]:
        """Close the connector, as `close()` does."""
        return _at_once(self.close)

    def aevict(self, key: Any) -> asyncio.Future[None]:
        """Remove an object, as `evict()` does.

        Args:
            key: Key of the object.
        """
        return _at_once(self.evict, key)

    def aexists(self, key: Any) -> asyncio.Future[bool]:
        """Tell whether an object is there, as `exists()` does.

        Args:
            key: Key of the object.
        """
        return _at_once(self.exists, key)

    def aget(self, key: Any) -> asyncio.Future[BytesLike | None]:
        """Get an object, as `get()` does.

        Args:
            key: Key of the object.
        """
        return _at_once(self.get, key)

    def aget_batch(self, keys: Sequence[Any]) -> asyncio.Future[list[BytesLike | None]]:
        """Get several objects, as `get_batch()` does.

        Args:
            keys: Keys of the objects.
        """
        return _at_once(self.get_batch, keys)

    def aput(self, obj: BytesLike) -> asyncio.Future[Any]:
        """Put an object, as `put()` does.

        Args:
            obj: Bytes of the object.
        """
        return _at_once(self.put, obj)

    def aput_batch(self, objs: Sequence[BytesLike]) -> asyncio.Future[list[Any]]:
        """Put several objects, as `put_batch()` does.

        Args:
            objs: Bytes of the objects.
        """
        return _at_once(self.put_batch, objs)

    def aset(self, key: Any, obj: BytesLike) -> asyncio.Future[None]:
        """Put the object of a key from `new_key()`, as `set()` does.

        Args:
            key: The key.
            obj: Bytes of the object.
        """
        return _at_once(self.set, key, obj)


def _at_once(function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    from proxystore.connectors import _asyncio

    return _asyncio.at_once(function, *args)
