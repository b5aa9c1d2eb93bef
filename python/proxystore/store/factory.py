"""Factories that get the object of a proxy from a store."""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar, cast

import proxystore.store
from proxystore.serialize import deserialize
from proxystore.store._compact import compact, register
from proxystore.store._prefetch import prefetch
from proxystore.store.config import StoreConfig, without_unknown_fields
from proxystore.store.exceptions import ProxyResolveMissingKeyError
from proxystore.store.types import ConnectorKeyT, ConnectorT, DeserializerT
from proxystore.utils.timer import Timer

if TYPE_CHECKING:
    from proxystore.store._prefetch import Prefetch
    from proxystore.store.base import Store

__all__ = [
    'ConnectorKeyT',
    'DeserializerT',
    'PollingStoreFactory',
    'ProxyResolveMissingKeyError',
    'StoreConfig',
    'StoreFactory',
    'Timer',
]

T = TypeVar('T')

_MISSING = object()

# Protocol from which on pickles hold bytes as they are.
_BYTES_PROTOCOL = 3


class StoreFactory(Generic[ConnectorT, T]):
    """Factory that gets an object from a store.

    The store is the one of that name in this process, or is made from its
    configuration, and registered, if there is none.

    Args:
        key: Key of the object in the connector of the store.
        store_config: Configuration of the store.
        evict: Evict the object from the store once it has been got.
        deserializer: Deserializer to use instead of the store's.

    Attributes:
        key: As the argument.
        store_config: As the argument.
        evict: As the argument.
        deserializer: As the argument.
    """

    def __init__(
        self,
        key: ConnectorKeyT,
        store_config: StoreConfig,
        *,
        evict: bool = False,
        deserializer: DeserializerT | None = None,
    ) -> None:
        self.key = key
        self.store_config = store_config
        self.evict = evict
        self.deserializer = deserializer
        self._obj_future: Prefetch[T] | None = None

    def __call__(self) -> T:
        """Get the object, or take what `resolve_async()` has got.

        Raises:
            ProxyResolveMissingKeyError: If the object is not there.
            SerializationError: If it cannot be deserialized.
        """
        metrics = self.get_store().metrics
        if metrics is None:
            return self._take()
        with Timer() as timer:
            obj = self._take()
        metrics.add_time('factory.call', self.key, timer.elapsed_ms)
        return obj

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        if type(self) is StoreFactory and operator.index(protocol) >= _BYTES_PROTOCOL:
            data = compact(self)
            if data is not None:
                return deserialize, (data,)
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state['_obj_future'] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        fields = _STATE_FIELDS.get(type(self))
        if fields is not None and state.keys() != fields:
            state = without_unknown_fields(type(self), state, fields)
        self.__dict__.update(state)

    def get_store(self) -> Store[ConnectorT]:
        """Get the store of the object; make and register it if there is none of its name.

        Raises:
            ValueError: If the connector of the store is not known.
        """
        store = proxystore.store.get_or_create_store(self.store_config)
        return cast('Store[ConnectorT]', store)

    def resolve(self) -> T:
        """Get the object from the store, and evict it there if `evict` is set.

        Raises:
            ProxyResolveMissingKeyError: If the object is not there.
            SerializationError: If it cannot be deserialized.
        """
        store = self.get_store()
        metrics = store.metrics
        if metrics is None:
            return self._get(store)
        with Timer() as timer:
            obj = self._get(store)
        metrics.add_time('factory.resolve', self.key, timer.elapsed_ms)
        return obj

    def resolve_async(self) -> None:
        """Begin to get the object in the background.

        The next call of the factory waits for it, and raises what went
        wrong. Nothing happens if that has begun already.
        """
        if self._obj_future is None or self._obj_future.lost:
            self._obj_future = prefetch(self.resolve)

    def _take(self) -> T:
        future = self._obj_future
        if future is None or future.lost:
            return self.resolve()
        try:
            return future.result()
        finally:
            # Whoever calls again, after a failure, tries again.
            self._obj_future = None

    def _get(self, store: Store[ConnectorT]) -> T:
        """Get the object from its store, once."""
        obj = store.get(self.key, deserializer=self.deserializer, default=_MISSING)
        if obj is _MISSING:
            raise ProxyResolveMissingKeyError(self.key, type(store), store.name)
        if self.evict:
            store.evict(self.key)
        return cast('T', obj)


class PollingStoreFactory(StoreFactory[ConnectorT, T]):
    """Factory that waits until the object is in the store.

    Args:
        key: Key of the object in the connector of the store.
        store_config: Configuration of the store.
        deserializer: Deserializer to use instead of the store's.
        evict: Evict the object from the store once it has been got.
        polling_interval: Seconds between the first two attempts.
        polling_backoff_factor: Factor by which the interval grows with each
            attempt.
        polling_interval_limit: Seconds of the longest interval. `None` is no
            limit.
        polling_timeout: Seconds after which the object counts as missing.
            `None` waits for ever.
    """

    def __init__(
        self,
        key: ConnectorKeyT,
        store_config: StoreConfig,
        *,
        deserializer: DeserializerT | None = None,
        evict: bool = False,
        polling_interval: float = 1,
        polling_backoff_factor: float = 1,
        polling_interval_limit: float | None = None,
        polling_timeout: float | None = None,
    ) -> None:
        super().__init__(key, store_config, evict=evict, deserializer=deserializer)
        self._polling_interval = polling_interval
        self._polling_backoff_factor = polling_backoff_factor
        self._polling_interval_limit = polling_interval_limit
        self._polling_timeout = polling_timeout

    def resolve(self) -> T:
        """Wait for the object, and evict it from the store if `evict` is set.

        Raises:
            ProxyResolveMissingKeyError: If the object is not there in time.
            SerializationError: If it cannot be deserialized.
        """
        store = self.get_store()
        metrics = store.metrics
        with Timer() as timer:
            obj = self._poll(store)
        if metrics is not None:
            metrics.add_time('factory.polling_resolve', self.key, timer.elapsed_ms)
        return obj

    def _poll(self, store: Store[ConnectorT]) -> T:
        timeout = self._polling_timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        interval = self._polling_interval
        while True:
            try:
                return self._get(store)
            except ProxyResolveMissingKeyError:
                pause = interval
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise
                    # One last look when the time is up.
                    pause = min(pause, left)
            time.sleep(pause)
            interval *= self._polling_backoff_factor
            if self._polling_interval_limit is not None:
                interval = min(interval, self._polling_interval_limit)


_FIELDS = frozenset({'key', 'store_config', 'evict', 'deserializer', '_obj_future'})
_POLLING_FIELDS = frozenset(
    {
        '_polling_interval',
        '_polling_backoff_factor',
        '_polling_interval_limit',
        '_polling_timeout',
    }
)
register(StoreFactory)

# What the pickles of these classes hold. Those of other subclasses may hold anything.
_STATE_FIELDS: dict[type, frozenset[str]] = {
    StoreFactory: _FIELDS,
    PollingStoreFactory: _FIELDS | _POLLING_FIELDS,
}
