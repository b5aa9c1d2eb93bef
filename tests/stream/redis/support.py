"""Both ends of a stream, and programs that wait at one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

from proxystore.stream.shims.redis import (
    RedisPublisher,
    RedisQueuePublisher,
    RedisQueueSubscriber,
    RedisSubscriber,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import RedisServer


SHIMS = {
    'pubsub': (RedisPublisher, RedisSubscriber),
    'queue': (RedisQueuePublisher, RedisQueueSubscriber),
}


@contextlib.contextmanager
def both(kind: str, topic: str, *args: Any, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
    """A publisher, and somebody who receives what it sends to a topic."""
    publisher_type, subscriber_type = SHIMS[kind]
    with (
        contextlib.closing(subscriber_type(*args, topic, **kwargs)) as subscriber,
        contextlib.closing(publisher_type(*args, **kwargs)) as publisher,
    ):
        yield publisher, subscriber


def wait_for_subscribers(server: RedisServer, topic: str) -> None:
    """Wait until the server has a subscriber: it tells those who watch what it is told."""
    with server.client() as client:
        while client.pubsub_numsub(topic)[0][1] == 0:
            threading.Event().wait(0.01)


@contextlib.contextmanager
def waiting_program(program: str) -> Iterator[Any]:
    """A program that says on its standard output when it is about to wait."""
    process = subprocess.Popen(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
