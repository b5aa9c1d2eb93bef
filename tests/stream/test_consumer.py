"""Consumers turn events into objects and proxies of them."""

from __future__ import annotations

import queue

import pytest

from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, ProxyResolveError, is_resolved
from proxystore.serialize import SerializationError
from proxystore.store import Store, get_store, register_store
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.events import (
    EndOfStreamEvent,
    EventBatch,
    NewObjectEvent,
    event_to_bytes,
)
from proxystore.stream.shims.queue import QueueSubscriber
from tests.stream.support import WatchedConnector


@pytest.fixture
def store(data):
    with Store('consumer', LocalConnector(data), register=True) as store:
        yield store


@pytest.fixture
def stream(broker, store):
    return StreamProducer(broker, default_store=store), StreamConsumer(broker)


def test_next_gives_an_unresolved_proxy(stream, data) -> None:
    producer, consumer = stream
    producer.send('t', [1])
    proxy = consumer.next()
    assert type(proxy) is Proxy
    assert not is_resolved(proxy)
    assert len(data) == 1
    assert proxy == [1]
    assert data == {}, 'evicted once resolved'


def test_object_that_is_not_to_be_evicted_stays(stream, data) -> None:
    producer, consumer = stream
    producer.send('t', [1], evict=False)
    producer.send('t', [2], evict=False)
    assert consumer.next() == [1]
    assert consumer.next_object() == [2]
    assert len(data) == 2


def test_next_object_resolves_and_evicts(stream, data) -> None:
    producer, consumer = stream
    producer.send('t', [1])
    obj = consumer.next_object()
    assert type(obj) is list
    assert obj == [1]
    assert data == {}


def test_metadata_come_along(stream) -> None:
    producer, consumer = stream
    for i in range(2):
        producer.send('t', i, metadata={'i': i})
    assert consumer.next_with_metadata() == ({'i': 0}, 0)
    assert consumer.next_object_with_metadata() == ({'i': 1}, 1)


@pytest.mark.parametrize('obj', [None, True, 0, []])
@pytest.mark.parametrize('with_store', [True, False])
def test_any_object_can_be_sent(broker, store, obj, with_store: bool) -> None:
    producer = StreamProducer(broker, default_store=store if with_store else None)
    producer.send('t', obj)
    assert StreamConsumer(broker).next_object() == obj


def test_without_a_store_the_object_itself_arrives(broker) -> None:
    producer, consumer = StreamProducer(broker), StreamConsumer(broker)
    obj = [1]
    producer.send('t', obj, metadata={'m': 1})
    producer.send('t', obj)
    assert consumer.next() is obj
    assert consumer.next_object() is obj


def test_iteration_ends_with_the_stream(stream) -> None:
    producer, consumer = stream

    def send() -> None:
        for i in range(2):
            producer.send('t', i, metadata={'i': i})
        producer.publisher.send_events(EventBatch('t', [EndOfStreamEvent('t')]))

    send()
    assert iter(consumer) is consumer
    assert [(type(p), p + 0) for p in consumer] == [(Proxy, 0), (Proxy, 1)]
    send()
    assert [(m, type(p), p + 0) for m, p in consumer.iter_with_metadata()] == [
        ({'i': 0}, Proxy, 0),
        ({'i': 1}, Proxy, 1),
    ]
    send()
    assert [(type(o), o) for o in consumer.iter_objects()] == [(int, 0), (int, 1)]
    send()
    assert list(consumer.iter_objects_with_metadata()) == [({'i': 0}, 0), ({'i': 1}, 1)]


def test_end_of_stream_raises_stop_iteration(broker) -> None:
    broker.send_events(
        EventBatch('t', [NewObjectEvent('t', 1, {}), EndOfStreamEvent('t')]),
    )
    consumer = StreamConsumer(broker)
    assert consumer.next() == 1
    for take in (consumer.next, consumer.next_object, consumer.next_with_metadata):
        with pytest.raises(StopIteration):
            take()


def test_batches_arrive_one_by_one(broker, store) -> None:
    producer = StreamProducer(broker, default_store=store, batch_size=3)
    for i in range(3):
        producer.send('t', i)
    broker.send_events(EventBatch('t', []))
    producer.close_topics('t')
    assert list(StreamConsumer(broker).iter_objects()) == [0, 1, 2]


def test_filter_drops_and_evicts(broker, store, data) -> None:
    producer = StreamProducer(broker, default_store=store)
    consumer = StreamConsumer(broker, filter_=lambda metadata: metadata.get('drop', False))
    producer.send('t', 1, metadata={'drop': True})
    producer.send('t', 2, metadata={'drop': True}, evict=False)
    producer.send('t', 3)
    assert consumer.next_object() == 3
    assert [store.get(key) for key in data] == [2]


def test_missing_object_names_key_store_and_topic(stream, data) -> None:
    producer, consumer = stream
    producer.send('topic', 1)
    producer.send('topic', 2)
    key = next(iter(data))
    del data[key]
    with pytest.raises(ValueError, match=f'Store.*consumer.*{key.id}.*"topic"'):
        consumer.next_object()
    assert consumer.next_object() == 2


def test_missing_object_of_a_proxy(stream, data) -> None:
    producer, consumer = stream
    producer.send('t', 1)
    data.clear()
    proxy = consumer.next()
    with pytest.raises(ProxyResolveError):
        proxy + 1


def test_store_is_made_and_registered_when_first_met(broker) -> None:
    sender = Store('sender', LocalConnector(include_data_in_config=True))
    StreamProducer(broker, default_store=sender).send('t', [1])
    assert get_store('sender') is None
    assert StreamConsumer(broker).next_object() == [1]
    assert get_store('sender') is not None


def test_a_topic_may_use_several_stores(broker, store) -> None:
    other = Store('other', LocalConnector(), register=True)
    for each in (store, other, store):
        StreamProducer(broker, default_store=each).send('t', each.name)
    consumer = StreamConsumer(broker)
    assert [consumer.next_object() for _ in range(3)] == ['consumer', 'other', 'consumer']


@pytest.mark.parametrize('subscriber', [True, False])
@pytest.mark.parametrize('stores', [True, False])
def test_close_closes_what_it_is_told_to(broker, subscriber: bool, stores: bool) -> None:
    WatchedConnector.closed = 0
    store = Store('watched', WatchedConnector())
    register_store(store)
    consumer = StreamConsumer(broker)
    StreamProducer(broker, default_store=store).send('t', 1)
    assert consumer.next_object() == 1
    consumer.close(subscriber=subscriber, stores=stores)
    assert (broker.closed, WatchedConnector.closed) == (subscriber, stores)
    assert (get_store('watched') is None) is stores
    store.close()


def test_context_manager_closes_the_subscriber(broker) -> None:
    with StreamConsumer(broker):
        assert broker.closed == 0
    assert broker.closed == 1


def test_messages_that_are_no_events_are_refused() -> None:
    messages: queue.Queue[bytes] = queue.Queue()
    consumer = StreamConsumer(QueueSubscriber(messages, block=False))
    messages.put(b'garbage')
    with pytest.raises(SerializationError):
        consumer.next()
    messages.put(event_to_bytes(NewObjectEvent('t', 1, {})))
    assert consumer.next() == 1, 'an event by itself is a batch of one'


def test_what_cannot_be_subscribed_to_is_refused() -> None:
    with pytest.raises(TypeError, match='object cannot be subscribed to'):
        StreamConsumer(object())
