"""Gets of 1 kB that a loop waits for together, beside a gather of futures that are done already.

Usage: python -m benches.python.asyncio_gather
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from benches.python.harness import Contender, Row, answer, compete, table

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

SIZE = 1000
#: Gets in one gather.
MANY = 1000
#: What a gather of gets may take: so many times the floor, and so many microseconds a get.
GATHER_BAR = (1.5, 3.0)
#: Microseconds that an object of a batch may take.
BATCH_BAR = 1.5

#: Where the objects are, and what stands in the table.
PLACES = {
    'unix': 'a node, Unix socket',
    'tcp': 'a node, TCP',
    'shm': 'shared memory',
    'file': 'files in /dev/shm',
}
LOOPS = ('asyncio', 'uvloop')

#: Keeps a node of its own until its input ends, and says where.
NODE = """
import socket, sys
from proxystore.connectors.tcp import TCPConnector
with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
node = TCPConnector(port=port)
print(port, flush=True)
sys.stdin.read()
"""


@contextmanager
def node() -> Iterator[int]:
    """A node in a process of its own; gives its port."""
    command = [sys.executable, '-c', NODE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError('the process has no pipe')
        yield int(process.stdout.readline())
        process.stdin.close()


@contextmanager
def connectors(port: int) -> Iterator[dict[str, Any]]:
    """A connector of each place."""
    from proxystore.connectors.file import FileConnector
    from proxystore.connectors.shm import ShmConnector
    from proxystore.connectors.tcp import TCPConnector

    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir='/dev/shm'))
        yield {
            'unix': stack.enter_context(TCPConnector(port=port, node='join')),
            'tcp': stack.enter_context(TCPConnector(port=port, node='join', unix=False)),
            'shm': stack.enter_context(ShmConnector('benchmark', hold=0)),
            'file': stack.enter_context(FileConnector(directory)),
        }


def contender(port: int, kind: str) -> None:
    """Measure gets of every place in one loop."""
    import uvloop

    loop = uvloop.new_event_loop() if kind == 'uvloop' else asyncio.new_event_loop()

    def run(function: Callable[[], Coroutine[Any, Any, float]]) -> Callable[[], float]:
        return lambda: loop.run_until_complete(function())

    async def done() -> float:
        start = time.perf_counter_ns()
        futures = [loop.create_future() for _ in range(MANY)]
        for future in futures:
            future.set_result(b'')
        await asyncio.gather(*futures)
        return (time.perf_counter_ns() - start) / MANY

    with connectors(port) as places:
        cases = {'done': run(done)}
        for place, connector in places.items():
            keys = connector.put_batch([bytes(SIZE)] * MANY)

            async def gather(connector: Any = connector, keys: Any = keys) -> float:
                start = time.perf_counter_ns()
                await asyncio.gather(*[connector.aget(key) for key in keys])
                return (time.perf_counter_ns() - start) / MANY

            async def batch(connector: Any = connector, keys: Any = keys) -> float:
                start = time.perf_counter_ns()
                await connector.aget_batch(keys)
                return (time.perf_counter_ns() - start) / MANY

            async def alone(connector: Any = connector, keys: Any = keys) -> float:
                start = time.perf_counter_ns()
                for key in keys:
                    await connector.aget(key)
                return (time.perf_counter_ns() - start) / MANY

            def blocking(connector: Any = connector, keys: Any = keys) -> float:
                start = time.perf_counter_ns()
                connector.get_batch(keys)
                return (time.perf_counter_ns() - start) / MANY

            cases[f'gather-{place}'] = run(gather)
            cases[f'batch-{place}'] = run(batch)
            cases[f'alone-{place}'] = run(alone)
            cases[f'blocking-{place}'] = blocking
        answer(cases)


def main() -> str:
    """Measure everything and lay it out."""
    with ExitStack() as stack:
        port = stack.enter_context(node())
        contenders = {}
        for kind in LOOPS:
            code = f'from benches.python import asyncio_gather as b; b.contender({port}, {kind!r})'
            process = Contender([sys.executable, '-c', code])
            contenders[kind] = stack.enter_context(process)
        best = compete(contenders)
    rows = []
    times, more = GATHER_BAR
    for place, where in PLACES.items():
        for kind in LOOPS:
            took, floor = best[f'gather-{place}'][kind], best['done'][kind]
            above = (took - times * floor) / 1000
            rows.append(
                Row(
                    f'{MANY:,} gets gathered, each: {where}, {kind}',
                    took,
                    {'futures that are done': floor, 'one by one': best[f'alone-{place}'][kind]},
                    f'<= {times} x done + {more:.0f} µs',
                    f'{times} x + {above:.1f} µs',
                    above <= more,
                )
            )
        took = min(best[f'batch-{place}'].values())
        rows.append(
            Row(
                f'aget_batch of {MANY:,}, each: {where}',
                took,
                {'get_batch': min(best[f'blocking-{place}'].values())},
                f'<= {BATCH_BAR} µs',
                f'{took / 1000:.2f} µs',
                took <= BATCH_BAR * 1000,
            )
        )
    return table('Loops of asyncio', rows)


if __name__ == '__main__':
    print(main())
