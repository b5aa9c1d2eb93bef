"""Connector that keeps objects in a dictionary of this process.

Made for tests and for programs of one process: no other process sees the
objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, cast

from proxystore.connectors._immediate import ImmediateOperations
from proxystore.connectors.exceptions import ConnectorClosedError, ConnectorKeyError
from proxystore.serialize import BytesLike
from proxystore.utils._uuid import random_uuid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ['BytesLike', 'LocalConnector', 'LocalKey']


class LocalKey(NamedTuple):
    """Key of an object in a dictionary.

    Attributes:
        id: A random UUID in its canonical form.
    """

    id: str


# The constructor of a named tuple is a function in Python that calls this one.
_new_key: Any = cast('Any', tuple).__new__


class LocalConnector(ImmediateOperations):
    """Connector that keeps objects in a dictionary of this process.

    What is put is kept as it is, without a copy: an object that can be
    changed (a `bytearray`) changes in the dictionary, too.

    Args:
        store_dict: Dictionary to keep the objects in. Connectors with the
            same dictionary see the same objects. `None` is a new one.
        include_data_in_config: Let `config()` hold the dictionary, so that
            a connector made from the configuration has the objects: the same
            dictionary in this process, a copy of it where the configuration
            was pickled.
    """

    #: `put` takes one object of bytes, which it keeps.
    accepts_buffers: ClassVar[bool] = False
    #: The objects do not leave the memory of this process.
    needs_checksums: ClassVar[bool] = False
    needs_deferred_checksums: ClassVar[bool] = False

    def __init__(
        self,
        store_dict: dict[LocalKey, BytesLike] | None = None,
        *,
        include_data_in_config: bool = False,
    ) -> None:
        self._store: dict[LocalKey, BytesLike] = {} if store_dict is None else store_dict
        self._include_data_in_config = include_data_in_config
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'

    def close(self) -> None:
        """Close the connector. Closing again does nothing; any other use afterwards raises.

        The dictionary keeps its objects: it may belong to somebody else.
        """
        self._closed = True

    def config(self) -> dict[str, Any]:
        """Options that differ from their defaults.

        Returns:
            Options with which `from_config()` makes a connector; its
            dictionary is a new one unless `include_data_in_config` is set.
        """
        if not self._include_data_in_config:
            return {}
        return {'include_data_in_config': True, 'store_dict': self._store}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a connector.

        Args:
            config: Options, as `config()` returned them.

        Raises:
            TypeError: If an option is unknown.
        """
        return cls(**config)

    def evict(self, key: LocalKey) -> None:
        """Remove an object.

        Args:
            key: Key of the object. Nothing happens if it is not there.

        Raises:
            ConnectorClosedError: If the connector is closed.
            ConnectorKeyError: If the key is not of this kind of connector.
        """
        self._check(key)
        self._store.pop(key, None)

    def exists(self, key: LocalKey) -> bool:
        """Tell whether an object is there.

        Args:
            key: Key of the object.

        Raises:
            ConnectorClosedError: If the connector is closed.
            ConnectorKeyError: If the key is not of this kind of connector.
        """
        self._check(key)
        return key in self._store

    def get(self, key: LocalKey) -> BytesLike | None:
        """Get an object.

        Args:
            key: Key of the object.

        Returns:
            The very object that was put, or `None` if it is not there.

        Raises:
            ConnectorClosedError: If the connector is closed.
            ConnectorKeyError: If the key is not of this kind of connector.
        """
        if self._closed or type(key) is not LocalKey:
            self._check(key)
        return self._store.get(key)

    def get_batch(self, keys: Sequence[LocalKey]) -> list[BytesLike | None]:
        """Get several objects.

        Args:
            keys: Keys of the objects.

        Returns:
            For each key in turn what `get()` would return.

        Raises:
            ConnectorClosedError: If the connector is closed.
            ConnectorKeyError: If a key is not of this kind of connector.
        """
        return [self.get(key) for key in keys]

    def new_key(self, obj: BytesLike | None = None) -> LocalKey:  # noqa: ARG002
        """Make a key for an object that comes later.

        Args:
            obj: Not used: no key depends on its object.

        Returns:
            A new key.

        Raises:
            ConnectorClosedError: If the connector is closed.
        """
        if self._closed:
            self._raise_closed()
        key: LocalKey = _new_key(LocalKey, (random_uuid(),))
        return key

    def put(self, obj: BytesLike) -> LocalKey:
        """Put an object.

        Args:
            obj: Bytes of the object. They are kept as they are.

        Returns:
            The object's key.

        Raises:
            ConnectorClosedError: If the connector is closed.
        """
        if self._closed:
            self._raise_closed()
        key: LocalKey = _new_key(LocalKey, (random_uuid(),))
        self._store[key] = obj
        return key

    def put_batch(self, objs: Sequence[BytesLike]) -> list[LocalKey]:
        """Put several objects.

        Args:
            objs: Bytes of the objects.

        Returns:
            Their keys, in order.

        Raises:
            ConnectorClosedError: If the connector is closed.
        """
        return [self.put(obj) for obj in objs]

    def set(self, key: LocalKey, obj: BytesLike) -> None:
        """Put the object of a key from `new_key()`, or replace an object.

        Args:
            key: The key.
            obj: Bytes of the object.

        Raises:
            ConnectorClosedError: If the connector is closed.
            ConnectorKeyError: If the key is not of this kind of connector.
        """
        self._check(key)
        self._store[key] = obj

    def _check(self, key: LocalKey) -> None:
        if self._closed:
            self._raise_closed()
        # A plain tuple is equal to the key with the same field.
        if type(key) is not tuple and not isinstance(key, LocalKey):
            msg = f'{key!r} is not a key of a LocalConnector.'
            raise ConnectorKeyError(msg)

    def _raise_closed(self) -> None:
        msg = f'{self!r} is closed: nothing can be put into it or got from it.'
        raise ConnectorClosedError(msg)
