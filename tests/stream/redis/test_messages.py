"""Messages and objects arrive, once, in order, and whole."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.redis import RedisConnector
from proxystore.proxy import Proxy
from proxystore.serialize import SerializationError
from proxystore.store import Store
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.protocols import MessagePublisher, MessageSubscriber
from proxystore.stream.shims.redis import (
    RedisPublisher,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisSubscriber,
)
from tests.stream.redis.support import SHIMS, both
from tests.support.servers import BINARIES, HOST, PASSWORD, RedisServer

if TYPE_CHECKING:
    from tests.support.servers import Servers


@pytest.mark.parametrize('kind', SHIMS)
@pytest.mark.parametrize('binary', BINARIES)
def test_messages_arrive_in_order(servers: Servers, binary: str, kind: str) -> None:
    messages = [b'', b'x', b'a\r\nb\0', bytes(100_000), os.urandom(3_000_000), b'last']
    with both(kind, 'topic', HOST, servers[binary].port) as (publisher, subscriber):
        assert isinstance(publisher, MessagePublisher)
        assert isinstance(subscriber, MessageSubscriber)
        for message in messages:
            publisher.send_message('topic', message)
        received = [subscriber.next_message() for _ in messages]
    assert received == messages
    assert {type(message) for message in received} == {bytes}


@pytest.mark.parametrize('kind', SHIMS)
def test_every_buffer_is_a_message_and_nothing_else(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        for message in (bytearray(b'1'), memoryview(b'123')[::1]):
            publisher.send_message('t', message)
            assert next(subscriber) == bytes(message)
        with pytest.raises(TypeError):
            publisher.send_message('t', 'text')


def test_subscribers_hear_their_topics_and_all_of_them_hear(server: RedisServer) -> None:
    with (
        contextlib.closing(RedisSubscriber(HOST, server.port, ['a', 'b'])) as first,
        contextlib.closing(RedisSubscriber(HOST, server.port, 'b')) as second,
        contextlib.closing(RedisPublisher(HOST, server.port)) as publisher,
    ):
        for topic in 'abcab':
            publisher.send_message(topic, topic.encode())
        assert [first.next_message() for _ in range(4)] == [b'a', b'b', b'a', b'b']
        assert [second.next_message() for _ in range(2)] == [b'b', b'b']


def test_messages_of_a_queue_are_taken_once(server: RedisServer) -> None:
    with contextlib.closing(RedisQueuePublisher(HOST, server.port)) as publisher:
        for number in range(10):
            publisher.send_message('queue', str(number).encode())
    taken = []
    with contextlib.ExitStack() as stack:
        subscribers = [
            stack.enter_context(
                contextlib.closing(RedisQueueSubscriber(HOST, server.port, 'queue'))
            )
            for _ in range(2)
        ]
        taken = [subscriber.next_message() for subscriber in subscribers * 5]
    assert sorted(taken) == [str(number).encode() for number in range(10)]


@pytest.mark.parametrize('timeout', [1, 0.05])
def test_an_empty_queue_times_out(server: RedisServer, timeout: float) -> None:
    with contextlib.closing(
        RedisQueueSubscriber(HOST, server.port, 'empty', timeout=timeout)  # type: ignore[arg-type]
    ) as subscriber:
        for _ in range(2):
            with pytest.raises(TimeoutError, match='Timeout waiting on Redis queue with key empty'):
                subscriber.next_message()


@pytest.mark.parametrize('kind', SHIMS)
def test_a_subscriber_waits_for_as_long_as_it_takes(server: RedisServer, kind: str) -> None:
    # Longer than the timeout of an operation, which is not for waiting.
    with both(kind, 't', HOST, server.port, socket_timeout=1.0) as (publisher, subscriber):
        timer = threading.Timer(2.5, publisher.send_message, ('t', b'late'))
        timer.start()
        assert subscriber.next_message() == b'late'
        timer.join()


def test_threads_share_a_publisher_and_a_queue(server: RedisServer) -> None:
    count, threads = 100, 4
    received: list[bytes] = []
    with both('queue', 'q', HOST, server.port) as (publisher, subscriber):

        def send(number: int) -> None:
            for index in range(count):
                publisher.send_message('q', f'{number}-{index}'.encode())

        def take() -> None:
            for _ in range(count):
                received.append(subscriber.next_message())

        workers = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        workers += [threading.Thread(target=take) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    sent = [f'{number}-{index}'.encode() for number in range(threads) for index in range(count)]
    assert sorted(received) == sorted(sent)


@pytest.mark.parametrize('kind', SHIMS)
def test_objects_stream(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        producer: StreamProducer[Any] = StreamProducer(publisher, batch_size=2)
        for number in range(5):
            producer.send('t', [number], metadata={'n': number})
        producer.close_topics('t')
        received = list(StreamConsumer(subscriber).iter_with_metadata())
    assert received == [({'n': number}, [number]) for number in range(5)]


def test_large_objects_go_through_the_store_and_small_ones_do_not(server: RedisServer) -> None:
    large = bytes(1_000_000)
    with (
        both('pubsub', 't', HOST, server.port) as (publisher, subscriber),
        Store('objects', RedisConnector(HOST, server.port), register=True) as store,
    ):
        producer: StreamProducer[Any] = StreamProducer(
            publisher, default_store=store, inline_threshold=1000
        )
        for obj in ([1], large, [2]):
            producer.send('t', obj)
        producer.close_topics('t')
        with server.client() as client:
            assert client.dbsize() == 1
            received = list(StreamConsumer(subscriber))
            assert [type(proxy) for proxy in received] == [Proxy] * 3
            assert received == [[1], large, [2]]
            assert client.dbsize() == 0


def test_a_literal_password_of_a_store_does_not_travel(servers: Servers) -> None:
    server = servers['password']
    store = Store('locked', RedisConnector(HOST, server.port, password=PASSWORD))
    with (
        contextlib.closing(RedisPublisher(HOST, server.port, password=PASSWORD)) as publisher,
        store,
        server.client(password=PASSWORD) as client,
    ):
        producer: StreamProducer[Any] = StreamProducer(publisher, default_store=store)
        with pytest.raises(SerializationError, match='env:NAME'):
            producer.send('t', [1])
        assert client.dbsize() == 0
