"""Producers put objects into stores and publish events, and lose nothing that they accepted."""

from __future__ import annotations

import queue
import threading

import pytest

from proxystore.connectors.local import LocalConnector
from proxystore.store import Store, get_store, register_store
from proxystore.stream import StreamProducer
from proxystore.stream.events import (
    EndOfStreamEvent,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    bytes_to_event,
)
from proxystore.stream.exceptions import TopicClosedError
from proxystore.stream.shims.queue import QueuePublisher
from tests.stream.support import WatchedConnector


@pytest.fixture
def store(data):
    with Store('producer', LocalConnector(data)) as store:
        yield store


def test_object_goes_to_the_store_and_its_key_to_the_broker(broker, store) -> None:
    StreamProducer(broker, default_store=store).send('t', [1], metadata={'m': 1})
    [[event]] = broker.drain()
    assert isinstance(event, NewObjectKeyEvent)
    assert (event.topic, event.evict, event.metadata) == ('t', True, {'m': 1})
    assert event.store_config == store.config()
    assert store.get(event.get_key()) == [1]


def test_without_a_store_the_event_carries_the_object(broker) -> None:
    StreamProducer(broker).send('t', [1])
    assert broker.drain() == [[NewObjectEvent('t', [1], {})]]


def test_stores_of_topics(broker, store) -> None:
    other = Store('other', LocalConnector())
    producer = StreamProducer(broker, default_store=store, stores={'a': None, 'b': other})
    for topic in 'abc':
        producer.send(topic, 1)
    [[a], [b], [c]] = broker.drain()
    assert isinstance(a, NewObjectEvent)
    assert b.store_config.name == 'other'
    assert c.store_config.name == 'producer'


def test_evict_is_passed_on(broker, store) -> None:
    producer = StreamProducer(broker, default_store=store, batch_size=2)
    producer.send('t', 1, evict=False)
    producer.send('t', 2)
    assert [event.evict for event in broker.drain()[0]] == [False, True]


def test_batches_are_kept_per_topic(broker) -> None:
    producer = StreamProducer(broker, batch_size=2)
    for i in range(3):
        producer.send('a', i)
    producer.send('b', 9)
    assert [[event.obj for event in batch] for batch in broker.drain()] == [[0, 1]]
    producer.flush_topic('b')
    producer.flush_topic('unknown')
    assert broker.drain() == [[NewObjectEvent('b', 9, {})]]
    producer.flush()
    assert broker.drain() == [[NewObjectEvent('a', 2, {})]]
    producer.flush()
    assert broker.drain() == []


def test_closing_a_topic_publishes_its_rest_and_the_end(broker) -> None:
    producer = StreamProducer(broker, batch_size=3)
    producer.send('a', 1)
    producer.close_topics('a', 'b')
    assert broker.drain() == [
        [NewObjectEvent('a', 1, {}), EndOfStreamEvent('a')],
        [EndOfStreamEvent('b')],
    ]
    for topic in 'ab':
        with pytest.raises(TopicClosedError, match=f'Topic "{topic}" has been closed.'):
            producer.send(topic, 1)
    producer.send('c', 1)
    producer.flush()
    producer.close_topics('a')
    assert broker.drain() == [[NewObjectEvent('c', 1, {})], [EndOfStreamEvent('a')]]


def test_close_publishes_the_rest_of_all_topics(broker) -> None:
    producer = StreamProducer(broker, batch_size=3)
    producer.send('a', 1)
    producer.send('b', 2)
    producer.close(topics=['a'])
    assert broker.drain() == [
        [NewObjectEvent('a', 1, {}), EndOfStreamEvent('a')],
        [NewObjectEvent('b', 2, {})],
    ]
    assert broker.closed == 1


def test_context_manager_publishes_the_rest_even_if_the_body_raises(broker) -> None:
    with pytest.raises(ZeroDivisionError), StreamProducer(broker, batch_size=3) as producer:  # noqa: PT012 the body is what is tested
        producer.send('a', 1)
        raise ZeroDivisionError
    assert broker.drain() == [[NewObjectEvent('a', 1, {})]]
    assert broker.closed == 1


def test_error_of_the_body_outlives_an_error_of_closing(broker) -> None:
    with (  # noqa: PT012
        pytest.raises(ZeroDivisionError) as caught,
        StreamProducer(broker, batch_size=3) as producer,
    ):
        producer.send('a', 1)
        broker.down = OSError('broker down')
        raise ZeroDivisionError
    assert 'broker down' in caught.value.__notes__[0]
    assert broker.closed == 1


@pytest.mark.parametrize('publisher', [True, False])
def test_close_closes_what_it_is_told_to(broker, publisher: bool) -> None:
    WatchedConnector.closed = 0
    stores = [Store(name, WatchedConnector()) for name in 'ab']
    for store in stores:
        register_store(store)
    producer = StreamProducer(
        broker, default_store=stores[0], stores={'a': stores[1], 'b': stores[1], 'c': None}
    )
    producer.close(publisher=publisher)
    assert (broker.closed, WatchedConnector.closed) == (int(publisher), 0)
    producer.close(publisher=False, stores=True)
    assert WatchedConnector.closed == 2
    assert [get_store(name) for name in 'ab'] == [None, None]


def test_filter_drops_by_metadata(broker) -> None:
    producer = StreamProducer(broker, filter_=lambda metadata: 'drop' in metadata, batch_size=2)
    producer.send('t', 1, metadata={'drop': 1})
    producer.send('t', 2)
    producer.send('t', 3, metadata={'drop': 0})
    producer.send('t', 4)
    assert [[event.obj for event in batch] for batch in broker.drain()] == [[2, 4]]


def test_filter_of_a_closed_topic_is_not_asked(broker) -> None:
    producer = StreamProducer(broker, filter_=lambda _: True)
    producer.close_topics('t')
    with pytest.raises(TopicClosedError):
        producer.send('t', 1)


@pytest.mark.parametrize('batch_size', [1, 2])
def test_aggregator_makes_one_object_of_a_batch(broker, batch_size: int) -> None:
    seen = []

    def total(objs: list[int]) -> int:
        seen.append(objs)
        return sum(objs)

    producer = StreamProducer(broker, aggregator=total, batch_size=batch_size)
    for i in range(1, 4):
        producer.send('t', i, metadata={i: i, 'last': i})
    producer.close()
    one_by_one = [
        [NewObjectEvent('t', 1, {1: 1, 'last': 1})],
        [NewObjectEvent('t', 2, {2: 2, 'last': 2})],
        [NewObjectEvent('t', 3, {3: 3, 'last': 3})],
    ]
    by_two = [[NewObjectEvent('t', 3, {1: 1, 'last': 2, 2: 2})], one_by_one[2]]
    assert broker.drain() == (one_by_one if batch_size == 1 else by_two)
    assert seen == ([[1], [2], [3]] if batch_size == 1 else [[1, 2], [3]])


@pytest.mark.parametrize('first', [True, False])
@pytest.mark.parametrize('second', [True, False])
def test_aggregate_is_evicted_if_any_part_was_to_be(broker, store, first, second) -> None:
    producer = StreamProducer(broker, aggregator=sum, batch_size=2, default_store=store)
    producer.send('t', 1, evict=first)
    producer.send('t', 1, evict=second)
    [[event]] = broker.drain()
    assert event.evict is (first or second)


def test_message_publisher_gets_bytes() -> None:
    messages: queue.Queue[bytes] = queue.Queue()
    StreamProducer(QueuePublisher({'t': messages})).send('t', [1])
    assert bytes_to_event(messages.get_nowait()) == EventBatch('t', [NewObjectEvent('t', [1], {})])


def test_what_cannot_publish_is_refused() -> None:
    with pytest.raises(TypeError, match='object cannot publish'):
        StreamProducer(object())


@pytest.mark.parametrize('batch_size', [1, 3])
def test_failed_send_can_be_repeated_and_leaves_nothing(
    broker, store, data, batch_size: int
) -> None:
    producer = StreamProducer(broker, default_store=store, batch_size=batch_size)
    for i in range(batch_size - 1):
        producer.send('t', i)
    broker.down = OSError('broker down')
    for _ in range(2):
        with pytest.raises(OSError, match='broker down'):
            producer.send('t', 'last')
        assert data == {}
    broker.down = None
    producer.send('t', 'last')
    [events] = broker.drain()
    assert [store.get(e.get_key()) for e in events] == [*range(batch_size - 1), 'last']


def test_failed_flush_and_close_keep_what_is_buffered(broker, store, data) -> None:
    producer = StreamProducer(broker, default_store=store, batch_size=3)
    producer.send('t', 1)
    broker.down = OSError('broker down')
    for publish in (producer.flush, producer.close, lambda: producer.close_topics('t')):
        with pytest.raises(OSError, match='broker down'):
            publish()
        assert data == {}
    assert broker.closed == 1
    broker.down = None
    producer.close_topics('t')
    [[event, end]] = broker.drain()
    assert store.get(event.get_key()) == 1
    assert end == EndOfStreamEvent('t')


def test_failed_aggregator_filter_and_store_keep_what_is_buffered(broker, store) -> None:
    def refuse(objs: list[int]) -> int:
        if 0 in objs:
            raise ZeroDivisionError
        return sum(objs)

    producer = StreamProducer(broker, aggregator=refuse, batch_size=2, default_store=store)
    producer.send('t', 1)
    with pytest.raises(ZeroDivisionError):
        producer.send('t', 0)
    producer.send('t', 2)
    [[event]] = broker.drain()
    assert store.get(event.get_key()) == 3


def test_threads_share_a_producer(broker, store) -> None:
    producer = StreamProducer(broker, default_store=store, batch_size=7)
    start = threading.Barrier(8)

    def send(thread: int) -> None:
        start.wait()
        for i in range(100):
            producer.send('t', (thread, i))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    producer.close()
    sent = [store.get(event.get_key()) for batch in broker.drain() for event in batch]
    assert sorted(sent) == [(thread, i) for thread in range(8) for i in range(100)]
