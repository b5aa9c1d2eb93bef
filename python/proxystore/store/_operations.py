"""The synchronous operations of stores."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

from proxystore.store._core import MISSING, StoreCore
from proxystore.store._serialization import guarded_memory, size
from proxystore.store.types import ConnectorKeyT, ConnectorT, DeserializerT, SerializerT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxystore.serialize import BytesLike
    from proxystore.store.lifetimes import Lifetime

__all__ = ['StoreOperations']


class StoreOperations(StoreCore[ConnectorT]):
    """The operations of a store that wait for its connector."""

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
