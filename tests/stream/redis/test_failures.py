"""Servers that are gone, silent, slow or somebody else: nothing is lost without a word."""

from __future__ import annotations

import contextlib
import pickle
import socket
import threading
from typing import Any

import pytest

from proxystore.connectors.exceptions import ConnectorTimeoutError, ConnectorUnavailableError
from proxystore.stream import StreamConsumer
from proxystore.stream.exceptions import SubscriberLostError
from proxystore.stream.shims.redis import RedisPublisher, RedisQueueSubscriber, RedisSubscriber
from tests.stream.redis.support import both
from tests.support.servers import HOST, RedisServer, free_port
from tests.support.threads import meanwhile


def receive_into(received: list[int], subscriber: RedisSubscriber) -> None:
    for message in subscriber:
        received.append(message[0])


def test_a_slow_subscriber_is_told_that_it_was_dropped(own_server: RedisServer) -> None:
    with (
        own_server.client() as client,
        both('pubsub', 't', HOST, own_server.port) as (publisher, subscriber),
    ):
        client.config_set('client-output-buffer-limit', 'pubsub 1000000 0 0')
        for number in range(100):
            publisher.send_message('t', bytes([number]) * 1_000_000)
        received: list[int] = []
        with pytest.raises(SubscriberLostError, match='lost') as caught:
            receive_into(received, subscriber)
        # Nothing is left out before the end.
        assert received == list(range(len(received)))
        assert len(received) < 100
        assert str(own_server.port) in str(caught.value)
        # And so it stays, whatever is published.
        publisher.send_message('t', b'after')
        with pytest.raises(SubscriberLostError):
            subscriber.next_message()


@pytest.mark.parametrize('how', ['killed', 'stopped'])
def test_a_waiting_subscriber_is_told_that_its_connection_is_gone(
    own_server: RedisServer, how: str
) -> None:
    with contextlib.closing(RedisSubscriber(HOST, own_server.port, 't')) as subscriber:

        def end() -> None:
            if how == 'stopped':
                own_server.stop()
            else:
                with own_server.client() as client:
                    client.client_kill_filter(_type='pubsub')

        with pytest.raises(SubscriberLostError), meanwhile(end):
            subscriber.next_message()


def test_a_consumer_is_told_too(own_server: RedisServer) -> None:
    subscriber = RedisSubscriber(HOST, own_server.port, 't')
    with StreamConsumer[Any](subscriber) as consumer:
        own_server.stop()
        with pytest.raises(SubscriberLostError):
            list(consumer)


def test_a_silent_server_is_noticed(own_server: RedisServer) -> None:
    subscriber = RedisSubscriber(HOST, own_server.port, 't', socket_timeout=2.0)
    with contextlib.closing(subscriber), own_server.paused(), pytest.raises(SubscriberLostError):
        subscriber.next_message()


def test_the_loss_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SubscriberLostError('lost')))
    assert isinstance(error, ConnectorUnavailableError)
    assert isinstance(error, ConnectionError)
    assert str(error) == 'lost'


def test_publishers_and_queues_connect_again(own_server: RedisServer) -> None:
    with (
        contextlib.closing(RedisPublisher(HOST, own_server.port)) as publisher,
        both('queue', 'q', HOST, own_server.port) as (pusher, taker),
    ):
        publisher.send_message('t', b'')
        pusher.send_message('q', b'before')
        assert taker.next_message() == b'before'
        own_server.stop()
        for send in (publisher.send_message, pusher.send_message):
            with pytest.raises(ConnectorUnavailableError):
                send('t', b'')
        with pytest.raises(ConnectorUnavailableError):
            taker.next_message()
        own_server.start()
        publisher.send_message('t', b'')
        pusher.send_message('q', b'after')
        assert taker.next_message() == b'after'


def test_a_stalled_server_ends_a_send(own_server: RedisServer) -> None:
    with (
        contextlib.closing(RedisPublisher(HOST, own_server.port, socket_timeout=0.3)) as publisher,
        own_server.paused(),
        pytest.raises(ConnectorTimeoutError, match=str(own_server.port)),
    ):
        publisher.send_message('t', b'x')


def test_where_nobody_answers() -> None:
    port = free_port()
    # Only a subscriber has to connect before it is of any use.
    with pytest.raises(ConnectorUnavailableError, match=str(port)):
        RedisSubscriber(HOST, port, 't')
    with pytest.raises(ConnectorUnavailableError, match=str(port)):
        RedisPublisher(HOST, port).send_message('t', b'x')
    with pytest.raises(ConnectorUnavailableError, match=str(port)):
        RedisQueueSubscriber(HOST, port, 't').next_message()


def test_a_web_server_is_no_server_of_messages() -> None:
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ConnectorUnavailableError, match='web server'):
            RedisSubscriber(HOST, listener.getsockname()[1], 't')
        thread.join()
