"""The Redis connector beside redis-benchmark, the bare protocol and the original.

Usage: python -m benches.python.redis
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.servers import RedisServer

from benches.python.harness import ROOT, UPSTREAM, Contender, Row, answer, compete, table
from benches.python.network import LARGE, SMALL, contender, floor, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEDIUM = 10**6
HUGE = 10**9
#: How many times redis-benchmark's time, or the bare protocol's, ours may take.
BARS = {SMALL: 1.5, MEDIUM: 1.15, LARGE: 1.15}
#: Runs of redis-benchmark; the best counts.
BENCHMARKED = 3
#: Milliseconds that a store may take to put and get an array of 100 MB.
ARRAY_BAR = 220
#: Memory that putting and getting that array may take beside it, in its sizes.
MEMORY_BARS = (0.05, 1.05)


@contextmanager
def server() -> Iterator[int]:
    """A Redis server that keeps nothing on disk, and its port."""
    with (
        tempfile.TemporaryDirectory() as directory,
        RedisServer(Path(directory, 'redis')) as running,
    ):
        yield running.port


def ours(port: int, size: int, kept: int = 1) -> None:
    """Measure our connector."""
    from proxystore.connectors.redis import RedisConnector

    serve(RedisConnector('127.0.0.1', port), size, kept)


def original(port: int, size: int) -> None:
    """Measure the original's."""
    from proxystore.connectors.redis import RedisConnector

    serve(RedisConnector('127.0.0.1', port), size)


def arrays(port: int) -> None:
    """Measure a store of arrays of 100 MB; runs over ours and over the original."""
    import numpy as np

    from proxystore.connectors.redis import RedisConnector
    from proxystore.store import Store

    store = Store('arrays', RedisConnector('127.0.0.1', port), cache_size=0)
    array = np.ones(LARGE // 8)

    def both() -> float:
        start = time.perf_counter_ns()
        key = store.put(array)
        store.get(key)
        took = time.perf_counter_ns() - start
        store.evict(key)
        return took

    answer({'both': both})


def extra_memory(port: int) -> None:
    """Print how much more memory a put and a get take at most, in sizes of the array of 100 MB."""
    import numpy as np

    from proxystore.connectors.redis import RedisConnector
    from proxystore.store import Store

    store = Store('memory', RedisConnector('127.0.0.1', port), cache_size=0)
    array = np.ones(LARGE // 8)
    store.get(store.put(array[:1000]))

    def status(name: str) -> int:
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def taken(operation: Callable[[], Any]) -> tuple[float, Any]:
        # 5 resets the peak of resident memory: proc_pid_clear_refs(5).
        Path('/proc/self/clear_refs').write_text('5')
        before = status('VmRSS')
        outcome = operation()
        return (status('VmHWM') - before) / LARGE, outcome

    put, key = taken(lambda: store.put(array))
    get, _ = taken(lambda: store.get(key))
    print(f'{put:.3f} {get:.3f}')


def memory_line() -> str:
    """A line about the memory that a store takes."""
    with server() as port:
        code = f'from benches.python import redis; redis.extra_memory({port})'
        done = subprocess.run(
            [sys.executable, '-c', code], check=True, capture_output=True, text=True, cwd=ROOT
        )
    put, get = map(float, done.stdout.split())
    verdict = 'met' if put <= MEMORY_BARS[0] and get <= MEMORY_BARS[1] else '**missed**'
    return (
        f'\nMemory beside an array of 100 MB, at most: Store.put {put:.3f}, Store.get {get:.3f} of '
        f'its size (bars {MEMORY_BARS[0]}, {MEMORY_BARS[1]}): {verdict}.\n'
    )


def benchmark(port: int, size: int) -> dict[str, float]:
    """Nanoseconds that redis-benchmark takes for a SET and a GET, one after the other."""
    count = 30_000 if size <= SMALL else 2_000
    command = ['redis-benchmark', '-p', str(port), '-c', '1', '-d', str(size), '-n', str(count)]
    best: dict[str, float] = {}
    for _ in range(BENCHMARKED):
        done = subprocess.run(
            [*command, '-t', 'set,get', '--csv'], check=True, capture_output=True, text=True
        )
        for row in csv.DictReader(io.StringIO(done.stdout)):
            case = {'SET': 'put', 'GET': 'get'}[row['test']]
            took = 1e9 / float(row['rps'])
            best[case] = min(took, best.get(case, took))
    return best


@contextmanager
def contenders(port: int, size: int) -> Iterator[dict[str, Contender]]:
    """Everybody who moves objects of one size."""
    with ExitStack() as stack:
        yield {
            'ours': stack.enter_context(contender(f'redis.ours({port}, {size})')),
            'original': stack.enter_context(
                contender(f'redis.original({port}, {size})', python=UPSTREAM)
            ),
            'bare': stack.enter_context(floor(size, ['set', 'get'], port)),
        }


def sized_rows() -> list[Row]:
    """100 bytes, 1 MB and 100 MB."""
    rows = []
    names = {SMALL: '100 B', MEDIUM: '1 MB', LARGE: '100 MB'}
    for size, limit in BARS.items():
        with server() as port, contenders(port, size) as all_:
            best = compete(all_, rounds=20 if size <= MEDIUM else 6)
            reference = benchmark(port, size) if size <= MEDIUM else {}
        for case, bare in (('put', 'set'), ('get', 'get')):
            found = best[case]
            bare_time = best[bare]['bare']
            floor_ = reference.get(case, bare_time)
            ratio = found['ours'] / floor_
            others = {'bare protocol': bare_time, 'original': found['original']}
            if reference:
                others = {'redis-benchmark': floor_, **others}
            rows.append(
                Row(
                    f'{case} {names[size]}',
                    found['ours'],
                    others,
                    f'<= {limit} x {"redis-benchmark" if reference else "bare protocol"}',
                    f'{ratio:.2f}',
                    ratio <= limit,
                )
            )
    return rows


def huge_rows() -> list[Row]:
    """1 GB, which a server with stock limits takes in parts only.

    Results that are kept take as much new memory either way: ten of 100 MB for one of 1 GB.
    """
    ten = HUGE // LARGE
    with ExitStack() as stack:
        port = stack.enter_context(server())
        large = stack.enter_context(contender(f'redis.ours({port}, {LARGE}, kept={ten})'))
        huge = stack.enter_context(contender(f'redis.ours({port}, {HUGE})'))
        best = compete({'large': large, 'huge': huge}, rounds=3)
    rows = []
    for case in ('put', 'get', 'get-kept'):
        rate = best[case]['large'] * ten / best[case]['huge']
        rows.append(
            Row(
                f'{case} 1 GB in parts',
                best[case]['huge'],
                {'10 x 100 MB': best[case]['large'] * ten},
                '>= 0.9 of the rate of 100 MB',
                f'{rate:.2f}',
                rate >= 0.9,
            )
        )
    return rows


def array_row() -> Row:
    """Put and get of an array by a store."""
    with ExitStack() as stack:
        port = stack.enter_context(server())
        all_ = {
            'ours': stack.enter_context(contender(f'redis.arrays({port})')),
            'original': stack.enter_context(contender(f'redis.arrays({port})', python=UPSTREAM)),
        }
        best = compete(all_, rounds=6)['both']
    millis = best['ours'] / 1e6
    return Row(
        'Store.put and Store.get of an array of 100 MB',
        best['ours'],
        {'original': best['original']},
        f'<= {ARRAY_BAR} ms',
        f'{millis:.0f} ms',
        millis <= ARRAY_BAR,
    )


def main() -> str:
    """Measure everything and lay it out."""
    return table('Redis', [*sized_rows(), *huge_rows(), array_row()]) + memory_line()


if __name__ == '__main__':
    print(main())
