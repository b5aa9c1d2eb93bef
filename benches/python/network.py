"""What the benchmarks of networked connectors share: floors in C, peers, and nodes to talk to."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches.python.harness import ROOT, Contender, answer, loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SMALL = 100
LARGE = 10**8
#: Operations in a row that one measurement of small ones is the mean of.
MANY = 1000

ECHOES = ['echo-tcp', 'echo-unix']
TRANSFERS = [
    f'{what}-{how}' for how in ('tcp', 'unix') for what in ('send', 'keep', 'receive', 'fresh')
]


@contextmanager
def floor(size: int, cases: list[str], redis_port: int | None = None) -> Iterator[Contender]:
    """The bare system calls, in C."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        program = Path(directory, 'network_floor')
        source = ROOT / 'benches' / 'floors' / 'network_floor.c'
        subprocess.run(['cc', '-O2', '-o', program, source], check=True)
        command = [program, directory, str(size)]
        if redis_port is not None:
            command.append(str(redis_port))
        yield stack.enter_context(Contender(command, cases))


@contextmanager
def child(code: str, *, python: str | Path = sys.executable) -> Iterator[subprocess.Popen[str]]:
    """A process that runs Python code; it says a line when it is ready, and ends with its input."""
    process = subprocess.Popen(
        [python, '-c', code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError('the process has no pipe')
    try:
        if not process.stdout.readline():
            message = f'the process ended: code {process.wait()}'
            raise RuntimeError(message)
        yield process
    finally:
        process.stdin.close()
        process.wait()


@contextmanager
def contender(call: str, *, python: str | Path = sys.executable) -> Iterator[Contender]:
    """A contender that calls a function of one of these modules, `module.function(...)`."""
    module = call.partition('.')[0]
    code = f'from benches.python import {module}; {call}'
    with Contender([python, '-c', code]) as process:
        yield process


def serve(connector: Any, size: int, kept: int = 1) -> None:
    """Measure a connector's operations on objects of `size` bytes.

    Args:
        connector: The connector.
        size: Bytes of an object.
        kept: Objects that one measurement of `get-kept` is the mean of.
    """
    data = bytes(size)
    number = MANY if size <= SMALL else 1 if size >= LARGE else 50

    def put_many() -> float:
        start = time.perf_counter_ns()
        keys = [connector.put(data) for _ in range(number)]
        took = (time.perf_counter_ns() - start) / number
        for key in keys:
            connector.evict(key)
        return took

    def put() -> float:
        """Put into memory that the object before has left, as who writes one key over and over."""
        connector.evict(connector.put(data))
        took = 0
        for _ in range(number):
            start = time.perf_counter_ns()
            key = connector.put(data)
            took += time.perf_counter_ns() - start
            connector.evict(key)
        return took / number

    def put_kept() -> float:
        """Put and leave what was put, so that the next goes into memory new to the server."""
        # The first takes what others have left.
        keys.append(connector.put(data))
        start = time.perf_counter_ns()
        keys.append(connector.put(data))
        return time.perf_counter_ns() - start

    def get_released() -> float:
        """Get into the memory of the result before, which nobody holds any more."""
        connector.get(got)
        start = time.perf_counter_ns()
        connector.get(got)
        return time.perf_counter_ns() - start

    def get_kept() -> float:
        """Get and hold what was got, so that the next goes into memory new to this process."""
        # The first takes what others have released.
        held.append(connector.get(got))
        start = time.perf_counter_ns()
        held.extend([connector.get(got) for _ in range(kept)])
        return (time.perf_counter_ns() - start) / kept

    keys: list[Any] = []
    held: list[Any] = []
    got = connector.put(data)
    cases: dict[str, Callable[[], float]] = {
        'put': put_many if size <= SMALL else put,
        'get': loop(lambda: connector.get(got), number),
        'exists': loop(lambda: connector.exists(got), number),
    }
    if size >= LARGE:
        cases |= {'get': get_released, 'put-kept': put_kept, 'get-kept': get_kept}
    answer(cases)
