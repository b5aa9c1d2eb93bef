"""A process that gets what another put, and measures it."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benches.python.shm_systems import SYSTEMS, Held, array_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

#: How many calls of a quick get are timed together.
CALLS = 20

clock = time.perf_counter_ns


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


def consume(kind: str, place: str, connection: Connection) -> None:
    """Answer what the producer asks for."""
    gets = Gets(SYSTEMS[kind](place))
    while (request := connection.recv()) is not None:
        how, argument = request
        connection.send(gets.measure(how, argument))


class Gets:
    """What a consumer can do with keys. Each returns nanoseconds, but `memory`."""

    def __init__(self, system: Any) -> None:
        self._system = system
        self._source: Any = None
        self._warm: Any = None
        self._places: dict[Any, Place] = {}
        self._actions: dict[str, Callable[[Any], float]] = {
            'batch': self._batch,
            'call': self._once,
            'connector batch': self._connector_batch,
            'copy': lambda key: self._once(key, copy=True),
            'copy write': lambda key: self._once(key, write, copy=True),
            'get': self._repeatedly,
            'memcpy fresh': self._copy_to_fresh_memory,
            'memcpy warm': self._copy_to_warm_memory,
            'memcpy warm write': lambda size: self._copy_to_warm_memory(size, write),
            'memory': self._memory,
            'read': lambda key: self._once(key, read),
            'read, attached': self._attach,
            'write': lambda key: self._once(key, write),
        }

    def measure(self, how: str, argument: Any) -> float:
        return self._actions[how](argument)

    def _once(
        self, key: Any, use: Callable[[Any], object] | None = None, *, copy: bool = False
    ) -> float:
        get = self._system.get_copy if copy else self._system.get
        start = clock()
        obj = get(key)
        if use is not None:
            use(array_of(obj))
        elapsed = clock() - start
        if isinstance(obj, Held):
            obj.close()
        return elapsed

    def _repeatedly(self, key: Any) -> float:
        return sum(self._once(key) for _ in range(CALLS)) / CALLS

    def _attach(self, key: Any) -> float:
        """Map the memory of an object that was got before, and read it.

        Which pages an object got decides more about the speed of reading it than how they are
        mapped: what a get is compared to must read the same ones.
        """
        if key not in self._places:
            array = self._system.get(key)
            self._places[key] = place_of(array)
            del array
        place = self._places[key]
        start = clock()
        file = os.open(place.path, os.O_RDONLY)
        mapping = mmap.mmap(file, place.skip + place.length, prot=mmap.PROT_READ, offset=place.page)
        os.close(file)
        array = np.frombuffer(mapping, np.uint8, place.length, place.skip)
        read(array)
        elapsed = clock() - start
        del array
        mapping.close()
        return elapsed

    def _batch(self, keys: list[Any]) -> float:
        return sum(self._once(key) for key in keys) / len(keys)

    def _connector_batch(self, keys: list[Any]) -> float:
        get = self._system.connector.get
        start = clock()
        for key in keys:
            get(key)
        return (clock() - start) / len(keys)

    def _copy_to_fresh_memory(self, size: int) -> float:
        fresh = mmap.mmap(-1, size)
        fresh.madvise(mmap.MADV_NOHUGEPAGE)
        source, _ = self._copied(size)
        target = np.frombuffer(fresh)
        start = clock()
        np.copyto(target, source)
        return clock() - start

    def _copy_to_warm_memory(self, size: int, use: Callable[[Any], object] | None = None) -> float:
        source, warm = self._copied(size)
        start = clock()
        np.copyto(warm, source)
        if use is not None:
            use(warm)
        return clock() - start

    def _copied(self, size: int) -> tuple[Any, Any]:
        if self._source is None:
            self._source = np.random.default_rng(0).random(size // 8)
            self._warm = np.ones(size // 8)
        return self._source, self._warm

    def _memory(self, key: Any) -> float:
        """Bytes of this process's own that an object takes."""
        before = anonymous()
        obj = self._system.get(key)
        extra = anonymous() - before
        del obj
        return extra


def read(array: Any) -> None:
    np.add.reduce(array.view(np.uint64))


def write(array: Any) -> None:
    array.fill(1.0)


class Place(NamedTuple):
    """Where the bytes of an array are.

    Attributes:
        path: File that is mapped.
        page: Where in the file the first page begins, in bytes.
        skip: Bytes of that page before the array.
        length: Bytes of the array.
    """

    path: str
    page: int
    skip: int
    length: int


def place_of(array: Any) -> Place:
    """Find the file whose mapping an array is a view on."""
    address = array.ctypes.data
    for line in Path('/proc/self/maps').read_text().splitlines():
        limits, _, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(limit, 16) for limit in limits.split('-'))
        if start <= address < end and path:
            at = int(offset, 16) + address - start
            skip = at % mmap.ALLOCATIONGRANULARITY
            return Place(path[0], at - skip, skip, array.nbytes)
    raise RuntimeError('the array is not in a file that is mapped')


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
