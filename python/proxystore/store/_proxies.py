"""What stores make of objects: proxies, owners, lockers and futures."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from proxystore.connectors.protocols import replaces
from proxystore.proxy import Proxy, ProxyLocker
from proxystore.store._core import EVICT_AND_LIFETIME, NON_PROXIABLE_TYPES
from proxystore.store._operations import StoreOperations
from proxystore.store.exceptions import NonProxiableTypeError
from proxystore.store.factory import PollingStoreFactory, StoreFactory
from proxystore.store.future import Future
from proxystore.store.ref import OwnedProxy, into_owned
from proxystore.store.types import ConnectorKeyT, ConnectorT, DeserializerT, SerializerT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxystore.store.base import Store
    from proxystore.store.lifetimes import Lifetime

__all__ = ['NonProxiableT', 'StoreProxies']

T = TypeVar('T')
#: Types of the objects that no proxy can stand for.
NonProxiableT = TypeVar('NonProxiableT', bool, None)


class StoreProxies(StoreOperations[ConnectorT]):
    """The operations of a store that hand out what stands for an object."""

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
            lifetime.add_key(key, store=cast('Store[Any]', self))
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
