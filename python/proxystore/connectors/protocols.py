"""What a class needs to be a connector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from proxystore.serialize import BytesLike

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    'BytesLike',
    'Connector',
    'DeferrableConnector',
    'copies',
    'needs_checksums',
    'replaces',
    'statistics',
]

KeyT = TypeVar('KeyT', bound=tuple[Any, ...])


@runtime_checkable
class Connector(Protocol[KeyT]):
    """Keeps byte strings under keys that it makes itself.

    Any object with these methods is a connector: nothing has to be inherited.
    Keys are tuples, usually a `NamedTuple` of the connector's own, because
    they are hashed, compared and pickled.

    Threads and forked children may share a connector.

    Stores look for four attributes that a connector need not have:
    `accepts_buffers`, whether `put()` and `set()` take a list of buffers as
    well as a single one; `copies`, whether `get()` takes `copy`, which asks
    for memory that is cheap to write to all over; `needs_checksums`, whether
    objects can change without anybody's notice, and `replaces`, whether
    `set()` takes keys that `put()` made, both of which are assumed unless it
    says otherwise.
    """

    def close(self) -> None:
        """Close the connector. Closing again does nothing."""
        ...

    def config(self) -> dict[str, Any]:
        """Options with which `from_config()` makes a connector on the same storage."""
        ...

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Connector[Any]:
        """Make a connector.

        Args:
            config: Options, as `config()` returned them.
        """
        ...

    def evict(self, key: KeyT) -> None:
        """Remove an object.

        Args:
            key: Key of the object. Nothing happens if it is not there.
        """
        ...

    def exists(self, key: KeyT) -> bool:
        """Tell whether an object is there.

        Args:
            key: Key of the object.
        """
        ...

    def get(self, key: KeyT) -> BytesLike | None:
        """Get an object.

        Args:
            key: Key of the object.

        Returns:
            The bytes that were put, or `None` if they are not there.
        """
        ...

    def get_batch(self, keys: Sequence[KeyT]) -> list[BytesLike | None]:
        """Get several objects.

        Args:
            keys: Keys of the objects.

        Returns:
            For each key in turn what `get()` would return.
        """
        ...

    def put(self, obj: BytesLike) -> KeyT:
        """Put an object.

        Args:
            obj: Bytes of the object.

        Returns:
            The key, which any process able to make this connector can use
            from now on.
        """
        ...

    def put_batch(self, objs: Sequence[BytesLike]) -> list[KeyT]:
        """Put several objects.

        Args:
            objs: Bytes of the objects.

        Returns:
            Their keys, in order.
        """
        ...


@runtime_checkable
class DeferrableConnector(Protocol[KeyT]):
    """What a connector has besides if it can give a key before there is an object."""

    def new_key(self, obj: bytes | None = None) -> KeyT:
        """Make a key for an object that comes later.

        Args:
            obj: The object, for connectors whose keys depend on it.

        Returns:
            The key. `exists()` is `False` for it until `set()` was called.
        """
        ...

    def set(self, key: KeyT, obj: BytesLike) -> None:
        """Put the object of a key from `new_key()`.

        Args:
            key: The key.
            obj: Bytes of the object.
        """
        ...


def copies(connector: Any) -> bool:
    """Tell whether the `get()` of a connector takes `copy`.

    Args:
        connector: The connector. One that says nothing does not.
    """
    return getattr(connector, 'copies', False) is True


def needs_checksums(connector: Any, *, deferred: bool = False) -> bool:
    """Tell whether objects in a connector can change without anybody's notice.

    Args:
        connector: The connector. What is not known of one is taken for granted.
        deferred: Whether it is about objects whose keys are made before them.
    """
    name = 'needs_deferred_checksums' if deferred else 'needs_checksums'
    return bool(getattr(connector, name, True))


def statistics(connector: Any) -> dict[str, Any]:
    """Return what a connector tells of its work: nothing if it keeps no count.

    Args:
        connector: The connector.
    """
    tell: Callable[[], dict[str, Any]] | None = getattr(connector, 'statistics', None)
    return {} if tell is None else tell()


def replaces(connector: Any) -> bool:
    """Tell whether the `set()` of a connector takes keys that `put()` made.

    Args:
        connector: The connector. One that says nothing does.
    """
    return getattr(connector, 'replaces', True) is not False
