"""The asynchronous operations of native connectors.

Each is a plain function that returns a future of the running loop. The
operation begins at the end of the loop's turn, or sooner if many wait for that,
on a runtime that all loops of the process share; it is begun even if nobody
awaits the future, and cancelling the future cancels it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from proxystore.connectors.native import CoreConnector, Fetch
    from proxystore.serialize import BytesLike

__all__ = ['AwaitableDeferrableOperations', 'AwaitableOperations', 'override_together']

KeyT = TypeVar('KeyT', bound=tuple[Any, ...])

_OPERATIONS = ('close', 'evict', 'exists', 'get', 'get_batch', 'put', 'put_batch', 'set')


class AwaitableOperations(Generic[KeyT]):
    """The operations that every native connector has.

    All raise `RuntimeError` if no loop runs in this thread. What else goes
    wrong, awaiting the future raises, as the method without the `a` does.
    """

    _native: CoreConnector

    def aclose(self, clear: bool | None = None) -> asyncio.Future[None]:
        """Close the connector, as `close` does, without keeping the loop waiting.

        Args:
            clear: Remove what the connector stored, overriding the option
                of that name. `None` leaves it to the option.
        """
        return self._native.aclose(clear)

    def aevict(self, key: KeyT) -> asyncio.Future[None]:
        """Remove an object, as `evict` does.

        Args:
            key: Key of the object.
        """
        return self._native.aevict(key)

    def aexists(self, key: KeyT) -> asyncio.Future[bool]:
        """Tell whether `get` would find an object, as `exists` does.

        Args:
            key: Key of the object.
        """
        return self._native.aexists(key)

    def aget(self, key: KeyT, *, copy: bool = False) -> asyncio.Future[BytesLike | None]:
        """Get the bytes of an object, as `get` does.

        Args:
            key: Key of the object.
            copy: Copy an object that would be mapped.

        Returns:
            A future of what `get` returns. A connector in memory has the
            object at once, and the future is done.
        """
        return self._native.aget(key, copy)

    def aget_batch(self, keys: Sequence[KeyT]) -> asyncio.Future[list[BytesLike | None]]:
        """Get the bytes of several objects, as `get_batch` does.

        Args:
            keys: Keys of the objects.
        """
        return self._native.aget_batch(keys)

    def aput(self, obj: BytesLike | Sequence[BytesLike]) -> asyncio.Future[KeyT]:
        """Store an object under a new key, as `put` does.

        Args:
            obj: Bytes of the object, as `put` takes them. Until the operation
                has ended the buffers cannot be resized, and are not to be
                written to; cancelled or not.

        Returns:
            A future of the key. An object whose future was cancelled is
            removed again.
        """
        future: asyncio.Future[KeyT] = self._native.aput(obj)
        return future

    def aput_batch(
        self, objs: Sequence[BytesLike | Sequence[BytesLike]]
    ) -> asyncio.Future[list[KeyT]]:
        """Store several objects, as `put_batch` does.

        Args:
            objs: Objects, each as `aput` takes it.
        """
        future: asyncio.Future[list[KeyT]] = self._native.aput_batch(objs)
        return future

    def fetch(self, key: KeyT) -> Fetch | None:
        """Begin to get an object before anybody waits for it.

        No loop is needed, and no thread waits.

        Args:
            key: Key of the object.

        Returns:
            The get that is under way; `None` if this connector does not get
            objects like this.
        """
        return self._native.fetch(key)


class AwaitableDeferrableOperations(Generic[KeyT]):
    """The operation of native connectors whose keys can be made before their objects."""

    _native: CoreConnector

    def aset(self, key: KeyT, obj: BytesLike | Sequence[BytesLike]) -> asyncio.Future[None]:
        """Store an object under a key that `new_key` made, as `set` does.

        Args:
            key: Key of the object.
            obj: Bytes of the object, as `aput` takes them.
        """
        return self._native.aset(key, obj)


def override_together(class_: type[Any]) -> None:
    """Let the asynchronous twins of overridden operations do the same as these.

    Args:
        class_: A subclass. Twins that it overrides itself stay as they are.
    """
    own = vars(class_)
    for name in _OPERATIONS:
        if name in own and f'a{name}' not in own:
            setattr(class_, f'a{name}', _in_thread(name))
    if 'get' in own and 'fetch' not in own:
        class_.fetch = _fetch_nothing


def _in_thread(name: str) -> Callable[..., Any]:
    def operation(self: Any, *args: Any, **kwargs: Any) -> Any:
        from proxystore.connectors import _asyncio

        return _asyncio.call(self, name, *args, **kwargs)

    operation.__name__ = operation.__qualname__ = f'a{name}'
    operation.__doc__ = f'Call `{name}` in a thread.'
    return operation


def _fetch_nothing(self: Any, key: Any) -> None:
    """Leave it to a thread, which calls `get`."""
