"""A small steering program: a thinker hands tasks to worker processes, inputs and results by proxy.

Run as: workflow.py DIRECTORY
"""
# ruff: noqa: T201

from __future__ import annotations

import queue
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import proxystore
from proxystore.connectors.file import FileConnector
from proxystore.proxy import Proxy, extract, is_resolved
from proxystore.store import Store, get_store, register_store, unregister_store
from proxystore.store.utils import get_key, resolve_async

THRESHOLD = 1000


@dataclass
class Task:
    method: str
    inputs: list[Any]
    store: str
    value: Any = None
    notes: list[bool] = field(default_factory=list)

    def send(self) -> Task:
        """Replaces large inputs by proxies."""
        store = get_store(self.store)
        for position, value in enumerate(self.inputs):
            large = sys.getsizeof(value) > THRESHOLD
            self.notes.append(large)
            if large:
                proxy = store.proxy(value, evict=True)
                # A library of tasks asks for the class of what it sends.
                assert isinstance(proxy, type(value))
                self.inputs[position] = proxy
        return self


METHODS = {
    'sum': lambda array: float(np.sum(array)),
    'outer': lambda array: np.outer(array, array)[:50, :50].copy(),
    'greet': lambda name: f'hello, {name}',
}


def work(task: Task) -> Task:
    proxies = [value for value in task.inputs if type(value) is Proxy]
    for proxy in proxies:
        resolve_async(proxy)
    task.notes.append(not any(is_resolved(proxy) for proxy in proxies))
    task.value = METHODS[task.method](*task.inputs)
    if sys.getsizeof(task.value) > THRESHOLD:
        task.value = get_store(proxies[0]).proxy(task.value)
    # Inputs need not travel back.
    task.inputs = []
    return task


def main(directory: str) -> None:
    version = tuple(int(part) for part in proxystore.__version__.split('.'))
    print('version new enough:', version >= (0, 7, 0))
    store = Store('workflow', FileConnector(directory), metrics=True)
    register_store(store)
    results: queue.Queue[Task] = queue.Queue()
    tasks = [
        Task('sum', [np.arange(10_000.0)], 'workflow'),
        Task('outer', [np.arange(1000.0)], 'workflow'),
        Task('greet', ['world'], 'workflow'),
        Task('greet', ['x' * 2000], 'workflow'),
    ]
    with ProcessPoolExecutor(2) as pool:
        for task in tasks:
            pool.submit(work, task.send()).add_done_callback(lambda f: results.put(f.result()))
        done = [results.get(timeout=60) for _ in tasks]
    for task in sorted(done, key=lambda task: (task.method, task.notes)):
        value = task.value
        print(task.method, type(value).__name__, task.notes)
        if type(value) is Proxy:
            print('key:', type(get_key(value)).__name__, is_resolved(value))
            value = extract(value)
        if isinstance(value, np.ndarray):
            print('array:', value.shape, value.dtype, value[1, 1], value.flags.writeable)
        else:
            print('value:', str(value)[:20])
    times = store.metrics.aggregate_times()
    print('times:', sorted(times), times['store.proxy'].count)
    unregister_store('workflow')
    print('unregistered:', get_store('workflow'))
    store.close()


if __name__ == '__main__':
    main(sys.argv[1])
