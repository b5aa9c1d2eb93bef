"""What the synchronous and the asynchronous operations of stores have in common."""

from __future__ import annotations

import logging
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Generic, cast

from proxystore.connectors.protocols import DeferrableConnector, copies
from proxystore.proxy import Proxy
from proxystore.store._serialization import Serialization, guarded_memory, size
from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.store.exceptions import NonProxiableTypeError
from proxystore.store.factory import StoreFactory
from proxystore.store.types import ConnectorKeyT, ConnectorT, DeserializerT
from proxystore.utils.imports import get_object_path

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable, Sequence

    from proxystore.connectors.native import Fetch
    from proxystore.serialize import BytesLike
    from proxystore.store.base import Store
    from proxystore.store.cache import LRUCache
    from proxystore.store.lifetimes import Lifetime
    from proxystore.store.metrics import StoreMetrics

__all__ = ['EVICT_AND_LIFETIME', 'MISSING', 'NON_PROXIABLE_TYPES', 'StoreCore']

logger = logging.getLogger(__name__)

#: Stands for no object, where `None` is one.
MISSING: Any = object()
NON_PROXIABLE_TYPES = (bool, type(None))
EVICT_AND_LIFETIME = (
    'The evict and lifetime parameters are mutually exclusive. Only set one of evict or lifetime.'
)


class StoreCore(Generic[ConnectorT]):
    """State of a store, and the steps before and after its connector is asked."""

    connector: ConnectorT
    cache: LRUCache[ConnectorKeyT, Any]
    _name: str
    _metrics: StoreMetrics | None
    _cache_size: int
    _serialization: Serialization
    _populate_target: bool
    _register: bool
    _shared_config: StoreConfig | None
    _shared_connector: Any
    _shared_fields: dict[str, Any]

    def _find(self, key: ConnectorKeyT, copy: bool, started: int) -> Any:
        """Return what the cache has, or `MISSING`."""
        obj = MISSING if copy else self.cache.get(key, MISSING)
        metrics = self._metrics
        if metrics is not None:
            if obj is MISSING:
                metrics.add_counter('store.get.cache_misses', key, 1)
            else:
                metrics.add_counter('store.get.cache_hits', key, 1)
                self._add_time('store.get', key, started)
        return obj

    def _receive(
        self,
        key: ConnectorKeyT,
        data: BytesLike | None,
        deserializer: DeserializerT | None,
        default: object | None,
        copy: bool,
        started: int,
        asked: int,
    ) -> tuple[Any, weakref.ref[Any] | None]:
        """Make an object of what the connector returned, and cache it.

        Returns:
            The object, and the memory that it may hold. If there is such, the
            caller lets go of the data and then calls `_cache()`.
        """
        metrics = self._metrics
        memory = None
        if metrics is not None:
            self._add_time('store.get.connector', key, asked)
        if data is None:
            obj = default
        else:
            if metrics is not None:
                metrics.add_attribute('store.get.object_size', key, size(data))
            got = perf_counter_ns()
            obj = self._serialization.read(key, data, deserializer)
            if metrics is not None:
                self._add_time('store.get.deserialize', key, got)
            if not copy:
                memory = guarded_memory(data)
                if memory is None:
                    self.cache.set(key, obj)
        if metrics is not None:
            self._add_time('store.get', key, started)
        return obj, memory

    def _read_fetched(
        self,
        key: ConnectorKeyT,
        fetch: Fetch,
        deserializer: DeserializerT | None,
        default: object | None,
        started: int,
    ) -> Any:
        """Wait for a get of the native core that began before, and make an object of it."""
        try:
            data = fetch.result()
        except Exception as error:
            self._locate(error, key)
            raise
        obj, memory = self._receive(key, data, deserializer, default, False, started, started)
        if memory is not None:
            del data
            self._cache(key, obj, memory)
        return obj

    def _find_batch(
        self, keys: Sequence[ConnectorKeyT]
    ) -> tuple[dict[ConnectorKeyT, Any], list[ConnectorKeyT]]:
        """Return what the cache has, and the keys of the other objects, once each."""
        found: dict[ConnectorKeyT, Any] = {}
        missing: dict[ConnectorKeyT, None] = {}
        for key in keys:
            if key in found or key in missing:
                continue
            obj = self.cache.get(key, MISSING)
            if obj is MISSING:
                missing[key] = None
            else:
                found[key] = obj
        return found, list(missing)

    def _receive_batch(
        self,
        keys: Sequence[ConnectorKeyT],
        found: dict[ConnectorKeyT, Any],
        missing: list[ConnectorKeyT],
        data: list[BytesLike | None],
        deserializer: DeserializerT | None,
        default: object | None,
        started: int,
        asked: int,
    ) -> list[Any]:
        """Make objects of what the connector returned, and cache them."""
        metrics = self._metrics
        if metrics is not None:
            self._add_time('store.get_batch.connector', keys, asked)
            sizes = sum([0 if part is None else size(part) for part in data])
            metrics.add_attribute('store.get_batch.object_sizes', keys, sizes)
        got = perf_counter_ns()
        # Each is let go of in its turn: what is then left of it is held by its object.
        data = data if isinstance(data, list) else list(data)
        data.reverse()
        for key in missing:
            part = data.pop()
            if part is None:
                found[key] = default
                continue
            obj = found[key] = self._serialization.read(key, part, deserializer)
            memory = guarded_memory(part)
            del part
            self._cache(key, obj, memory)
        if metrics is not None:
            self._add_time('store.get_batch.deserialize', keys, got)
            self._add_time('store.get_batch', keys, started)
        return [found[key] for key in keys]

    def _measure_put(self, key: ConnectorKeyT, data: Any, started: int, serialized: int) -> None:
        metrics = self._metrics
        if metrics is not None:
            self._add_time('store.put.serialize', key, started, serialized)
            self._add_time('store.put.connector', key, serialized)
            metrics.add_attribute('store.put.object_size', key, size(data))
            self._add_time('store.put', key, started)

    def _measure_put_batch(
        self, keys: list[ConnectorKeyT], data: list[Any], started: int, serialized: int
    ) -> None:
        metrics = self._metrics
        if metrics is not None:
            self._add_time('store.put_batch.serialize', keys, started, serialized)
            self._add_time('store.put_batch.connector', keys, serialized)
            metrics.add_attribute('store.put_batch.object_sizes', keys, size(data))
            self._add_time('store.put_batch', keys, started)

    def _forget(self, key: ConnectorKeyT, started: int) -> None:
        """Take an object that was evicted out of the cache, too."""
        if self._metrics is not None:
            self._add_time('store.evict.connector', key, started)
        self.cache.evict(key)
        if self._metrics is not None:
            self._add_time('store.evict', key, started)
        logger.debug('Store(name="%s"): evicted %s', self._name, key)

    def _is_skipped(
        self, obj: Any, evict: bool, lifetime: Lifetime | None, skip_nonproxiable: bool
    ) -> bool:
        """Tell whether no proxy is to be made of an object.

        Raises:
            NonProxiableTypeError: If there is none, and it is not to be skipped.
            ValueError: If both `evict` and `lifetime` are set.
        """
        if evict and lifetime is not None:
            raise ValueError(EVICT_AND_LIFETIME)
        if type(obj) not in NON_PROXIABLE_TYPES:
            return False
        if skip_nonproxiable:
            return True
        msg = f'Object of {type(obj)} is not proxiable.'
        raise NonProxiableTypeError(msg)

    def _add_time(self, name: str, key: Any, started: int, ended: int | None = None) -> None:
        metrics = cast('StoreMetrics', self._metrics)
        elapsed = (perf_counter_ns() if ended is None else ended) - started
        metrics.add_time(name, key, elapsed / 1e6)

    def _add_to_lifetime(self, lifetime: Lifetime, keys: Iterable[ConnectorKeyT]) -> None:
        try:
            lifetime.add_key(*keys, store=cast('Store[Any]', self))
        except BaseException:
            # Without its lifetime nobody would ever evict what was put.
            for key in keys:
                self.connector.evict(key)
            raise

    def _current_config(self) -> StoreConfig:
        """Return the configuration that factories share as long as it does not change."""
        connector = self.connector
        options = connector.config()
        shared = self._shared_config
        if shared is not None:
            try:
                if (
                    vars(shared) == self._shared_fields
                    and shared.connector.options == options
                    and self._shared_connector is connector
                ):
                    return shared
            except Exception:
                # Options that cannot be compared are taken as changed.
                logger.debug('Store(name="%s"): incomparable options', self._name)
        fields: dict[str, Any] = {
            'serializer': self._serialization.serializer,
            'deserializer': self._serialization.deserializer,
            'cache_size': self._cache_size,
            'metrics': self._metrics is not None,
            'populate_target': self._populate_target,
            'auto_register': self._register,
            'verify': self._serialization.verify,
            'compatible': self._serialization.compatible,
        }
        defaults = StoreConfig.model_fields
        config = StoreConfig(
            name=self._name,
            connector=ConnectorConfig(kind=get_object_path(type(connector)), options=options),
            **{name: value for name, value in fields.items() if value != defaults[name].default},
        )
        self._shared_connector = connector
        self._shared_fields = dict(vars(config))
        self._shared_config = config
        return config

    def _deferrable(self) -> DeferrableConnector[Any]:
        connector: Any = self.connector
        if not isinstance(connector, DeferrableConnector):
            msg = (
                f'The {type(connector).__name__} of the store "{self._name}" does not implement '
                'the DeferrableConnector protocol: it cannot make keys for objects that come '
                'later.'
            )
            raise NotImplementedError(msg)
        return connector  # pyright: ignore[reportUnknownVariableType]

    def _cache(self, key: ConnectorKeyT, obj: Any, memory: weakref.ref[Any] | None) -> None:
        """Cache an object, unless it holds memory that the connector wants back."""
        if memory is None or memory() is None:
            self.cache.set(key, obj)

    def _get_copy(self, key: ConnectorKeyT) -> BytesLike | None:
        connector: Any = self.connector
        # What others return is copied where an object would keep it.
        found: BytesLike | None = (
            connector.get(key, copy=True) if copies(connector) else connector.get(key)
        )
        return found

    def _locate(self, error: Exception, key: ConnectorKeyT | None = None) -> None:
        """Note in an error of the connector which store and which key it is about."""
        if not isinstance(error, NotImplementedError):
            where = '' if key is None else f' with key={key!r}'
            error.add_note(f'In Store(name="{self._name}", connector={self.connector!r}){where}.')

    def _proxy(
        self,
        key: ConnectorKeyT,
        obj: Any,
        evict: bool,
        deserializer: DeserializerT | None,
        populate_target: bool | None,
    ) -> Proxy[Any]:
        factory: StoreFactory[ConnectorT, Any] = StoreFactory(
            key, self._current_config(), evict=evict, deserializer=deserializer
        )
        if self._populate_target if populate_target is None else populate_target:
            return Proxy(factory, cache_defaults=True, target=obj)
        return Proxy(factory)
