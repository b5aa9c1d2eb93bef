"""Factories that get the object of a proxy from a store."""

from __future__ import annotations

import operator
import time
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar, Generic, SupportsIndex, TypeVar, cast

import proxystore.store
from proxystore.serialize import deserialize
from proxystore.store._compact import compact, register
from proxystore.store._prefetch import FetchPrefetch, TaskPrefetch, ThreadPrefetch
from proxystore.store.config import StoreConfig, without_unknown_fields
from proxystore.store.exceptions import ProxyResolveMissingKeyError
from proxystore.store.types import ConnectorKeyT, ConnectorT, DeserializerT
from proxystore.utils.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxystore.connectors.native import Fetch
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

    _metric: ClassVar[str] = 'factory.resolve'

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
        started = perf_counter_ns()
        obj = self._get(store)
        self._measure(store, started)
        return obj

    def resolve_async(self) -> None:
        """Begin to get the object in the background.

        A native connector gets it without a thread; the next call of the
        factory makes the object of the bytes. Another connector's is got by
        one of a few threads. The next call of the factory waits for it, and
        raises what went wrong. Nothing happens if that has begun already.
        """
        self._prefetch(self._begin).keep()

    async def aprefetch(self) -> Prefetch[T]:
        """Get the object in the background, and wait for it.

        Tasks that come meanwhile wait for the same. If all of them are
        cancelled, so is what gets the object.

        Returns:
            What has got the object, or knows why it has not.
        """
        while True:
            prefetch = self._prefetch(self._abegin)
            await prefetch.wait()
            if not prefetch.lost:
                return prefetch

    def adopt(self, prefetch: Prefetch[T]) -> None:
        """Have the next call of the factory take an object that was got before.

        Args:
            prefetch: What has got it.
        """
        self._obj_future = prefetch

    def _prefetch(self, begin: Callable[[], Prefetch[T]]) -> Prefetch[T]:
        """Return what gets the object, or begin to."""
        prefetch = self._obj_future
        if prefetch is None or prefetch.lost:
            prefetch = self._obj_future = begin()
        return prefetch

    def _begin(self) -> Prefetch[T]:
        return self._fetch() or ThreadPrefetch(self.resolve)

    def _abegin(self) -> Prefetch[T]:
        if not _is_own(self, StoreFactory, PollingStoreFactory):
            return self._begin()
        return self._fetch() or TaskPrefetch(self._aresolve())

    def _fetch(self) -> Prefetch[T] | None:
        """Let the store's connector begin to get the object, if it can and the store is there."""
        if not _is_own(self, StoreFactory):
            return None
        store = _registered_store(self.store_config)
        if store is None or store.is_cached(self.key):
            return None
        started = perf_counter_ns()
        try:
            fetch = store.connector.fetch(self.key)
        except Exception:
            # Not the way, or not the key: a thread will say which.
            return None
        if fetch is None:
            return None
        return FetchPrefetch(fetch, partial(self._finish, store, started))

    async def _aresolve(self) -> T:
        """Do as `resolve()` does, without keeping the loop waiting."""
        import asyncio

        from proxystore.connectors._asyncio import in_thread

        registered = _registered_store(self.store_config)
        store = await in_thread(self.get_store) if registered is None else registered
        started = perf_counter_ns()
        pauses = self._pauses()
        while True:
            obj = await store.aget(self.key, deserializer=self.deserializer, default=_MISSING)
            if obj is not _MISSING:
                break
            pause = next(pauses, None)
            if pause is None:
                break
            await asyncio.sleep(pause)
        found = self._check(store, obj)
        if self.evict:
            await store.aevict(self.key)
        self._measure(store, started)
        return found

    def _take(self) -> T:
        prefetch = self._obj_future
        if prefetch is None or prefetch.lost or prefetch.waits_for_this_thread:
            return self.resolve()
        try:
            return prefetch.result()
        except BaseException:
            if not prefetch.lost:
                raise
        finally:
            # Whoever calls again, after a failure, tries again.
            self._obj_future = None
        # Given up by those for whom it was begun.
        return self.resolve()

    def _get(self, store: Store[ConnectorT]) -> T:
        """Get the object from its store, once."""
        obj = store.get(self.key, deserializer=self.deserializer, default=_MISSING)
        obj = self._check(store, obj)
        if self.evict:
            store.evict(self.key)
        return obj

    def _finish(self, store: Store[ConnectorT], started: int, fetch: Fetch) -> T:
        """Make the object of what was fetched; otherwise as `_get()`."""
        obj = store._read_fetched(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            self.key, fetch, self.deserializer, _MISSING, started
        )
        obj = self._check(store, obj)
        if self.evict:
            store.evict(self.key)
        self._measure(store, started)
        return obj

    def _pauses(self) -> Iterator[float]:
        """Seconds to wait after each attempt to get the object: there is one."""
        return iter(())

    def _measure(self, store: Store[ConnectorT], started: int) -> None:
        if store.metrics is not None:
            elapsed = (perf_counter_ns() - started) / 1e6
            store.metrics.add_time(self._metric, self.key, elapsed)

    def _check(self, store: Store[ConnectorT], obj: Any) -> T:
        if obj is _MISSING:
            raise ProxyResolveMissingKeyError(self.key, type(store), store.name)
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

    _metric: ClassVar[str] = 'factory.polling_resolve'

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
        started = perf_counter_ns()
        obj = self._poll(store)
        self._measure(store, started)
        return obj

    def _poll(self, store: Store[ConnectorT]) -> T:
        pauses = self._pauses()
        while True:
            try:
                return self._get(store)
            except ProxyResolveMissingKeyError:
                pause = next(pauses, None)
                if pause is None:
                    raise
            time.sleep(pause)

    def _pauses(self) -> Iterator[float]:
        """Seconds to wait after each attempt, until the time is up."""
        timeout = self._polling_timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        interval = self._polling_interval
        while True:
            pause = interval
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                # One last look when the time is up.
                pause = min(pause, left)
            yield pause
            interval *= self._polling_backoff_factor
            if self._polling_interval_limit is not None:
                interval = min(interval, self._polling_interval_limit)


def _registered_store(config: StoreConfig) -> Store[Any] | None:
    return proxystore.store.get_store(config.name)


def _is_own(factory: Any, *classes: Any) -> bool:
    """Tell whether a factory resolves as one of these classes, which a subclass may not."""
    resolve: Any = cast('Any', type(factory)).resolve
    return any(resolve is class_.resolve for class_ in classes)


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
