"""Stores: put objects into a connector, get keys and proxies of them."""

from __future__ import annotations

import logging
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload

import proxystore.store
from proxystore.connectors.protocols import DeferrableConnector, replaces, statistics
from proxystore.proxy import Proxy, ProxyLocker
from proxystore.serialize import (
    BytesLike,
    SerializationError,
    deserialize,
    is_bytes_like,
    serialize,
)
from proxystore.store._asyncio import AwaitableStore
from proxystore.store._core import EVICT_AND_LIFETIME, MISSING, NON_PROXIABLE_TYPES
from proxystore.store._serialization import Serialization, guarded_memory, size
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
    from collections.abc import Sequence
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

logger = logging.getLogger(__name__)

T = TypeVar('T')
#: Types of the objects that no proxy can stand for.
NonProxiableT = TypeVar('NonProxiableT', bool, None)


class Store(AwaitableStore[ConnectorT]):
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

    def future(
        self,
        *,
        evict: bool = False,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        polling_interval: float = 1,
        polling_backoff_factor: float = 1,
        polling_interval_limit: float | None = None,
        polling_timeout: float | None = None,
    ) -> Future[T]:  # pyright: ignore[reportInvalidTypeVarUse]
        """Make a future: a key now, whose object is set later.

        Args:
            evict: Evict the object once the future's proxy or result has been
                resolved.
            serializer: Serializer to use instead of the store's.
            deserializer: Deserializer to use instead of the store's.
            polling_interval: Seconds between the first two attempts to get
                the object.
            polling_backoff_factor: Factor by which the interval grows with
                each attempt.
            polling_interval_limit: Longest interval, in seconds. `None` is no
                limit.
            polling_timeout: Seconds after which the object counts as
                missing. `None` waits for ever.

        Raises:
            NotImplementedError: If the connector cannot defer objects.
        """
        started = perf_counter_ns()
        try:
            key = self._deferrable().new_key()
        except Exception as error:
            self._locate(error)
            raise
        connected = perf_counter_ns()
        factory: PollingStoreFactory[ConnectorT, T] = PollingStoreFactory(
            key,
            self._current_config(),
            deserializer=deserializer,
            evict=evict,
            polling_interval=polling_interval,
            polling_backoff_factor=polling_backoff_factor,
            polling_interval_limit=polling_interval_limit,
            polling_timeout=polling_timeout,
        )
        future = Future(factory, serializer=serializer)
        if self._metrics is not None:
            self._add_time('store.future.connector', key, started, connected)
            self._add_time('store.future', key, started)
        return future

    def evict(self, key: ConnectorKeyT) -> None:
        """Remove an object from the connector and from the cache.

        Args:
            key: Key of the object. Nothing happens if it is not there.
        """
        started = perf_counter_ns()
        try:
            self.connector.evict(key)
        except Exception as error:
            self._locate(error, key)
            raise
        self._forget(key, started)

    def exists(self, key: ConnectorKeyT) -> bool:
        """Tell whether an object is in the cache or the connector.

        Args:
            key: Key of the object.
        """
        started = perf_counter_ns()
        found = self.cache.exists(key)
        if not found:
            asked = perf_counter_ns()
            try:
                found = self.connector.exists(key)
            except Exception as error:
                self._locate(error, key)
                raise
            if self._metrics is not None:
                self._add_time('store.exists.connector', key, asked)
        if self._metrics is not None:
            self._add_time('store.exists', key, started)
        return found

    def get(
        self,
        key: ConnectorKeyT,
        *,
        deserializer: DeserializerT | None = None,
        default: object | None = None,
        copy: bool = False,
    ) -> Any | None:
        """Get an object.

        Args:
            key: Key of the object.
            deserializer: Deserializer to use instead of the store's. It is not
                called for an object that is cached.
            default: What to return if the object is not there.
            copy: Get an object of one's own, whose arrays will be written to
                all over: it neither comes from the cache nor goes there. A
                connector that maps objects copies it, which costs less than
                to copy each page when it is first written to.

        Returns:
            The object. It is cached, so that the next `get()` returns the same
            object, unless it keeps memory that the connector needs for other
            objects.

        Raises:
            CorruptedObjectError: If a checksum of the object does not match.
            MissingChecksumError: If the store verifies, and the object has no
                checksums.
            SerializationError: If the object cannot be deserialized.
        """
        if self._metrics is not None:
            return self._get_measured(key, deserializer, default, copy)
        # What `_get_measured()` does, but a quarter faster.
        if not copy:
            obj = self.cache.get(key, MISSING)
            if obj is not MISSING:
                return obj
        try:
            data = self._get_copy(key) if copy else self.connector.get(key)
        except Exception as error:
            self._locate(error, key)
            raise
        if data is None:
            return default
        obj = self._serialization.read(key, data, deserializer)
        if copy:
            return obj
        if type(data) is bytes:
            self.cache.set(key, obj)
        else:
            memory = guarded_memory(data)
            # From here on only the object can hold the memory.
            del data
            self._cache(key, obj, memory)
        return obj

    def get_batch(
        self,
        keys: Sequence[ConnectorKeyT],
        *,
        deserializer: DeserializerT | None = None,
        default: object | None = None,
    ) -> list[Any | None]:
        """Get several objects, those that are not cached by one call of the connector.

        Args:
            keys: Keys of the objects.
            deserializer: Deserializer to use instead of the store's.
            default: What to return for an object that is not there.

        Returns:
            For each key in turn what `get()` would return.

        Raises:
            CorruptedObjectError: If a checksum of an object does not match.
            MissingChecksumError: If the store verifies, and an object has no
                checksums.
            SerializationError: If an object cannot be deserialized.
        """
        started = perf_counter_ns()
        found, missing = self._find_batch(keys)
        asked = perf_counter_ns()
        try:
            data = self.connector.get_batch(missing) if missing else []
        except Exception as error:
            self._locate(error)
            raise
        return self._receive_batch(
            keys, found, missing, data, deserializer, default, started, asked
        )

    def is_cached(self, key: ConnectorKeyT) -> bool:
        """Tell whether an object is in the cache.

        Args:
            key: Key of the object.
        """
        return self.cache.exists(key)

    @overload
    def proxy(  # pyright: ignore[reportOverlappingOverload]
        self,
        obj: NonProxiableT,
        *,
        evict: bool = ...,
        lifetime: Lifetime | None = ...,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: Literal[True],
        **kwargs: Any,
    ) -> NonProxiableT: ...

    @overload
    def proxy(
        self,
        obj: T,
        *,
        evict: bool = ...,
        lifetime: Lifetime | None = ...,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: bool = ...,
        **kwargs: Any,
    ) -> Proxy[T]: ...

    def proxy(
        self,
        obj: Any,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Put an object and make a proxy of it.

        Args:
            obj: Object to put.
            evict: Evict the object once a proxy has been resolved.
            lifetime: Lifetime that evicts the object when it ends.
            serializer: Serializer to use instead of the store's.
            deserializer: Deserializer for the proxy to use instead of the
                store's.
            populate_target: Let the proxy hold the object from the start.
                `None` takes the store's setting.
            skip_nonproxiable: Return `None` and `bool` objects, which cannot be
                proxied, as they are instead of raising.
            kwargs: Keyword arguments of the connector's `put()`.

        Returns:
            A proxy of the object, or the object if it was skipped.

        Raises:
            NonProxiableTypeError: If the object is `None` or a `bool` and is
                not to be skipped.
            SerializationError: If the object cannot be serialized.
            ValueError: If both `evict` and `lifetime` are set.
        """
        started = 0 if self._metrics is None else perf_counter_ns()
        if self._is_skipped(obj, evict, lifetime, skip_nonproxiable):
            return obj
        if kwargs:
            key = self.put(obj, serializer=serializer, **kwargs)
        else:
            key = self.put(obj, serializer=serializer)
        if lifetime is not None:
            self._add_to_lifetime(lifetime, [key])
        proxy = self._proxy(key, obj, evict, deserializer, populate_target)
        if self._metrics is not None:
            self._add_time('store.proxy', key, started)
        return proxy

    @overload
    def proxy_batch(  # pyright: ignore[reportOverlappingOverload]
        self,
        objs: Sequence[T],
        *,
        evict: bool = ...,
        lifetime: Lifetime | None = ...,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: Literal[False] = ...,
        **kwargs: Any,
    ) -> list[Proxy[T]]: ...

    @overload
    def proxy_batch(
        self,
        objs: Sequence[T | NonProxiableT],
        *,
        evict: bool = ...,
        lifetime: Lifetime | None = ...,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: bool = ...,
        **kwargs: Any,
    ) -> list[Proxy[T] | NonProxiableT]: ...

    def proxy_batch(
        self,
        objs: Sequence[T | NonProxiableT],
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Put several objects and make proxies of them.

        Args:
            objs: Objects to put.
            evict: Evict each object once a proxy of it has been resolved.
            lifetime: Lifetime that evicts the objects when it ends.
            serializer: Serializer to use instead of the store's.
            deserializer: Deserializer for the proxies to use instead of the
                store's.
            populate_target: Let the proxies hold the objects from the start.
                `None` takes the store's setting.
            skip_nonproxiable: Return `None` and `bool` objects, which cannot be
                proxied, as they are instead of raising.
            kwargs: Keyword arguments of the connector's `put_batch()`.

        Returns:
            For each object in turn a proxy, or the object if it was skipped.

        Raises:
            NonProxiableTypeError: If there is a `None` or a `bool` and it is
                not to be skipped.
            SerializationError: If an object cannot be serialized.
            ValueError: If both `evict` and `lifetime` are set.
        """
        started = perf_counter_ns()
        if evict and lifetime is not None:
            raise ValueError(EVICT_AND_LIFETIME)
        results: list[Any] = list(objs)
        positions = [
            position for position, obj in enumerate(results) if type(obj) not in NON_PROXIABLE_TYPES
        ]
        skipped = len(results) - len(positions)
        if skipped and not skip_nonproxiable:
            msg = f'Input sequence contains {skipped} objects that are not proxiable.'
            raise NonProxiableTypeError(msg)
        keys = self.put_batch(
            [results[position] for position in positions], serializer=serializer, **kwargs
        )
        if lifetime is not None:
            self._add_to_lifetime(lifetime, keys)
        for position, key in zip(positions, keys, strict=True):
            results[position] = self._proxy(
                key, results[position], evict, deserializer, populate_target
            )
        if self._metrics is not None:
            self._add_time('store.proxy_batch', keys, started)
        return results

    def proxy_from_key(
        self,
        key: ConnectorKeyT,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        deserializer: DeserializerT | None = None,
    ) -> Proxy[T]:  # pyright: ignore[reportInvalidTypeVarUse]
        """Make a proxy of the object of a key.

        Args:
            key: Key of the object. It need not be there yet.
            evict: Evict the object once a proxy has been resolved.
            lifetime: Lifetime that evicts the object when it ends.
            deserializer: Deserializer for the proxy to use instead of the
                store's.

        Returns:
            A proxy, which is not resolved.

        Raises:
            ValueError: If both `evict` and `lifetime` are set.
        """
        if lifetime is not None:
            if evict:
                raise ValueError(EVICT_AND_LIFETIME)
            lifetime.add_key(key, store=self)
        factory: StoreFactory[ConnectorT, T] = StoreFactory(
            key, self._current_config(), evict=evict, deserializer=deserializer
        )
        return Proxy(factory)

    @overload
    def locked_proxy(  # pyright: ignore[reportOverlappingOverload]
        self,
        obj: NonProxiableT,
        *,
        evict: bool = ...,
        lifetime: Lifetime | None = ...,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: Literal[True] = ...,
        **kwargs: Any,
    ) -> NonProxiableT: ...

    @overload
    def locked_proxy(
        self,
        obj: T,
        *,
        evict: bool = ...,
        lifetime: Lifetime | None = ...,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: bool = ...,
        **kwargs: Any,
    ) -> ProxyLocker[T]: ...

    def locked_proxy(
        self,
        obj: T | NonProxiableT,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = True,
        **kwargs: Any,
    ) -> ProxyLocker[T] | NonProxiableT:
        """Put an object and make a proxy of it that cannot be resolved by accident.

        Args:
            obj: Object to put.
            evict: Evict the object once a proxy has been resolved.
            lifetime: Lifetime that evicts the object when it ends.
            serializer: Serializer to use instead of the store's.
            deserializer: Deserializer for the proxy to use instead of the
                store's.
            populate_target: Let the proxy hold the object from the start.
                `None` takes the store's setting.
            skip_nonproxiable: Return `None` and `bool` objects, which cannot be
                proxied, as they are instead of raising.
            kwargs: Keyword arguments of the connector's `put()`.

        Returns:
            A locker whose `unlock()` returns the proxy, or the object if it
            was skipped.

        Raises:
            NonProxiableTypeError: If the object is `None` or a `bool` and is
                not to be skipped.
            SerializationError: If the object cannot be serialized.
            ValueError: If both `evict` and `lifetime` are set.
        """
        proxy: Any = self.proxy(
            cast('Any', obj),
            evict=evict,
            lifetime=lifetime,
            serializer=serializer,
            deserializer=deserializer,
            populate_target=populate_target,
            skip_nonproxiable=cast('Any', skip_nonproxiable),
            **kwargs,
        )
        return ProxyLocker(proxy) if type(proxy) is Proxy else proxy  # pyright: ignore[reportUnknownArgumentType]

    @overload
    def owned_proxy(  # pyright: ignore[reportOverlappingOverload]
        self,
        obj: NonProxiableT,
        *,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: Literal[True] = ...,
        **kwargs: Any,
    ) -> NonProxiableT: ...

    @overload
    def owned_proxy(
        self,
        obj: T,
        *,
        serializer: SerializerT | None = ...,
        deserializer: DeserializerT | None = ...,
        populate_target: bool | None = ...,
        skip_nonproxiable: bool = ...,
        **kwargs: Any,
    ) -> OwnedProxy[T]: ...

    def owned_proxy(
        self,
        obj: T | NonProxiableT,
        *,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = True,
        **kwargs: Any,
    ) -> OwnedProxy[T] | NonProxiableT:
        """Put an object and make a proxy that owns it: it is evicted when the proxy is deleted.

        Args:
            obj: Object to put.
            serializer: Serializer to use instead of the store's.
            deserializer: Deserializer for the proxy to use instead of the
                store's.
            populate_target: Let the proxy hold the object from the start.
                `None` takes the store's setting.
            skip_nonproxiable: Return `None` and `bool` objects, which cannot be
                proxied, as they are instead of raising.
            kwargs: Keyword arguments of the connector's `put()`.

        Returns:
            The owner, or the object if it was skipped.

        Raises:
            NonProxiableTypeError: If the object is `None` or a `bool` and is
                not to be skipped.
            SerializationError: If the object cannot be serialized.
        """
        if populate_target is None:
            populate_target = self._populate_target
        proxy: Any
        if kwargs or type(obj) in NON_PROXIABLE_TYPES or replaces(self.connector):
            proxy = self.proxy(
                cast('Any', obj),
                serializer=serializer,
                deserializer=deserializer,
                populate_target=populate_target,
                skip_nonproxiable=cast('Any', skip_nonproxiable),
                **kwargs,
            )
        else:
            key = self._put_replaceable(obj, serializer)
            proxy = self._proxy(key, obj, False, deserializer, populate_target)
        if type(proxy) is not Proxy:
            return proxy  # type: ignore[no-any-return]
        return into_owned(cast('Proxy[T]', proxy), populate_target=populate_target)

    def put(
        self,
        obj: Any,
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> ConnectorKeyT:
        """Put an object.

        Args:
            obj: Object to put.
            lifetime: Lifetime that evicts the object when it ends.
            serializer: Serializer to use instead of the store's.
            kwargs: Keyword arguments of the connector's `put()`.

        Returns:
            The object's key.

        Raises:
            SerializationError: If the object cannot be serialized.
            TypeError: If the serializer does not return a bytes-like object,
                or a list or tuple of such objects.
        """
        started = 0 if self._metrics is None else perf_counter_ns()
        data = self._serialization.write(obj, self.connector, serializer)
        serialized = 0 if self._metrics is None else perf_counter_ns()
        try:
            key: ConnectorKeyT = (
                self.connector.put(data, **kwargs) if kwargs else self.connector.put(data)
            )
        except Exception as error:
            self._locate(error)
            raise
        if self._metrics is not None:
            self._measure_put(key, data, started, serialized)
        if lifetime is not None:
            self._add_to_lifetime(lifetime, [key])
        return key

    def put_batch(
        self,
        objs: Sequence[Any],
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> list[ConnectorKeyT]:
        """Put several objects.

        Args:
            objs: Objects to put.
            lifetime: Lifetime that evicts the objects when it ends.
            serializer: Serializer to use instead of the store's.
            kwargs: Keyword arguments of the connector's `put_batch()`.

        Returns:
            Their keys, in order.

        Raises:
            SerializationError: If an object cannot be serialized. None is
                put then.
            TypeError: If the serializer does not return a bytes-like object,
                or a list or tuple of such objects.
        """
        started = perf_counter_ns()
        data = [self._serialization.write(obj, self.connector, serializer) for obj in objs]
        keys = self._put_serialized(data, started, kwargs)
        if lifetime is not None:
            self._add_to_lifetime(lifetime, keys)
        return keys

    def _serialize(self, obj: Any) -> Any:
        """Return an object as the connector takes it: one buffer or a list of them."""
        return self._serialization.write(obj, self.connector, None)

    def _put_serialized(
        self, data: list[Any], started: int, kwargs: dict[str, Any] | None = None
    ) -> list[ConnectorKeyT]:
        """Put what `_serialize` returned, since `started` on the performance counter."""
        serialized = perf_counter_ns()
        try:
            keys: list[ConnectorKeyT] = self.connector.put_batch(data, **(kwargs or {}))
        except Exception as error:
            self._locate(error)
            raise
        self._measure_put_batch(keys, data, started, serialized)
        return keys

    def _set(
        self,
        key: ConnectorKeyT,
        obj: Any,
        *,
        serializer: SerializerT | None = None,
    ) -> None:
        """Put an object under a key that was made before, replacing what is there.

        Args:
            key: Key of the object.
            obj: Object to put.
            serializer: Serializer to use instead of the store's.

        Raises:
            NotImplementedError: If the connector cannot defer objects.
            SerializationError: If the object cannot be serialized.
            TypeError: If the serializer does not return a bytes-like object,
                or a list or tuple of such objects.
        """
        connector = self._deferrable()
        started = perf_counter_ns()
        data = self._serialization.write(obj, self.connector, serializer, deferred=True)
        serialized = perf_counter_ns()
        try:
            connector.set(key, cast('BytesLike', data))
        except Exception as error:
            self._locate(error, key)
            raise
        self.cache.evict(key)
        if self._metrics is not None:
            self._add_time('store.set.serialize', key, started, serialized)
            self._add_time('store.set.connector', key, serialized)
            self._metrics.add_attribute('store.set.object_size', key, size(data))
            self._add_time('store.set', key, started)

    def _put_replaceable(self, obj: Any, serializer: SerializerT | None) -> ConnectorKeyT:
        """Put an object under a key that `_set` takes."""
        try:
            key: ConnectorKeyT = self._deferrable().new_key()
        except Exception as error:
            self._locate(error)
            raise
        try:
            self._set(key, obj, serializer=serializer)
        except BaseException:
            self.connector.evict(key)
            raise
        return key

    def _get_measured(
        self,
        key: ConnectorKeyT,
        deserializer: DeserializerT | None,
        default: object | None,
        copy: bool,
    ) -> Any | None:
        started = perf_counter_ns()
        obj = self._find(key, copy, started)
        if obj is not MISSING:
            return obj
        asked = perf_counter_ns()
        try:
            data = self._get_copy(key) if copy else self.connector.get(key)
        except Exception as error:
            self._locate(error, key)
            raise
        obj, memory = self._receive(key, data, deserializer, default, copy, started, asked)
        if memory is not None:
            # From here on only the object can hold the memory.
            del data
            self._cache(key, obj, memory)
        return obj
