"""Upstream at either end."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.stream import StreamConsumer, StreamProducer
from tests.stream.redis.support import SHIMS, wait_for_subscribers
from tests.support.servers import HOST, RedisServer

if TYPE_CHECKING:
    from tests.support.interpreter import Interpreter


_UPSTREAM = """
import warnings
warnings.simplefilter('ignore')
from proxystore.stream import StreamConsumer, StreamProducer
from proxystore.stream.shims import redis as shims
"""


@pytest.mark.parametrize('kind', SHIMS)
def test_upstream_receives_what_is_sent(
    server: RedisServer, upstream: Interpreter, kind: str
) -> None:
    publisher_type, _ = SHIMS[kind]
    done: list[Any] = []

    def consume() -> None:
        subscriber = 'RedisSubscriber' if kind == 'pubsub' else 'RedisQueueSubscriber'
        code = f'consumer = StreamConsumer(shims.{subscriber}({HOST!r}, port, "t"))'
        code += '\nresult = list(consumer.iter_with_metadata())'
        done.append(upstream.run(_UPSTREAM + code, port=server.port))

    thread = threading.Thread(target=consume)
    thread.start()
    if kind == 'pubsub':
        wait_for_subscribers(server, 't')
    with contextlib.closing(publisher_type(HOST, server.port)) as publisher:
        producer: StreamProducer[Any] = StreamProducer(publisher, batch_size=3)
        for number in range(7):
            producer.send('t', {'n': number}, metadata={'m': number})
        producer.close_topics('t')
        producer.flush()
    thread.join()
    assert done == [[({'m': number}, {'n': number}) for number in range(7)]]


@pytest.mark.parametrize('kind', SHIMS)
def test_what_upstream_sends_is_received(
    server: RedisServer, upstream: Interpreter, kind: str
) -> None:
    _, subscriber_type = SHIMS[kind]
    publisher = 'RedisPublisher' if kind == 'pubsub' else 'RedisQueuePublisher'
    with contextlib.closing(subscriber_type(HOST, server.port, 't')) as subscriber:
        upstream.run(
            _UPSTREAM
            + f"""
from proxystore.connectors.redis import RedisConnector
from proxystore.store import Store
store = Store('theirs', RedisConnector({HOST!r}, port))
producer = StreamProducer(shims.{publisher}({HOST!r}, port), stores={{'t': None}}, batch_size=2)
producer.send('t', [1], metadata={{'m': 1}})
producer.send('t', 'two')
through = StreamProducer(producer.publisher, default_store=store)
through.send('t', [3])
through.close_topics('t')
""",
            port=server.port,
        )
        received = list(StreamConsumer(subscriber).iter_with_metadata())
    assert received == [({'m': 1}, [1]), ({}, 'two'), ({}, [3])]
