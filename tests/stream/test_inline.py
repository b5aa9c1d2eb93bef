"""Small objects of a topic with a store travel within their events, and consumers need not know."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import pytest

from proxystore.connectors.local import LocalConnector
from proxystore.factory import LambdaFactory
from proxystore.proxy import Proxy, is_resolved
from proxystore.serialize import serialize
from proxystore.store import Store, get_store
from proxystore.store.exceptions import ProxyStoreFactoryError
from proxystore.store.utils import get_key
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.events import NewObjectEvent, NewObjectKeyEvent, event_to_bytes
from proxystore.stream.shims.queue import QueuePublisher, QueueSubscriber

if TYPE_CHECKING:
    from tests.support.interpreter import Interpreter

SMALL, LARGE = [1, 2], list(range(1000))


@pytest.fixture
def store(data):
    with Store('producer', LocalConnector(data), register=True) as store:
        yield store


def test_the_size_of_the_serialized_object_decides(broker, store) -> None:
    size = len(serialize('x' * 100))
    producer = StreamProducer(broker, default_store=store, inline_threshold=size)
    producer.send('t', 'x' * 100)
    producer.send('t', 'x' * 101)
    [[small], [large]] = broker.drain()
    assert isinstance(small, NewObjectEvent)
    assert isinstance(large, NewObjectKeyEvent)


def test_nothing_is_inline_unless_asked_for(broker, store) -> None:
    StreamProducer(broker, default_store=store).send('t', b'')
    [[event]] = broker.drain()
    assert isinstance(event, NewObjectKeyEvent)


def test_only_large_objects_are_in_the_store(broker, store, data) -> None:
    producer = StreamProducer(broker, default_store=store, inline_threshold=100, batch_size=4)
    for obj in (SMALL, LARGE, SMALL, LARGE):
        producer.send('t', obj)
    assert len(data) == 2
    assert [type(event) for event in broker.drain()[0]] == [
        NewObjectEvent,
        NewObjectKeyEvent,
        NewObjectEvent,
        NewObjectKeyEvent,
    ]


def test_consumers_get_proxies_of_all_objects_in_order(broker, store, data) -> None:
    producer = StreamProducer(broker, default_store=store, inline_threshold=100, batch_size=4)
    for number, obj in enumerate((SMALL, LARGE, SMALL, LARGE)):
        producer.send('t', obj, metadata={'number': number})
    producer.close_topics('t')
    got = list(StreamConsumer(broker).iter_with_metadata())
    assert [metadata['number'] for metadata, _ in got] == [0, 1, 2, 3]
    assert [type(proxy) for _, proxy in got] == [Proxy] * 4
    assert not any(is_resolved(proxy) for _, proxy in got)
    assert [list(proxy) for _, proxy in got] == [SMALL, LARGE, SMALL, LARGE]
    assert data == {}


def test_next_object_is_the_object(broker, store) -> None:
    producer = StreamProducer(broker, default_store=store, inline_threshold=100)
    producer.send('t', SMALL)
    producer.send('t', LARGE)
    consumer = StreamConsumer(broker)
    assert [type(consumer.next_object()) for _ in range(2)] == [list, list]


def test_a_proxy_needs_no_store(store) -> None:
    messages: queue.Queue[bytes] = queue.Queue()
    producer = StreamProducer(
        QueuePublisher({'t': messages}), default_store=store, inline_threshold=100
    )
    producer.send('t', SMALL)
    store.close()
    proxy = StreamConsumer(QueueSubscriber(messages)).next()
    assert proxy == SMALL
    assert get_store('producer') is None
    with pytest.raises(ProxyStoreFactoryError):
        get_key(proxy)


def reverse(text: str) -> bytes:
    return text[::-1].encode()


def unreverse(data: bytes) -> str:
    return bytes(data).decode()[::-1]


def test_the_serializer_is_that_of_the_store(broker) -> None:
    connector = LocalConnector()
    with Store(
        'own', connector, serializer=reverse, deserializer=unreverse, register=True
    ) as store:
        producer = StreamProducer(broker, default_store=store, inline_threshold=3)
        producer.send('t', 'abc')
        producer.send('t', 'abcd')
        consumer = StreamConsumer(broker)
        assert consumer.next() == 'abc'
        assert consumer.next() == 'abcd'


def test_a_store_that_verifies_keeps_all_objects(broker) -> None:
    with Store('verifying', LocalConnector(), verify=True) as store:
        StreamProducer(broker, default_store=store, inline_threshold=100).send('t', SMALL)
        [[event]] = broker.drain()
        assert isinstance(event, NewObjectKeyEvent)


def test_what_failed_to_be_published_is_not_in_the_store(broker, store, data) -> None:
    producer = StreamProducer(broker, default_store=store, inline_threshold=100, batch_size=2)
    producer.send('t', SMALL)
    broker.down = OSError('down')
    with pytest.raises(OSError, match='down'):
        producer.send('t', LARGE)
    assert data == {}
    broker.down = None
    producer.flush()
    assert StreamConsumer(broker).next_object() == SMALL


def test_a_proxy_that_the_user_sent_stays_a_proxy(broker) -> None:
    StreamProducer(broker).send('t', Proxy(LambdaFactory(list, 'ab')))
    assert type(StreamConsumer(broker).next_object()) is Proxy


def test_a_negative_threshold_is_refused(broker) -> None:
    with pytest.raises(ValueError, match='negative'):
        StreamProducer(broker, inline_threshold=-1)


def test_upstream_hands_out_proxies_too(broker, store, upstream: Interpreter) -> None:
    producer = StreamProducer(broker, default_store=store, inline_threshold=100)
    producer.send('t', SMALL, metadata={'m': 1})
    message = event_to_bytes(broker.batches[0])
    assert upstream.run(
        """
        import queue, warnings
        warnings.simplefilter('ignore')
        from proxystore.proxy import Proxy
        from proxystore.stream import StreamConsumer
        from proxystore.stream.shims.queue import QueueSubscriber
        messages = queue.Queue()
        messages.put(message)
        metadata, proxy = StreamConsumer(QueueSubscriber(messages)).next_with_metadata()
        result = (metadata, type(proxy) is Proxy, list(proxy))
        """,
        message=message,
    ) == ({'m': 1}, True, SMALL)
