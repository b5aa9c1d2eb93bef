"""The main job: a producer hands objects to a consumer process, by value and by proxy.

Both processes do the same work on the same objects. By value, the object
itself travels through the pipe; by proxy, a few hundred bytes do, and the
consumer gets the object from the store when it first touches the proxy.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from proxystore.connectors.shm import ShmConnector
from proxystore.connectors.tcp import TCPConnector
from proxystore.store import Store
from proxystore.utils.data import bytes_to_readable

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

REPEATS = 5


class Job(NamedTuple):
    """An object and what the consumer computes from it."""

    name: str
    size: int
    obj: Any
    work: Callable[[Any], float]


class Row(NamedTuple):
    """One line of the table: times in milliseconds, sizes in bytes."""

    name: str
    size: int
    by_value: float
    by_proxy: float
    message: int


def sum_array(array: Any) -> float:
    """Read every element of an array."""
    return float(array.sum())


def sum_table(table: Any) -> float:
    """Read every number of a table."""
    return float(table['value'].sum())


def sum_settings(settings: Any) -> float:
    """Read every value of a dictionary."""
    return float(sum(settings.values()))


def jobs() -> list[Job]:
    """Make the objects that travel."""
    rng = np.random.default_rng(0)
    array = rng.random(25_000_000)
    rows = 500_000
    table = pd.DataFrame(
        {'value': rng.random(rows), 'count': np.arange(rows), 'label': rng.integers(0, 9, rows)}
    )
    settings = {f'parameter-{index}': float(index) for index in range(1000)}
    return [
        Job('numpy array', array.nbytes, array, sum_array),
        Job('pandas table', int(table.memory_usage().sum()), table, sum_table),
        Job('dict', sys.getsizeof(settings), settings, sum_settings),
    ]


def consume(connection: Connection) -> None:
    """Answer every object with what was computed from it, until told to stop."""
    while (message := connection.recv()) is not None:
        work, obj = message
        connection.send(work(obj))


def exchange(connection: Connection, job: Job, make: Callable[[], Any]) -> float:
    """Time one object from the producer to the consumer's answer, in milliseconds."""
    start = time.perf_counter()
    connection.send((job.work, make()))
    answer = connection.recv()
    elapsed = time.perf_counter() - start
    expected = job.work(job.obj)
    if answer != expected:
        message = f'{job.name}: the consumer computed {answer}, not {expected}'
        raise RuntimeError(message)
    return elapsed * 1000


def measure(connection: Connection, store: Store[Any], job: Job) -> Row:
    """Send one object several times each way; the median counts."""
    proxies: list[Any] = []

    def by_proxy() -> Any:
        proxies.append(store.proxy(job.obj, populate_target=False, evict=True))
        return proxies[-1]

    value = [exchange(connection, job, lambda: job.obj) for _ in range(REPEATS)]
    proxy = [exchange(connection, job, by_proxy) for _ in range(REPEATS)]
    message = len(multiprocessing.reduction.ForkingPickler.dumps((job.work, proxies[-1])))
    return Row(job.name, job.size, statistics.median(value), statistics.median(proxy), message)


def show(rows: list[Row]) -> None:
    """Print the table."""
    header = ('object', 'size', 'by value', 'by proxy', 'faster', 'message by proxy')
    lines = [
        (
            row.name,
            bytes_to_readable(row.size),
            f'{row.by_value:.2f} ms',
            f'{row.by_proxy:.2f} ms',
            f'{row.by_value / row.by_proxy:.1f} x',
            f'{row.message} B',
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]
    for line in (header, tuple('-' * width for width in widths), *lines):
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        print('  '.join([line[0].ljust(widths[0]), *cells]))


def main() -> None:
    """Start a consumer, send it everything, print what it took."""
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    consumer = context.Process(target=consume, args=(theirs,), name='consumer')
    consumer.start()
    theirs.close()
    everything = jobs()
    for name, connector in (
        ('memory that both share', ShmConnector('demo', hold=0)),
        ('a node, as between two hosts', TCPConnector(port=0, unix=False)),
    ):
        with Store(f'demo through {name}', connector, register=True) as store:
            print(f'Two processes, {REPEATS} exchanges each way through {name}.\n')
            show([measure(ours, store, job) for job in everything])
            print()
    ours.send(None)
    consumer.join()
    if consumer.exitcode != 0:
        sys.exit(f'the consumer failed with exit code {consumer.exitcode}')


if __name__ == '__main__':
    main()
