"""Streams over queues of the standard library."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from typing import Any

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.store import Store
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.protocols import (
    EventPublisher,
    EventSubscriber,
    MessagePublisher,
    MessageSubscriber,
)
from proxystore.stream.shims.queue import QueuePublisher, QueueSubscriber
from tests.stream.support import Broker
from tests.support.processes import run_in_child


def test_shims_fit_the_protocols() -> None:
    publisher, subscriber = QueuePublisher({}), QueueSubscriber(queue.Queue())
    assert isinstance(publisher, MessagePublisher)
    assert isinstance(subscriber, MessageSubscriber)
    assert not isinstance(publisher, (EventPublisher, MessageSubscriber))
    assert not isinstance(subscriber, (EventSubscriber, MessagePublisher))
    assert isinstance(Broker(), EventPublisher)
    assert isinstance(Broker(), EventSubscriber)


def test_messages_go_to_the_queue_of_their_topic() -> None:
    queues: dict[str, queue.Queue[bytes]] = {'a': queue.Queue(), 'b': queue.Queue()}
    with_queues = QueuePublisher(queues)
    with_queues.send_message('a', b'1')
    with_queues.send_message('b', b'2')
    subscriber = QueueSubscriber(queues['a'])
    assert iter(subscriber) is subscriber
    assert next(subscriber) == b'1'
    assert QueueSubscriber(queues['b']).next_message() == b'2'


def test_unknown_topic_is_refused() -> None:
    with pytest.raises(ValueError, match=r'Unknown topic "b".*: a'):
        QueuePublisher({'a': queue.Queue()}).send_message('b', b'')


@pytest.mark.parametrize('options', [{'block': False}, {'timeout': 0.001}])
def test_full_and_empty_queues(options: dict[str, Any]) -> None:
    messages: queue.Queue[bytes] = queue.Queue(1)
    publisher = QueuePublisher({'t': messages}, **options)
    publisher.send_message('t', b'')
    with pytest.raises(queue.Full):
        publisher.send_message('t', b'')
    subscriber = QueueSubscriber(messages, **options)
    subscriber.next_message()
    with pytest.raises(queue.Empty):
        subscriber.next_message()


def test_closing_a_publisher_closes_queues_of_processes() -> None:
    messages: multiprocessing.Queue[bytes] = multiprocessing.Queue()
    publisher = QueuePublisher({'a': messages, 'b': queue.Queue()})
    publisher.close()
    with pytest.raises(ValueError, match='closed'):
        publisher.send_message('a', b'')
    publisher.send_message('b', b'')
    with pytest.raises(StopIteration):
        QueueSubscriber(messages).next_message()
    messages.join_thread()


def test_closing_a_subscriber_leaves_the_queue_to_others() -> None:
    messages: multiprocessing.Queue[bytes] = multiprocessing.Queue()
    QueueSubscriber(messages).close()
    messages.put(b'1')
    assert QueueSubscriber(messages, timeout=10).next_message() == b'1'
    messages.close()
    messages.join_thread()


def test_stream_between_threads(store_dir: str) -> None:
    messages: queue.Queue[bytes] = queue.Queue()

    def produce() -> None:
        producer = StreamProducer[list[int]](QueuePublisher({'t': messages}), default_store=store)
        for i in range(20):
            producer.send('t', [i])
        producer.close(topics=['t'])

    with Store('threads', FileConnector(store_dir), register=True) as store:
        thread = threading.Thread(target=produce)
        thread.start()
        with StreamConsumer[list[int]](QueueSubscriber(messages, timeout=10)) as consumer:
            assert [proxy[0] for proxy in consumer] == list(range(20))
        thread.join()


@pytest.mark.parametrize('batch_size', [1, 3])
def test_stream_between_processes(start_method: str, store_dir: str, batch_size: int) -> None:
    # A manager's queue can be handed to a process started in any way.
    with multiprocessing.get_context('spawn').Manager() as manager:
        messages = manager.Queue()
        run_in_child(start_method, _produce, store_dir, messages, batch_size)
        with StreamConsumer[dict[str, Any]](QueueSubscriber(messages, timeout=10)) as consumer:
            received = list(consumer.iter_objects_with_metadata())
            consumer.close(stores=True, subscriber=False)
    assert received == [({'i': i}, {'value': i}) for i in range(10)]


def _produce(store_dir: str, messages: Any, batch_size: int) -> None:
    store = Store('processes', FileConnector(store_dir, clear=False))
    publisher = QueuePublisher({'t': messages})
    with StreamProducer[Any](publisher, default_store=store, batch_size=batch_size) as producer:
        for i in range(10):
            producer.send('t', {'value': i}, metadata={'i': i})
        producer.close_topics('t')
