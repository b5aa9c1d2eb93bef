"""Stores: put objects into a connector, get keys and proxies of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, cast

import proxystore.store
from proxystore.connectors.protocols import DeferrableConnector, statistics
from proxystore.proxy import Proxy, ProxyLocker
from proxystore.serialize import (
    BytesLike,
    SerializationError,
    deserialize,
    is_bytes_like,
    serialize,
)
from proxystore.store._asyncio import AwaitableStore
from proxystore.store._proxies import NonProxiableT, StoreProxies
from proxystore.store._serialization import Serialization
from proxystore.store.cache import LRUCache
from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.store.exceptions import NonProxiableTypeError, StoreExistsError
from proxystore.store.factory import PollingStoreFactory, StoreFactory
from proxystore.store.future import Future
from proxystore.store.lifetimes import Lifetime
from proxystore.store.metrics import StoreMetrics
from proxystore.store.ref import OwnedProxy, into_owned
from proxystore.store.types import ConnectorKeyT, ConnectorT, DeserializerT, SerializerT
from proxystore.utils.imports import get_object_path
from proxystore.utils.timer import Timer

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    'BytesLike',
    'ConnectorConfig',
    'ConnectorKeyT',
    'DeferrableConnector',
    'DeserializerT',
    'Future',
    'LRUCache',
    'Lifetime',
    'NonProxiableT',
    'NonProxiableTypeError',
    'OwnedProxy',
    'PollingStoreFactory',
    'Proxy',
    'ProxyLocker',
    'SerializationError',
    'SerializerT',
    'Store',
    'StoreConfig',
    'StoreExistsError',
    'StoreFactory',
    'StoreMetrics',
    'Timer',
    'get_object_path',
    'into_owned',
    'is_bytes_like',
]


class Store(AwaitableStore[ConnectorT], StoreProxies[ConnectorT]):
    """Keeps objects in a connector and makes proxies of them.

    Threads may share a store. A store cannot be pickled, but its `config()`
    and its proxies can: the process that uses them makes the store again.

    Args:
        name: Name of the store, by which proxies find it in a process.
        connector: Connector that keeps the objects.
        serializer: Serializer to use instead of
            [`serialize`][proxystore.serialize.serialize].
        deserializer: Deserializer to use instead of
            [`deserialize`][proxystore.serialize.deserialize]. It is given
            `bytes`, or what the connector returned if it is declared with
            [`takes_buffers`][proxystore.serialize.takes_buffers].
        cache_size: Number of deserialized objects to keep in this process.
        metrics: Measure the operations.
        populate_target: Let proxies made from an object hold it from the
            start, so that they need not be resolved in this process.
        register: Register the store under its name. `close()` undoes it.
        verify: Checksums of the objects' buffers. `None` writes them where the
            connector neither verifies objects by itself nor keeps them in
            memory of this host, and compares those that an object has. `True`
            always writes them, and refuses objects without. `False` neither
            writes nor compares them.
        compatible: Write only formats that ProxyStore 1.1.0 reads. Objects with
            large buffers are copied more often then.

    Attributes:
        connector: The connector.
        cache: Deserialized objects that were used last.

    Raises:
        StoreExistsError: If `register` is set and the name is taken.
        ValueError: If `cache_size` is negative, or if the store is to be
            compatible and to verify: upstream's formats have no checksums.
    """

    def __init__(
        self,
        name: str,
        connector: ConnectorT,
        *,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        cache_size: int = 16,
        metrics: bool = False,
        populate_target: bool = True,
        register: bool = False,
        verify: bool | None = None,
        compatible: bool = False,
    ) -> None:
        if cache_size < 0:
            msg = f'Cache size cannot be negative. Got {cache_size}.'
            raise ValueError(msg)
        self.connector = connector
        self.cache: LRUCache[ConnectorKeyT, Any] = LRUCache(cache_size)
        self._name = name
        self._metrics = StoreMetrics() if metrics else None
        self._cache_size = cache_size
        self._serialization = Serialization(
            name, serializer, deserializer, verify=verify, compatible=compatible
        )
        self._populate_target = populate_target
        self._register = register
        # Configuration that factories share, and what it was made of.
        self._shared_config: StoreConfig | None = None
        self._shared_connector: Any = None
        self._shared_fields: dict[str, Any] = {}
        if register:
            try:
                proxystore.store.register_store(self)
            except StoreExistsError as error:
                error.add_note(
                    'Consider using get_store(name) rather than initializing a new instance '
                    'with register=True.'
                )
                raise

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
        serializer = 'default' if self._serialization.serializer is None else 'custom'
        deserializer = 'default' if self._serialization.deserializer is None else 'custom'
        return (
            f'{type(self).__name__}(name={self._name}, connector={self.connector}, '
            f'serializer={serializer}, deserializer={deserializer}, '
            f'cache_size={self._cache_size}, metrics={self._metrics is not None}, '
            f'populate_target={self._populate_target}, auto_register={self._register})'
        )

    def __reduce__(self) -> tuple[Any, ...]:
        msg = (
            f'cannot pickle the store "{self._name}": pickle its config() and make it again with '
            'Store.from_config(), or proxystore.store.get_or_create_store()'
        )
        raise TypeError(msg)

    @property
    def name(self) -> str:
        """Name of the store."""
        return self._name

    @property
    def metrics(self) -> StoreMetrics | None:
        """Measurements of the operations, or `None` if metrics are off."""
        return self._metrics

    @property
    def serializer(self) -> SerializerT:
        """Serializer of the store."""
        return self._serialization.serializer or serialize

    @property
    def deserializer(self) -> DeserializerT:
        """Deserializer of the store."""
        return self._serialization.deserializer or deserialize

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Close the connector, and unregister the store if it is registered.

        Closing again does nothing. Any other use of a closed store raises
        what the connector raises, as a rule `ConnectorClosedError`.

        Args:
            args: Positional arguments of the connector's `close()`.
            kwargs: Keyword arguments of the connector's `close()`.
        """
        proxystore.store.forget_store(self)
        self.connector.close(*args, **kwargs)

    def config(self) -> StoreConfig:
        """Return the configuration from which the store can be made again.

        Returns:
            A new configuration. The connector's options in it are those that
            differ from their defaults.
        """
        return self._current_config().fresh()

    @classmethod
    def from_config(cls, config: StoreConfig) -> Store[Any]:
        """Make a store.

        Args:
            config: Configuration, as `config()` returned it.

        Raises:
            StoreExistsError: If the store is to register itself and its name
                is taken.
            ValueError: If the kind of the connector is unknown, or an option
                is wrong.
        """
        return cls(
            name=config.name,
            connector=cast('ConnectorT', config.connector.get_connector()),
            serializer=config.serializer,
            deserializer=config.deserializer,
            cache_size=config.cache_size,
            metrics=config.metrics,
            populate_target=config.populate_target,
            register=config.auto_register,
            verify=config.verify,
            compatible=config.compatible,
        )

    def stats(self) -> dict[str, Any]:
        """Tell what the store has done and holds at present.

        Returns:
            `name`; `cache`, with the numbers of objects `held` and at most
            held (`maxsize`), of `hits` and of `misses`; `connector`, with the
            statistics that the connector's documentation describes, empty if
            it keeps none.
        """
        cache = self.cache
        return {
            'name': self._name,
            'cache': {
                'held': len(cache),
                'maxsize': cache.maxsize,
                'hits': cache.hits,
                'misses': cache.misses,
            },
            'connector': statistics(self.connector),
        }
