"""The receiving end of a stream."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from proxystore.store import get_or_create_store, unregister_store
from proxystore.stream._inline import take_carried
from proxystore.stream.events import (
    EndOfStreamEvent,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    bytes_to_event,
)
from proxystore.stream.filters import NullFilter
from proxystore.stream.protocols import EventSubscriber, MessageSubscriber

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from proxystore.proxy import Proxy, ProxyOr
    from proxystore.store.base import Store
    from proxystore.stream.events import Event
    from proxystore.stream.protocols import Filter, Subscriber

T = TypeVar('T')

_MISSING = object()


class StreamConsumer(Generic[T]):
    """Receives the objects of a stream, by proxy or by value.

    Iterating yields what `next` returns until the stream ends; `iter_with_metadata`,
    `iter_objects` and `iter_objects_with_metadata` do the same for the other methods. A store that
    an event names is made and registered when the first such event arrives.

    A consumer is a context manager that closes itself at the end of the block. Threads must not
    share a consumer.

    Args:
        subscriber: Receiving side of the broker.
        filter_: Called with the metadata of each object; the object is dropped if it returns
            `True`, and evicted from its store if the producer sent it with `evict`.

    Raises:
        TypeError: If `subscriber` is neither an `EventSubscriber` nor a `MessageSubscriber`.
    """

    def __init__(self, subscriber: Subscriber, *, filter_: Filter | None = None) -> None:
        if not isinstance(subscriber, (EventSubscriber, MessageSubscriber)):
            msg = (
                f'{type(subscriber).__name__} cannot be subscribed to: it has the methods of '
                'neither EventSubscriber (next_events, close, iteration) nor MessageSubscriber '
                '(next_message, close, iteration).'
            )
            raise TypeError(msg)
        self.subscriber = subscriber
        # isinstance of a protocol takes microseconds.
        self._gets_events = isinstance(subscriber, EventSubscriber)
        self._filter: Filter = NullFilter() if filter_ is None else filter_
        self._stores: dict[str, Store[Any]] = {}
        self._events: deque[Event] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ProxyOr[T]:
        return self.next()

    def close(self, *, stores: bool = False, subscriber: bool = True) -> None:
        """Close the subscriber and, on request, the stores.

        Args:
            stores: Whether to close and unregister the stores that objects came from. Proxies not
                yet resolved then make their store again when they are used.
            subscriber: Whether to close the subscriber.
        """
        if stores:
            while self._stores:
                _, store = self._stores.popitem()
                unregister_store(store)
                store.close()
        if subscriber:
            self.subscriber.close()

    def iter_with_metadata(self) -> Generator[tuple[dict[str, Any], ProxyOr[T]], None, None]:
        """Yield what `next_with_metadata` returns until the stream ends."""
        while True:
            try:
                item = self.next_with_metadata()
            except StopIteration:
                return
            yield item

    def iter_objects(self) -> Generator[T, None, None]:
        """Yield what `next_object` returns until the stream ends."""
        for _, obj in self.iter_objects_with_metadata():
            yield obj

    def iter_objects_with_metadata(self) -> Generator[tuple[dict[str, Any], T], None, None]:
        """Yield what `next_object_with_metadata` returns until the stream ends."""
        while True:
            try:
                item = self.next_object_with_metadata()
            except StopIteration:
                return
            yield item

    def next(self) -> ProxyOr[T]:
        """Wait for the next object.

        Returns:
            An unresolved proxy of it, or the object itself if its topic has no store.

        Raises:
            StopIteration: If the stream has ended.
        """
        return self.next_with_metadata()[1]

    def next_with_metadata(self) -> tuple[dict[str, Any], ProxyOr[T]]:
        """Wait for the next object.

        Returns:
            The metadata, and an unresolved proxy of the object, or the object itself if its topic
            has no store.

        Raises:
            StopIteration: If the stream has ended.
        """
        event = self._next_event()
        if isinstance(event, NewObjectEvent):
            return event.metadata, cast('T', event.obj)
        store = self._store(event)
        proxy: Proxy[T] = store.proxy_from_key(event.get_key(), evict=event.evict)
        return event.metadata, cast('ProxyOr[T]', proxy)

    def next_object(self) -> T:
        """Wait for the next object and resolve it.

        Raises:
            StopIteration: If the stream has ended.
            ValueError: If the object is no longer in its store.
        """
        return self.next_object_with_metadata()[1]

    def next_object_with_metadata(self) -> tuple[dict[str, Any], T]:
        """Wait for the next object and resolve it.

        Returns:
            The metadata, and the object.

        Raises:
            StopIteration: If the stream has ended.
            ValueError: If the object is no longer in its store.
        """
        event = self._next_event()
        if isinstance(event, NewObjectEvent):
            return event.metadata, cast('T', take_carried(event.obj))
        store = self._store(event)
        key = event.get_key()
        obj = store.get(key, default=_MISSING)
        if obj is _MISSING:
            msg = (
                f'Store(name="{store.name}") has no object for key={key} of topic '
                f'"{event.topic}": it has been evicted, or another consumer resolved it.'
            )
            raise ValueError(msg)
        if event.evict:
            store.evict(key)
        return event.metadata, cast('T', obj)

    def _next_event(self) -> NewObjectEvent | NewObjectKeyEvent:
        while True:
            while not self._events:
                self._events.extend(self._next_batch().events)
            event = self._events.popleft()
            if isinstance(event, EndOfStreamEvent):
                raise StopIteration
            if not self._filter(event.metadata):
                return event
            if isinstance(event, NewObjectKeyEvent) and event.evict:
                self._store(event).evict(event.get_key())

    def _next_batch(self) -> EventBatch:
        if self._gets_events:
            return cast('EventSubscriber', self.subscriber).next_events()
        event = bytes_to_event(cast('MessageSubscriber', self.subscriber).next_message())
        return event if isinstance(event, EventBatch) else EventBatch(event.topic, [event])

    def _store(self, event: NewObjectKeyEvent) -> Store[Any]:
        name = event.store_config.name
        if name not in self._stores:
            self._stores[name] = get_or_create_store(event.store_config)
        return self._stores[name]
