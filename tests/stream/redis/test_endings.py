"""Streams that are closed, interrupted or inherited by a forked child."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from proxystore.connectors.exceptions import ConnectorClosedError, ConnectorUnavailableError
from proxystore.stream.shims.redis import (
    RedisPublisher,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisSubscriber,
)
from tests.stream.redis.support import SHIMS, both, waiting_program
from tests.support.leaks import no_leaked_descriptors
from tests.support.processes import run_in_child
from tests.support.servers import HOST, RedisServer
from tests.support.threads import meanwhile


@pytest.mark.parametrize('kind', SHIMS)
def test_closing(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        publisher.send_message('t', b'x')
        assert subscriber.next_message() == b'x'
        for shim in (publisher, subscriber):
            shim.close()
            shim.close()
        with pytest.raises(ConnectorClosedError):
            publisher.send_message('t', b'x')
        with pytest.raises(StopIteration):
            subscriber.next_message()
        assert list(subscriber) == []


@pytest.mark.parametrize('subscriber_type', [RedisSubscriber, RedisQueueSubscriber])
def test_closing_from_another_thread_ends_the_stream(
    server: RedisServer, subscriber_type: Any
) -> None:
    subscriber = subscriber_type(HOST, server.port, 't')
    with meanwhile(subscriber.close):
        assert list(subscriber) == []


@pytest.mark.parametrize('kind', SHIMS)
def test_no_descriptor_is_left_open(server: RedisServer, kind: str) -> None:
    with no_leaked_descriptors():
        for _ in range(3):
            with both(kind, 't', HOST, server.port) as (publisher, subscriber):
                publisher.send_message('t', b'x')
                subscriber.next_message()


def test_an_interrupted_wait_loses_no_message(server: RedisServer) -> None:
    program = f"""
        import signal, sys
        from proxystore.stream.shims.redis import RedisQueueSubscriber, RedisSubscriber
        def interrupt(*_): raise InterruptedError
        signal.signal(signal.SIGUSR1, interrupt)
        for subscriber in (
            RedisQueueSubscriber({HOST!r}, {server.port}, 't'),
            RedisSubscriber({HOST!r}, {server.port}, 't'),
        ):
            try:
                print('waiting', flush=True)
                subscriber.next_message()
            except InterruptedError:
                print('interrupted', flush=True)
            print(subscriber.next_message().decode(), flush=True)
    """
    with waiting_program(program) as process:
        for send in (
            RedisQueuePublisher(HOST, server.port).send_message,
            RedisPublisher(HOST, server.port).send_message,
        ):
            assert process.stdout.readline() == 'waiting\n'
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == 'interrupted\n'
            send('t', b'message')
            assert process.stdout.readline() == 'message\n'


@pytest.mark.parametrize('name', ['RedisQueueSubscriber', 'RedisSubscriber'])
def test_ctrl_c_ends_a_wait(server: RedisServer, name: str) -> None:
    program = f"""
        from proxystore.stream.shims import redis
        subscriber = redis.{name}({HOST!r}, {server.port}, 't')
        try:
            print('waiting', flush=True)
            subscriber.next_message()
        except KeyboardInterrupt:
            print('interrupted', flush=True)
    """
    with waiting_program(program) as process:
        assert process.stdout.readline() == 'waiting\n'
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == 'interrupted\n'


def publish_in_child(publisher: Any) -> str:
    publisher.send_message('t', b'from the child')
    return 'sent'


def receive_in_child(subscriber: RedisSubscriber) -> str:
    try:
        subscriber.next_message()
    except ConnectorUnavailableError as error:
        return type(error).__name__
    return 'received'


@pytest.mark.parametrize('kind', SHIMS)
def test_forked_children_send_over_connections_of_their_own(server: RedisServer, kind: str) -> None:
    with both(kind, 't', HOST, server.port) as (publisher, subscriber):
        publisher.send_message('t', b'from the parent')
        assert run_in_child('fork', publish_in_child, publisher) == 'sent'
        publisher.send_message('t', b'from the parent again')
        received = [subscriber.next_message() for _ in range(3)]
    assert received == [b'from the parent', b'from the child', b'from the parent again']


def test_a_forked_child_does_not_take_its_parents_messages(server: RedisServer) -> None:
    with both('pubsub', 't', HOST, server.port) as (publisher, subscriber):
        assert run_in_child('fork', receive_in_child, subscriber) == 'SubscriberLostError'
        publisher.send_message('t', b'for the parent')
        assert subscriber.next_message() == b'for the parent'
