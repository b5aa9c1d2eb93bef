"""A producer and a consumer process over one system: ours, the original, or a peer.

Run by `benches.python.shm` in whichever environment has the system.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benches.python.harness import answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

SIZES = {'1 MB': 10**6, '100 MB': 10**8, '1 GB': 10**9}
DICT = {f'key-{index}': 'x' * 20 for index in range(25)}
#: How many operations of one kind are timed together, and how many calls of a quick get.
BATCH = 200
CALLS = 20


class Ours:
    """A store over shared memory."""

    def __init__(self, place: str, **options: Any) -> None:
        from proxystore.connectors.shm import ShmConnector
        from proxystore.store import Store

        verify = options.pop('verify', None)
        self.directory = f'/dev/shm/proxystore-bench-{place}'
        self.connector = ShmConnector(directory=self.directory, hold=0, **options)
        self.store: Any = Store(f'bench-{place}', self.connector, verify=verify)
        self.put = self.store.put
        self.evict = self.store.evict
        self.get = self.store.get

    def get_copy(self, key: Any) -> Any:
        return self.store.get(key, copy=True)


class Original:
    """A store over files in /dev/shm."""

    def __init__(self, place: str) -> None:
        from proxystore.connectors.file import FileConnector
        from proxystore.store import Store

        self.directory = f'/dev/shm/bench-original-{place}'
        self.connector = FileConnector(self.directory, clear=False)
        self.store: Any = Store(f'bench-{place}', self.connector, cache_size=0)
        self.put = self.store.put
        self.evict = self.store.evict
        self.get = self.store.get


class SharedMemory:
    """`multiprocessing.shared_memory`, as a careful user would: attach, view, detach."""

    def __init__(self, _: str) -> None:
        self.kept: dict[str, shared_memory.SharedMemory] = {}
        self.connector = None

    def put(self, array: Any) -> tuple[str, int]:
        block = shared_memory.SharedMemory(create=True, size=array.nbytes)
        view = np.ndarray(array.shape, array.dtype, block.buf)
        np.copyto(view, array)
        self.kept[block.name] = block
        return block.name, array.size

    def evict(self, key: tuple[str, int]) -> None:
        block = self.kept.pop(key[0])
        block.close()
        block.unlink()

    def get(self, key: tuple[str, int]) -> Any:
        block = shared_memory.SharedMemory(key[0])
        array = np.ndarray((key[1],), np.float64, block.buf)
        return Held(array, block)


class Held:
    """An array and the block that it is in, which may go only after it."""

    def __init__(self, array: Any, block: shared_memory.SharedMemory) -> None:
        self.array = array
        self.block = block

    def close(self) -> None:
        del self.array
        self.block.close()


def array_of(obj: Any) -> Any:
    return obj.array if isinstance(obj, Held) else obj


def measure(system: Any, how: str, key: Any) -> float:
    """What the consumer does with a key, in nanoseconds."""
    clock = time.perf_counter_ns
    if how == 'get':
        total = 0
        for _ in range(CALLS):
            start = clock()
            obj = system.get(key)
            total += clock() - start
            if isinstance(obj, Held):
                obj.close()
            del obj
        return total / CALLS
    get = system.get_copy if how.startswith('copy') else system.get
    start = clock()
    obj = get(key)
    if how.endswith('read'):
        np.add.reduce(array_of(obj).view(np.uint64))
    elif how.endswith('write'):
        array_of(obj).fill(1.0)
    elapsed = clock() - start
    if isinstance(obj, Held):
        obj.close()
    return elapsed


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    for line in Path('/proc/self/smaps_rollup').read_text().splitlines():
        if line.startswith('Anonymous:'):
            return int(line.split()[1]) * 1024
    raise RuntimeError('no Anonymous in smaps_rollup')


class Peak:
    """The most anonymous memory while it is entered, beyond that at its start, in bytes."""

    def __enter__(self) -> Peak:
        self.before = self.most = anonymous()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.001):
            self.most = max(self.most, anonymous())

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.most = max(self.most, anonymous())

    @property
    def extra(self) -> int:
        return self.most - self.before


def consume(kind: str, place: str, connection: Connection) -> None:
    """Answer what the producer asks for."""
    system = SYSTEMS[kind](place)
    buffers: dict[str, Any] = {}

    def memcpy(source: Any, target: Any) -> float:
        start = time.perf_counter_ns()
        np.copyto(target, source)
        return time.perf_counter_ns() - start

    while (request := connection.recv()) is not None:
        how, key = request
        if how == 'memory':
            before = anonymous()
            obj = system.get(key)
            connection.send(anonymous() - before)
            del obj
        elif how == 'batch':
            gets = []
            for one in key:
                start = time.perf_counter_ns()
                system.get(one)
                gets.append(time.perf_counter_ns() - start)
            connection.send(sum(gets) / len(gets))
        elif how == 'connector batch':
            get = system.connector.get
            start = time.perf_counter_ns()
            for one in key:
                get(one)
            connection.send((time.perf_counter_ns() - start) / len(key))
        elif how in {'memcpy fresh', 'memcpy warm', 'memcpy warm write'}:
            if 'source' not in buffers:
                buffers['source'] = np.random.default_rng(0).random(key // 8)
                buffers['warm'] = np.ones(key // 8)
            if how == 'memcpy fresh':
                fresh = mmap.mmap(-1, key)
                fresh.madvise(mmap.MADV_NOHUGEPAGE)
                connection.send(memcpy(buffers['source'], np.frombuffer(fresh)))
                del fresh
            else:
                start = time.perf_counter_ns()
                np.copyto(buffers['warm'], buffers['source'])
                if how.endswith('write'):
                    buffers['warm'].fill(1.0)
                connection.send(time.perf_counter_ns() - start)
        else:
            connection.send(measure(system, how, key))


class Consumer:
    """The consumer process, as the producer sees it."""

    def __init__(self, kind: str, place: str) -> None:
        context = multiprocessing.get_context('spawn')
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=consume, args=(kind, place, theirs), daemon=True)
        self._process.start()

    def ask(self, how: str, key: Any) -> float:
        self._connection.send((how, key))
        return float(self._connection.recv())

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()


def no_op(obj: Any) -> None:
    """Take an argument."""


def total(obj: Any) -> float:
    """Read an argument."""
    return float(np.add.reduce(obj))


def make(size: int) -> Any:
    """Return an array."""
    return np.ones(size // 8)


SYSTEMS: dict[str, Callable[[str], Any]] = {
    'ours': Ours,
    'verified': lambda place: Ours(place, verify=True),
    'fresh': lambda place: Ours(place, pool=0),
    'original': Original,
    'shared_memory': SharedMemory,
}


def tables() -> dict[str, Any]:
    import pandas as pd
    import polars as pl

    rng = np.random.default_rng(0)
    columns = {f'c{index}': rng.random(1_250_000) for index in range(10)}
    return {
        'pandas': pd.DataFrame(columns),
        'polars': pl.DataFrame(columns),
        'list of 100 arrays': [rng.random(125_000) for _ in range(100)],
    }


def contender(kind: str, wanted: str) -> None:
    """Serve the measurements of one group over one system."""
    place = f'{kind}-{os.getpid()}'
    system = SYSTEMS[kind](place)
    consumer = Consumer(kind, place)
    cases: dict[str, Callable[[], float]] = {}
    clock = time.perf_counter_ns

    def put_case(obj: Any) -> Callable[[], float]:
        def run() -> float:
            start = clock()
            key = system.put(obj)
            elapsed = clock() - start
            system.evict(key)
            return elapsed

        return run

    def write_case(array: Any) -> Callable[[], float]:
        data = memoryview(array).cast('B')

        def run() -> float:
            path = Path('/dev/shm', f'bench-written-{os.getpid()}')
            start = clock()
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
            os.close(file)
            elapsed = clock() - start
            path.unlink()
            return elapsed

        return run

    def memcpy_case(array: Any) -> Callable[[], float]:
        target = np.ones_like(array)

        def run() -> float:
            start = clock()
            np.copyto(target, array)
            return clock() - start

        return run

    def through(obj: Any, how: str) -> Callable[[], float]:
        def run() -> float:
            start = clock()
            key = system.put(obj)
            elapsed = clock() - start
            elapsed += consumer.ask(how, key)
            system.evict(key)
            return elapsed

        return run

    rng = np.random.default_rng(0)
    kept: list[Any] = []
    if wanted in SIZES:
        array = rng.random(SIZES[wanted] // 8)
        key = system.put(array)
        kept.append(key)
        cases['put'] = put_case(array)
        if kind in {'ours', 'original', 'shared_memory'}:
            cases['get'] = lambda: consumer.ask('get', key)
            cases['read'] = lambda: consumer.ask('read', key)
            cases['write'] = lambda: consumer.ask('write', key)
        if kind in {'ours', 'verified'}:
            cases['memcpy'] = memcpy_case(array)
        # More copies of the largest arrays than one would take memory from the others.
        if kind == 'ours' and wanted != '1 GB':
            cases['copy'] = lambda: consumer.ask('copy', key)
            cases['copy write'] = lambda: consumer.ask('copy write', key)
            cases['memcpy fresh'] = lambda: consumer.ask('memcpy fresh', array.nbytes)
            cases['memcpy warm'] = lambda: consumer.ask('memcpy warm', array.nbytes)
            cases['memcpy warm write'] = lambda: consumer.ask('memcpy warm write', array.nbytes)
        if kind == 'fresh':
            cases['write(2)'] = write_case(array)
    elif wanted == 'small':
        for name, size in (('100 B', 100), ('10 kB', 10_000)):
            data = rng.bytes(size)

            def put(data: bytes = data) -> float:
                keys = []
                start = clock()
                for _ in range(BATCH):
                    keys.append(system.connector.put(data))
                elapsed = (clock() - start) / BATCH
                for key in keys:
                    system.connector.evict(key)
                return elapsed

            keys = [system.connector.put(data) for _ in range(BATCH)]
            kept.extend(keys)
            cases[f'put {name}'] = put
            cases[f'get {name}'] = lambda keys=keys: consumer.ask('connector batch', keys)

        def dictionary() -> float:
            start = clock()
            keys = [system.put(DICT) for _ in range(BATCH)]
            elapsed = (clock() - start) / BATCH
            elapsed += consumer.ask('batch', keys)
            for key in keys:
                system.evict(key)
            return elapsed

        cases['dict'] = dictionary
    elif wanted == 'tables':
        for name, table in tables().items():
            cases[name] = through(table, 'call')
    elif wanted == 'memory':
        array = rng.random(12_500_000)

        def producer_memory() -> float:
            with Peak() as peak:
                key = system.put(array)
            system.evict(key)
            return peak.extra / array.nbytes

        def consumer_memory() -> float:
            key = system.put(array)
            extra = consumer.ask('memory', key) / array.nbytes
            system.evict(key)
            return extra

        cases['producer'] = producer_memory
        cases['consumer'] = consumer_memory
    elif wanted == 'executor':
        from proxystore.store import register_store
        from proxystore.store.executor import ProxyType, StoreExecutor

        register_store(system.store)
        array = rng.random(12_500_000)
        context = multiprocessing.get_context('spawn')
        plain = ProcessPoolExecutor(1, mp_context=context)
        pool = StoreExecutor(plain, system.store, should_proxy=ProxyType(np.ndarray))

        def submit(run: Any, function: Any, argument: Any) -> Callable[[], float]:
            def case() -> float:
                start = clock()
                result = run.submit(function, argument).result()
                if function is make:
                    np.add.reduce(result[:1])
                return clock() - start

            return case

        for name, function, argument in (
            ('no-op', no_op, array),
            ('sum', total, array),
            ('array returned', make, array.nbytes),
        ):
            cases[name] = submit(pool, function, argument)
            cases[f'{name}, plain pool'] = submit(plain, function, argument)
    else:
        raise ValueError(wanted)
    answer(cases)
    for key in kept:
        system.evict(key)
    consumer.close()
    if system.connector is not None:
        system.store.close()
        shutil.rmtree(system.directory)


def ray_contender(wanted: str) -> None:
    """Serve the measurements of arrays over Ray, which hands out read-only views."""
    import ray

    output = os.dup(1)
    os.dup2(2, 1)
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=8 * 10**9
    )
    os.dup2(output, 1)

    @ray.remote
    class Actor:
        def run(self, references: list[Any], how: str) -> float:
            start = time.perf_counter_ns()
            obj = ray.get(references[0])
            if how == 'read':
                np.add.reduce(obj.view(np.uint64))
            return time.perf_counter_ns() - start

    actor = Actor.remote()
    array = np.random.default_rng(0).random(SIZES[wanted] // 8)
    reference = ray.put(array)

    def put() -> float:
        start = time.perf_counter_ns()
        key = ray.put(array)
        elapsed = time.perf_counter_ns() - start
        del key
        return elapsed

    def ask(how: str) -> Callable[[], float]:
        return lambda: float(ray.get(actor.run.remote([reference], how)))

    answer({'put': put, 'get': ask('get'), 'read': ask('read')})
    ray.shutdown()


if __name__ == '__main__':
    if sys.argv[1] == 'ray':
        ray_contender(sys.argv[2])
    else:
        contender(sys.argv[1], sys.argv[2])
