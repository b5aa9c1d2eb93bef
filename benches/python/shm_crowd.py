"""Several producers and consumers of 1 MB objects at once, beside two processes that only copy.

Run by `benches.python.shm`: `python -m benches.python.shm_crowd <pairs>` prints a line of JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

SIZE = 10**6
SECONDS = 3.0


def directory() -> str:
    return f'/dev/shm/proxystore-bench-crowd-{os.environ["CROWD"]}'


def store() -> Any:
    from proxystore.connectors.shm import ShmConnector
    from proxystore.store import Store

    return Store('crowd', ShmConnector(directory=directory(), hold=0))


def produce(connection: Connection, start: Any) -> None:
    """Put arrays, a few ahead of the consumer, for a while; answer how many."""
    objects = store()
    array = np.random.default_rng(0).random(SIZE // 8)
    start.wait()
    end = time.perf_counter() + SECONDS
    count = ahead = 0
    while time.perf_counter() < end:
        connection.send(objects.put(array))
        count += 1
        ahead += 1
        if ahead >= 4:
            connection.recv()
            ahead -= 1
    connection.send(None)
    for _ in range(ahead):
        connection.recv()
    connection.close()


def consume(connection: Connection, result: Connection, reads: bool) -> None:
    """Get what comes, read it if asked to, evict it; answer how many."""
    objects = store()
    count = 0
    while (key := connection.recv()) is not None:
        array = objects.get(key)
        if reads:
            np.add.reduce(array.view(np.uint64))
        del array
        objects.evict(key)
        connection.send(None)
        count += 1
    result.send(count)


def crowd(pairs: int, *, reads: bool) -> tuple[float, float]:
    """Gigabytes per second of all pairs together, and the slowest's share of an equal share."""
    context = multiprocessing.get_context('fork')
    start = context.Barrier(pairs)
    processes, results = [], []
    for _ in range(pairs):
        ours, theirs = context.Pipe()
        result, answer = context.Pipe(duplex=False)
        processes.append(context.Process(target=produce, args=(ours, start)))
        processes.append(context.Process(target=consume, args=(theirs, answer, reads)))
        results.append(result)
        for process in processes[-2:]:
            process.start()
        ours.close()
        theirs.close()
        answer.close()
    counts = [result.recv() for result in results]
    for process in processes:
        process.join()
    return sum(counts) * SIZE / SECONDS / 1e9, min(counts) * pairs / max(sum(counts), 1)


def copy(answer: Connection, start: Any, size: int) -> None:
    source, target = np.ones(size // 8), np.ones(size // 8)
    start.wait()
    end = time.perf_counter() + SECONDS
    copied = 0
    while time.perf_counter() < end:
        np.copyto(target, source)
        copied += size
    answer.send(copied)


def copies(size: int) -> float:
    """Gigabytes per second that two processes copy together."""
    context = multiprocessing.get_context('fork')
    start = context.Barrier(2)
    results = []
    for _ in range(2):
        result, answer = context.Pipe(duplex=False)
        context.Process(target=copy, args=(answer, start, size)).start()
        answer.close()
        results.append(result)
    return float(sum(result.recv() for result in results)) / SECONDS / 1e9


def cache_size() -> int:
    """Bytes of the largest cache."""
    sizes = [
        int(path.read_text().rstrip('K\n')) * 1024
        for path in Path('/sys/devices/system/cpu/cpu0/cache').glob('index*/size')
    ]
    return max(sizes, default=32 << 20)


if __name__ == '__main__':
    os.environ['CROWD'] = str(os.getpid())
    if sys.argv[1] == 'copies':
        print(json.dumps(copies(max(cache_size() * 3 // 2, 256 << 20))))
    else:
        pairs = int(sys.argv[1])
        try:
            print(json.dumps([crowd(pairs, reads=False), crowd(pairs, reads=True)]))
        finally:
            shutil.rmtree(directory())
