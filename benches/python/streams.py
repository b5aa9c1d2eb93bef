"""Streams over Redis, from a producer in one process to a consumer in another, beside the original.

Usage: python -m benches.python.streams
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.servers import RedisServer

from benches.python.harness import ROOT, UPSTREAM, Contender, Row, answer, compete, table

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = '127.0.0.1'
ROUNDS = 10


class Case(NamedTuple):
    """A stream to measure.

    Attributes:
        what: What is sent, in words.
        shim: 'pubsub' or 'queue'.
        store: 'none' for objects within the events, or the connector's name.
        size: Bytes of an object.
        batch: Objects that are published together.
        number: Objects that are sent in one measurement.
        bar: How many times the original's throughput is aimed for.
        array: Whether the objects are arrays, and not bytes.
    """

    what: str
    shim: str
    store: str
    size: int
    batch: int
    number: int
    bar: float | None = None
    array: bool = False


CASES = {
    'event-1': Case('1 kB in the event, pub/sub, batch 1', 'pubsub', 'none', 1000, 1, 2000, 2),
    'event-20': Case(
        '1 kB in the event, pub/sub, batch 20', 'pubsub', 'none', 1000, 20, 10_000, 1.5
    ),
    'queue-1': Case('1 kB in the event, queue, batch 1', 'queue', 'none', 1000, 1, 2000),
    'queue-20': Case('1 kB in the event, queue, batch 20', 'queue', 'none', 1000, 20, 10_000),
    'small-redis': Case('1 kB through a store, redis', 'pubsub', 'redis', 1000, 1, 1000),
    'small-inline': Case('1 kB through a store with a threshold', 'pubsub', 'redis', 1000, 1, 1000),
    'large-redis': Case(
        'bytes of 1 MB through a store, redis', 'pubsub', 'redis', 1_000_000, 1, 100, 3
    ),
    'array-redis': Case(
        'arrays of 1 MB through a store, redis', 'pubsub', 'redis', 1_000_000, 1, 100, 3, True
    ),
    'large-file': Case(
        'bytes of 1 MB through a store, files in /dev/shm', 'pubsub', 'file', 1_000_000, 1, 100, 2
    ),
    'array-file': Case(
        'arrays of 1 MB through a store, files in /dev/shm',
        'pubsub',
        'file',
        1_000_000,
        1,
        100,
        2,
        True,
    ),
}


def contender(port: int, directory: str) -> None:
    """Measure streams to another process of the same environment; runs over ours and the original.

    Args:
        port: Port of the Redis server.
        directory: Directory for the objects of file connectors.
    """
    warnings.simplefilter('ignore')
    import proxystore
    from proxystore.stream import StreamProducer
    from proxystore.stream.shims.redis import RedisPublisher, RedisQueuePublisher

    # Only ours has a threshold.
    thresholds = {'inline_threshold': 65536} if proxystore.__version__ != '1.1.0' else {}
    code = f'from benches.python import streams; streams.consumer({port})'
    consumer = subprocess.Popen(
        [sys.executable, '-c', code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert consumer.stdin is not None
    assert consumer.stdout is not None
    topics = iter(range(1 << 30))

    def measure(name: str, case: Case) -> float:
        topic = f'{name}-{os.getpid()}-{next(topics)}'
        print(name, topic, file=consumer.stdin, flush=True)
        assert consumer.stdout.readline() == 'ready\n'
        publisher: Any = (RedisPublisher if case.shim == 'pubsub' else RedisQueuePublisher)(
            HOST, port
        )
        if case.shim == 'pubsub':
            wait_for_subscriber(port, topic)
        with ExitStack() as stack:
            store = open_store(stack, case.store, port, directory)
            options = thresholds if name == 'small-inline' else {}
            producer: StreamProducer[Any] = StreamProducer(
                publisher, batch_size=case.batch, default_store=store, **options
            )
            # As many as a batch: pickle would write the same object only once.
            objs = [make(case) for _ in range(case.batch)]
            start = time.perf_counter_ns()
            for number in range(case.number):
                producer.send(topic, objs[number % case.batch])
            producer.close_topics(topic)
            assert consumer.stdout.readline() == f'{case.number}\n'
            took = time.perf_counter_ns() - start
            producer.close()
        return took / case.number

    def measuring(name: str, case: Case) -> Callable[[], float]:
        return lambda: measure(name, case)

    answer({name: measuring(name, case) for name, case in CASES.items()})
    consumer.stdin.close()
    consumer.wait()


def consumer(port: int) -> None:
    """Consume the streams that lines of standard input name."""
    warnings.simplefilter('ignore')
    from proxystore.stream import StreamConsumer
    from proxystore.stream.shims.redis import RedisQueueSubscriber, RedisSubscriber

    for line in sys.stdin:
        name, topic = line.split()
        case = CASES[name]
        subscriber: Any = (RedisSubscriber if case.shim == 'pubsub' else RedisQueueSubscriber)(
            HOST, port, topic
        )
        print('ready', flush=True)
        stream: StreamConsumer[Any] = StreamConsumer(subscriber)
        received = 0
        for obj in stream.iter_objects():
            assert memoryview(obj).nbytes == case.size
            received += 1
        print(received, flush=True)
        stream.close(stores=True)


def make(case: Case) -> Any:
    """Make an object to send."""
    if not case.array:
        return os.urandom(case.size)
    import numpy as np

    return np.frombuffer(os.urandom(case.size)).copy()


def open_store(stack: ExitStack, kind: str, port: int, directory: str) -> Any:
    """Open the store that objects go through."""
    from proxystore.store import Store

    if kind == 'none':
        return None
    connector: Any
    if kind == 'redis':
        from proxystore.connectors.redis import RedisConnector

        connector = RedisConnector(HOST, port)
    else:
        from proxystore.connectors.file import FileConnector

        connector = FileConnector(str(Path(directory) / str(os.getpid())))
    return stack.enter_context(Store('streams', connector, cache_size=0))


def wait_for_subscriber(port: int, topic: str) -> None:
    """Wait until the server knows of somebody who listens: the original does not wait for that."""
    with socket.create_connection((HOST, port)) as connection:
        while True:
            connection.sendall(f'PUBSUB NUMSUB {topic}\r\n'.encode())
            if connection.recv(4096).endswith(b':1\r\n'):
                return


def rows() -> list[Row]:
    """Measure everything."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir='/dev/shm'))
        server = stack.enter_context(RedisServer(Path(directory) / 'redis'))
        code = (
            'from benches.python import streams; '
            f'streams.contender({server.port}, {directory + "/objects"!r})'
        )
        both = {
            label: stack.enter_context(Contender([python, '-c', code]))
            for label, python in (('ours', sys.executable), ('original', UPSTREAM))
        }
        best = compete(both, rounds=ROUNDS)
    found = []
    for name, case in CASES.items():
        ours, original = best[name]['ours'], best[name]['original']
        ratio = original / ours
        found.append(
            Row(
                case.what,
                ours,
                {'original': original},
                '' if case.bar is None else f'>= {case.bar:g} x its throughput',
                f'{ratio:.2f} x, {1e9 / ours:,.0f}/s',
                None if case.bar is None else ratio >= case.bar,
            )
        )
    return found


def main() -> str:
    """Measure and lay out the results."""
    note = 'Times are per object, from the first `send` until the consumer has the last object.\n'
    return table('Streams over Redis', rows()) + '\n' + note


if __name__ == '__main__':
    print(main())
