"""The asynchronous operations of stores.

Each is a plain function that returns a future of the running loop, and does
what its synchronous twin does: the steps before and after the connector is
asked are the same code. Objects are serialized and deserialized by the loop's
own thread.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload

import proxystore.store
from proxystore.connectors.protocols import copies
from proxystore.store._core import MISSING, StoreCore
from proxystore.store.types import ConnectorKeyT, ConnectorT, DeserializerT, SerializerT

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from types import ModuleType, TracebackType

    from proxystore.proxy import Proxy
    from proxystore.serialize import BytesLike
    from proxystore.store.base import Store
    from proxystore.store.lifetimes import Lifetime

__all__ = ['AwaitableStore']

T = TypeVar('T')
NonProxiableT = TypeVar('NonProxiableT', bool, None)

_module: ModuleType | None = None


def _futures() -> Any:
    """Return the module that imports asyncio, which programs without a loop never do."""
    global _module
    if _module is None:
        from proxystore.connectors import _asyncio

        _module = _asyncio
    return _module


class AwaitableStore(StoreCore[ConnectorT]):
    """The asynchronous operations of a store.

    A connector without asynchronous methods does its part in a thread.
    Cancelling what awaits an operation cancels its request.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def aclose(self, *args: Any, **kwargs: Any) -> asyncio.Future[None]:
        """Close the store, as `close()` does.

        Args:
            args: Positional arguments of the connector's `close()`.
            kwargs: Keyword arguments of the connector's `close()`.
        """
        futures = _futures()
        proxystore.store.forget_store(cast('Store[Any]', self))
        future: asyncio.Future[None] = futures.start(self.connector, 'aclose', *args, **kwargs)
        return future

    def aevict(self, key: ConnectorKeyT) -> asyncio.Future[None]:
        """Remove an object from the connector and from the cache, as `evict()` does.

        Args:
            key: Key of the object. Nothing happens if it is not there.
        """
        started = perf_counter_ns()

        def evicted(error: Exception | None, _: Any) -> None:
            self._check(error, key)
            self._forget(key, started)

        return self._begin('aevict', evicted, key)

    def aexists(self, key: ConnectorKeyT) -> asyncio.Future[bool]:
        """Tell whether an object is in the cache or the connector, as `exists()` does.

        Args:
            key: Key of the object.
        """
        started = perf_counter_ns()
        if self.cache.exists(key):
            if self._metrics is not None:
                self._add_time('store.exists', key, started)
            return _ready(True)
        asked = perf_counter_ns()

        def answered(error: Exception | None, found: bool) -> bool:
            self._check(error, key)
            if self._metrics is not None:
                self._add_time('store.exists.connector', key, asked)
                self._add_time('store.exists', key, started)
            return found

        return self._begin('aexists', answered, key)

    def aget(
        self,
        key: ConnectorKeyT,
        *,
        deserializer: DeserializerT | None = None,
        default: object | None = None,
        copy: bool = False,
    ) -> asyncio.Future[Any | None]:
        """Get an object, as `get()` does.

        Args:
            key: Key of the object.
            deserializer: Deserializer to use instead of the store's. It is not
                called for an object that is cached.
            default: What to return if the object is not there.
            copy: Get an object of one's own, whose arrays will be written to
                all over: it neither comes from the cache nor goes there.

        Returns:
            A future of the object. It is done already if the object is
            cached, or if its connector is memory of this host.

        Raises:
            RuntimeError: If no loop runs in this thread. What else goes wrong,
                awaiting the future raises.
        """
        started = 0 if self._metrics is None else perf_counter_ns()
        obj = self._find(key, copy, started)
        if obj is not MISSING:
            return _ready(obj)
        asked = 0 if self._metrics is None else perf_counter_ns()
        step = partial(self._take_in, key, deserializer, default, copy, started, asked)
        if copy and copies(self.connector):
            return self._begin('aget', step, key, copy=True)
        return self._begin('aget', step, key)

    def aget_batch(
        self,
        keys: Sequence[ConnectorKeyT],
        *,
        deserializer: DeserializerT | None = None,
        default: object | None = None,
    ) -> asyncio.Future[list[Any | None]]:
        """Get several objects, as `get_batch()` does.

        One call like this costs a fraction of as many calls of `aget()`.

        Args:
            keys: Keys of the objects.
            deserializer: Deserializer to use instead of the store's.
            default: What to return for an object that is not there.
        """
        started = perf_counter_ns()
        found, missing = self._find_batch(keys)
        asked = perf_counter_ns()

        def received(error: Exception | None, data: list[BytesLike | None]) -> list[Any]:
            self._check(error)
            return self._receive_batch(
                keys, found, missing, data, deserializer, default, started, asked
            )

        if not missing:
            return cast('asyncio.Future[list[Any]]', _futures().at_once(received, None, []))
        return self._begin('aget_batch', received, missing)

    @overload
    def aproxy(  # pyright: ignore[reportOverlappingOverload]
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
    ) -> asyncio.Future[NonProxiableT]: ...

    @overload
    def aproxy(
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
    ) -> asyncio.Future[Proxy[T]]: ...

    def aproxy(
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
        """Put an object and make a proxy of it, as `proxy()` does.

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
        """
        started = perf_counter_ns()
        try:
            if self._is_skipped(obj, evict, lifetime, skip_nonproxiable):
                return _ready(obj)
        except (TypeError, ValueError) as error:
            return _futures().failed(error)

        def stored(error: Exception | None, key: ConnectorKeyT) -> Any:
            if error is not None:
                raise error
            proxy = self._proxy(key, obj, evict, deserializer, populate_target)
            if self._metrics is not None:
                self._add_time('store.proxy', key, started)
            return proxy

        put = self.aput(obj, lifetime=lifetime, serializer=serializer, **kwargs)
        return _futures().then(put, stored)

    def aput(
        self,
        obj: Any,
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> asyncio.Future[Any]:
        """Put an object, as `put()` does.

        The object is serialized before this returns, but the buffers of an
        array are not copied: they are not to be written to until the put has
        ended.

        Args:
            obj: Object to put.
            lifetime: Lifetime that evicts the object when it ends.
            serializer: Serializer to use instead of the store's.
            kwargs: Keyword arguments of the connector's `put()`.

        Returns:
            A future of the object's key. An object whose future is cancelled
            is removed again.
        """
        started = perf_counter_ns()
        try:
            data = self._serialization.write(obj, self.connector, serializer)
        except Exception as error:
            return cast('asyncio.Future[Any]', _futures().failed(error))
        serialized = perf_counter_ns()

        def stored(error: Exception | None, key: ConnectorKeyT) -> ConnectorKeyT:
            self._check(error)
            self._measure_put(key, data, started, serialized)
            if lifetime is not None:
                self._add_to_lifetime(lifetime, [key])
            return key

        return self._begin('aput', stored, data, **kwargs)

    def aput_batch(
        self,
        objs: Sequence[Any],
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> asyncio.Future[list[Any]]:
        """Put several objects, as `put_batch()` does.

        Args:
            objs: Objects to put.
            lifetime: Lifetime that evicts the objects when it ends.
            serializer: Serializer to use instead of the store's.
            kwargs: Keyword arguments of the connector's `put_batch()`.
        """
        started = perf_counter_ns()
        try:
            data = [self._serialization.write(obj, self.connector, serializer) for obj in objs]
        except Exception as error:
            return cast('asyncio.Future[list[Any]]', _futures().failed(error))
        serialized = perf_counter_ns()

        def stored(error: Exception | None, keys: list[ConnectorKeyT]) -> list[ConnectorKeyT]:
            self._check(error)
            self._measure_put_batch(keys, data, started, serialized)
            if lifetime is not None:
                self._add_to_lifetime(lifetime, keys)
            return keys

        return self._begin('aput_batch', stored, data, **kwargs)

    def _begin(self, operation: str, step: Any, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Begin an operation of the connector, whose outcome goes through a step."""
        futures = _futures()
        begun = futures.start(self.connector, operation, *args, **kwargs)
        return cast('asyncio.Future[Any]', futures.then(begun, step))

    def _check(self, error: Exception | None, key: ConnectorKeyT | None = None) -> None:
        """Raise an error of the connector, if there was one."""
        if error is not None:
            self._locate(error, key)
            raise error

    def _take_in(
        self,
        key: ConnectorKeyT,
        deserializer: DeserializerT | None,
        default: object | None,
        copy: bool,
        started: int,
        asked: int,
        error: Exception | None,
        data: BytesLike | None,
    ) -> Any:
        if error is not None:
            self._locate(error, key)
            raise error
        obj, memory = self._receive(key, data, deserializer, default, copy, started, asked)
        if memory is not None:
            # When the loop comes to it, only the object can still hold the memory.
            loop = _futures().asyncio.get_running_loop()
            loop.call_soon(self._cache, key, obj, memory)
        return obj


def _ready(value: T) -> asyncio.Future[T]:
    future: asyncio.Future[T] = _futures().ready(value)
    return future
