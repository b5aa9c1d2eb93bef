"""A producer and a consumer process over one system: ours, the original, or a peer.

Run by `benches.python.shm` in whichever environment has the system.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benches.python.harness import answer
from benches.python.shm_consumer import Consumer, Peak
from benches.python.shm_systems import SYSTEMS

if TYPE_CHECKING:
    from collections.abc import Callable

    Case = Callable[[], float]
    Cases = dict[str, Case]

SIZES = {'1 MB': 10**6, '100 MB': 10**8, '1 GB': 10**9}
DICT = {f'key-{index}': 'x' * 20 for index in range(25)}
#: How many operations of one kind are timed together.
BATCH = 200

clock = time.perf_counter_ns


class Producer:
    """A system, and the process that gets what is put into it.

    Attributes:
        kind: Name of the system.
        system: The system, as this process sees it.
    """

    def __init__(self, kind: str) -> None:
        place = f'{kind}-{os.getpid()}'
        self.kind = kind
        self.system = SYSTEMS[kind](place)
        self._consumer = Consumer(kind, place)
        self._kept: list[Any] = []

    def serve(self, cases: Cases) -> None:
        """Measure until nobody asks any more, and clear away what was kept."""
        answer(cases)
        for key in self._kept:
            self.system.evict(key)
        self._consumer.close()
        if self.system.connector is not None:
            self.system.store.close()
            shutil.rmtree(self.system.directory)

    def keep(self, key: Any) -> Any:
        self._kept.append(key)
        return key

    def ask(self, how: str, argument: Any) -> float:
        """Let the consumer measure something now."""
        return self._consumer.ask(how, argument)

    def asking(self, how: str, argument: Any) -> Case:
        """Let the consumer measure something whenever the case is called."""
        return lambda: self.ask(how, argument)

    def put(self, obj: Any) -> Case:
        def run() -> float:
            start = clock()
            key = self.system.put(obj)
            elapsed = clock() - start
            self.system.evict(key)
            return elapsed

        return run

    def through(self, obj: Any) -> Case:
        def run() -> float:
            start = clock()
            key = self.system.put(obj)
            elapsed = clock() - start
            elapsed += self.ask('call', key)
            self.system.evict(key)
            return elapsed

        return run


def arrays(producer: Producer, size: str) -> Cases:
    array = np.random.default_rng(0).random(SIZES[size] // 8)
    key = producer.keep(producer.system.put(array))
    kind = producer.kind
    cases = {'put': producer.put(array)}
    if kind in {'ours', 'original', 'shared_memory'}:
        cases |= {how: producer.asking(how, key) for how in ('get', 'read', 'write')}
    if kind in {'ours', 'verified'}:
        cases['memcpy'] = memcpy(array)
    if kind == 'ours':
        cases['read, attached'] = producer.asking('read, attached', key)
        # More copies of the largest arrays than one would take memory from the others.
        if size != '1 GB':
            cases |= {how: producer.asking(how, key) for how in ('copy', 'copy write')}
            floors = ('memcpy fresh', 'memcpy warm', 'memcpy warm write')
            cases |= {how: producer.asking(how, array.nbytes) for how in floors}
    if kind == 'fresh':
        cases['write(2)'] = write_to_file(array)
    return cases


def memcpy(array: Any) -> Case:
    target = np.ones_like(array)

    def run() -> float:
        start = clock()
        np.copyto(target, array)
        return clock() - start

    return run


def write_to_file(array: Any) -> Case:
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


def small(producer: Producer) -> Cases:
    system = producer.system
    rng = np.random.default_rng(0)

    def put(data: bytes) -> Case:
        def run() -> float:
            keys = []
            start = clock()
            for _ in range(BATCH):
                keys.append(system.connector.put(data))
            elapsed = (clock() - start) / BATCH
            for key in keys:
                system.connector.evict(key)
            return elapsed

        return run

    def dictionary() -> float:
        start = clock()
        keys = [system.put(DICT) for _ in range(BATCH)]
        elapsed = (clock() - start) / BATCH
        elapsed += producer.ask('batch', keys)
        for key in keys:
            system.evict(key)
        return elapsed

    cases: Cases = {'dict': dictionary}
    for name, size in (('100 B', 100), ('10 kB', 10_000)):
        data = rng.bytes(size)
        keys = [producer.keep(system.connector.put(data)) for _ in range(BATCH)]
        cases[f'put {name}'] = put(data)
        cases[f'get {name}'] = producer.asking('connector batch', keys)
    return cases


def tables(producer: Producer) -> Cases:
    import pandas as pd
    import polars as pl

    rng = np.random.default_rng(0)
    columns = {f'c{index}': rng.random(1_250_000) for index in range(10)}
    found = {
        'pandas': pd.DataFrame(columns),
        'polars': pl.DataFrame(columns),
        'list of 100 arrays': [rng.random(125_000) for _ in range(100)],
    }
    return {name: producer.through(table) for name, table in found.items()}


def memory(producer: Producer) -> Cases:
    """Extra memory of either side, in payloads."""
    system = producer.system
    array = np.random.default_rng(0).random(12_500_000)

    def of_producer() -> float:
        with Peak() as peak:
            key = system.put(array)
        system.evict(key)
        return peak.extra / array.nbytes

    def of_consumer() -> float:
        key = system.put(array)
        extra = producer.ask('memory', key) / array.nbytes
        system.evict(key)
        return extra

    return {'producer': of_producer, 'consumer': of_consumer}


def executor(producer: Producer) -> Cases:
    from proxystore.store import register_store
    from proxystore.store.executor import ProxyType, StoreExecutor

    register_store(producer.system.store)
    array = np.random.default_rng(0).random(12_500_000)
    plain = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn'))
    pool = StoreExecutor(plain, producer.system.store, should_proxy=ProxyType(np.ndarray))

    def submit(run: Any, function: Any, argument: Any) -> Case:
        def case() -> float:
            start = clock()
            result = run.submit(function, argument).result()
            if function is make:
                np.add.reduce(result[:1])
            return clock() - start

        return case

    cases: Cases = {}
    for name, function, argument in (
        ('no-op', no_op, array),
        ('sum', total, array),
        ('array returned', make, array.nbytes),
    ):
        cases[name] = submit(pool, function, argument)
        cases[f'{name}, plain pool'] = submit(plain, function, argument)
    return cases


def no_op(obj: Any) -> None:
    """Take an argument."""


def total(obj: Any) -> float:
    """Read an argument."""
    return float(np.add.reduce(obj))


def make(size: int) -> Any:
    """Return an array."""
    return np.ones(size // 8)


#: What a producer can measure, by the name of the group.
GROUPS: dict[str, Callable[[Producer], Cases]] = {
    **{size: lambda producer, size=size: arrays(producer, size) for size in SIZES},
    'executor': executor,
    'memory': memory,
    'small': small,
    'tables': tables,
}


def contender(kind: str, wanted: str) -> None:
    """Serve the measurements of one group over one system."""
    producer = Producer(kind)
    producer.serve(GROUPS[wanted](producer))


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
