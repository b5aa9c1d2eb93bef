"""The sending end of a stream."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from proxystore.store import unregister_store
from proxystore.stream._inline import carry_or_put
from proxystore.stream.events import (
    EndOfStreamEvent,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    event_to_bytes,
)
from proxystore.stream.exceptions import TopicClosedError
from proxystore.stream.filters import NullFilter
from proxystore.stream.protocols import EventPublisher, MessagePublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from proxystore.proxy import Proxy
    from proxystore.store.base import Store
    from proxystore.store.types import ConnectorKeyT
    from proxystore.stream.events import Event
    from proxystore.stream.protocols import Filter, Publisher

T = TypeVar('T')


@dataclasses.dataclass(slots=True)
class _Item(Generic[T]):
    obj: T
    evict: bool
    metadata: dict[str, Any]


@dataclasses.dataclass
class _Topic(Generic[T]):
    items: list[_Item[T]] = dataclasses.field(default_factory=list[_Item[T]])
    closed: bool = False


class StreamProducer(Generic[T]):
    """Sends objects to topics of a message broker.

    Objects of a topic that has a store go into it, and the broker carries only their keys. Those of
    a topic without one travel in the event itself.

    A producer is a context manager that closes itself at the end of the block.

    Threads may share a producer. What `send` accepted is published or stays buffered: if publishing
    a batch fails, its objects are evicted from the store and put back into the buffer.

    Args:
        publisher: Sending side of the broker.
        aggregator: Makes one object of each batch, which is then sent instead of the batch. Its
            metadata are those of the batch merged, where later objects win; it is evicted on
            resolve if any object of the batch was to be.
        batch_size: Number of objects of a topic that are published together. Fewer wait until
            `flush`, `flush_topic`, `close_topics` or `close`.
        default_store: Store of the topics that are not in `stores`. `None` sends their objects
            within the events.
        filter_: Called with the metadata of each object; the object is dropped if it returns
            `True`.
        stores: Store of each topic; `None` as a store sends the topic's objects within the events.
        inline_threshold: Bytes up to which a serialized object travels within its event although
            its topic has a store. Consumers get a proxy of it as of the others, which resolves
            without the store. `None` sends every such object through the store; so does a store
            with `verify=True`, since events carry no checksums.

    Raises:
        ValueError: If `inline_threshold` is negative.
        TypeError: If `publisher` is neither an `EventPublisher` nor a `MessagePublisher`.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        aggregator: Callable[[list[T]], T] | None = None,
        batch_size: int = 1,
        default_store: Store[Any] | None = None,
        filter_: Filter | None = None,
        stores: Mapping[str, Store[Any] | None] | None = None,
        inline_threshold: int | None = None,
    ) -> None:
        if inline_threshold is not None and inline_threshold < 0:
            msg = f'The inline threshold cannot be negative. Got {inline_threshold}.'
            raise ValueError(msg)
        if not isinstance(publisher, (EventPublisher, MessagePublisher)):
            msg = (
                f'{type(publisher).__name__} cannot publish: it has the methods of neither '
                'EventPublisher (send_events, close) nor MessagePublisher (send_message, close).'
            )
            raise TypeError(msg)
        self.publisher = publisher
        # isinstance of a protocol takes microseconds.
        self._sends_events = isinstance(publisher, EventPublisher)
        self._aggregator = aggregator
        self._batch_size = batch_size
        self._default_store = default_store
        self._filter: Filter = NullFilter() if filter_ is None else filter_
        self._stores: Mapping[str, Store[Any] | None] = {} if stores is None else stores
        self._inline_threshold = inline_threshold
        self._topics: defaultdict[str, _Topic[T]] = defaultdict(_Topic[T])
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception as e:
            if exc_value is None:
                raise
            exc_value.add_note(f'Closing the stream producer failed too: {e!r}')

    def close(
        self,
        *,
        topics: Iterable[str] = (),
        publisher: bool = True,
        stores: bool = False,
    ) -> None:
        """Publish what is buffered, then close the publisher and, on request, the stores.

        They are closed even if publishing fails; its error is raised afterwards.

        Args:
            topics: Topics to close first, as by `close_topics`.
            publisher: Whether to close the publisher.
            stores: Whether to close and unregister the stores.
        """
        with contextlib.ExitStack() as closing:
            if publisher:
                closing.callback(self.publisher.close)
            if stores:
                for store in {self._default_store, *self._stores.values()}:
                    if store is not None:
                        closing.callback(store.close)
                        closing.callback(unregister_store, store)
            self.close_topics(*topics)
            self.flush()

    def close_topics(self, *topics: str) -> None:
        """Publish what is buffered for these topics and tell their consumers that they ended.

        Args:
            topics: Topics to close. Closing a topic again announces its end once more, which ends
                one more consumer of a shared queue.
        """
        for topic in topics:
            with self._lock:
                self._topics[topic].closed = True
            self._publish_buffered(topic, end=True)

    def flush(self) -> None:
        """Publish what is buffered, topic by topic."""
        for topic in list(self._topics):
            self.flush_topic(topic)

    def flush_topic(self, topic: str) -> None:
        """Publish what is buffered for one topic.

        Args:
            topic: The topic; nothing happens if it is unknown.
        """
        self._publish_buffered(topic)

    def send(
        self,
        topic: str,
        obj: T,
        *,
        evict: bool = True,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Send an object to the consumers of a topic.

        Args:
            topic: The topic.
            obj: The object.
            evict: Whether to evict the object from its store when the first consumer has resolved
                it. Has no effect for a topic without a store.
            metadata: What consumers may know about the object without resolving it. It is not
                copied.

        Raises:
            TopicClosedError: If the topic has been closed.
            Exception: Whatever the filter, the aggregator, the store or the publisher raise; this
                object is then not sent, those buffered before it stay buffered.
        """
        item = _Item(obj, evict, {} if metadata is None else metadata)
        with self._lock:
            buffer = self._topics[topic]
            if buffer.closed:
                msg = f'Topic "{topic}" has been closed.'
                raise TopicClosedError(msg)
        if self._filter(item.metadata):
            return
        with self._lock:
            buffer.items.append(item)
            if len(buffer.items) < self._batch_size:
                return
        self._publish_buffered(topic, sending=item)

    def _publish_buffered(
        self,
        topic: str,
        *,
        sending: _Item[T] | None = None,
        end: bool = False,
    ) -> None:
        with self._lock:
            if topic not in self._topics:
                return
            buffer = self._topics[topic]
            items, buffer.items = buffer.items, []
        if not items and not end:
            return
        try:
            self._publish(topic, items, end=end)
        except BaseException:
            with self._lock:
                buffer.items[:0] = [item for item in items if item is not sending]
            raise

    def _publish(self, topic: str, items: list[_Item[T]], *, end: bool) -> None:
        if self._aggregator is not None and items:
            items = [self._aggregate(self._aggregator, items)]
        store = self._stores.get(topic, self._default_store)
        ending: list[Event] = [EndOfStreamEvent(topic)] if end else []
        if store is None or not items:
            events: list[Event] = [NewObjectEvent(topic, item.obj, item.metadata) for item in items]
            self._send_events(EventBatch(topic, events + ending))
            return
        carried: dict[int, Proxy[T]] = {}
        if self._inline_threshold is None:
            keys = store.put_batch([item.obj for item in items])
        else:
            objs = [item.obj for item in items]
            carried, keys = carry_or_put(store, objs, self._inline_threshold)
        try:
            events = _events(topic, items, store, carried, keys)
            self._send_events(EventBatch(topic, events + ending))
        except BaseException:
            for key in keys:
                _evict_quietly(store, key)
            raise

    def _aggregate(self, aggregator: Callable[[list[T]], T], items: list[_Item[T]]) -> _Item[T]:
        metadata: dict[str, Any] = {}
        for item in items:
            metadata.update(item.metadata)
        whole = aggregator([item.obj for item in items])
        return _Item(whole, any(item.evict for item in items), metadata)

    def _send_events(self, events: EventBatch) -> None:
        if self._sends_events:
            cast('EventPublisher', self.publisher).send_events(events)
        else:
            message = event_to_bytes(events)
            cast('MessagePublisher', self.publisher).send_message(events.topic, message)


def _events(
    topic: str,
    items: list[_Item[T]],
    store: Store[Any],
    carried: dict[int, Proxy[T]],
    keys: list[ConnectorKeyT],
) -> list[Event]:
    """Make the events of objects, of which some are carried and the others have keys."""
    if not keys:
        return [NewObjectEvent(topic, carried[i], item.metadata) for i, item in enumerate(items)]
    config = store.config()
    remaining = iter(keys)
    events: list[Event] = []
    for number, item in enumerate(items):
        if number in carried:
            events.append(NewObjectEvent(topic, carried[number], item.metadata))
        else:
            event = NewObjectKeyEvent.from_key(
                next(remaining),
                evict=item.evict,
                metadata=item.metadata,
                store_config=config,
                topic=topic,
            )
            events.append(event)
    return events


def _evict_quietly(store: Store[Any], key: tuple[Any, ...]) -> None:
    # The error that made publishing fail is the one to tell.
    with contextlib.suppress(Exception):
        store.evict(key)
