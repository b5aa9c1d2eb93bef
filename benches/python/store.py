"""Stores of small objects over the local connector, beside the original.

Usage: python -m benches.python.store
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benches.python.harness import UPSTREAM, Contender, Row, answer, compete, loop, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bars: how much of the original's time ours may take.
BARS = {
    'put': ('Store.put of a small dict', 0.26),
    'get': ('Store.get of a small dict, not cached', 0.35),
    'hit': ('Store.get, cached', 0.2),
    'proxy': ('Store.proxy of a small dict', 0.22),
    'dumps': ('pickle.dumps of a proxy', 0.6),
    'loads': ('pickle.loads of a proxy', 0.55),
    'proxy_from_key': ('Store.proxy_from_key', None),
    'config': ('Store.config', None),
    'resolve': ('pickle.loads and resolve', None),
    'dumps_100': ('pickle.dumps of 100 proxies', None),
    'loads_100': ('pickle.loads of 100 proxies', None),
}
#: Milliseconds that `import proxystore.store` may take.
IMPORT_BAR = 150
BATCH = 1000
THREADS = 8
MANY = 10_000
SMALL = {'a': 1, 'b': 'text', 'c': [1, 2, 3]}


def contender() -> None:
    """Measure operations on small objects; runs over ours and over the original."""
    from proxystore.connectors.local import LocalConnector
    from proxystore.store import Store

    store = Store('store', LocalConnector(), cache_size=0, register=True)
    cached = Store('cached', LocalConnector())
    key, cached_key = store.put(SMALL), cached.put(SMALL)
    cached.get(cached_key)
    proxy = store.proxy(SMALL)
    pickled = pickle.dumps(proxy)
    proxies = store.proxy_batch([SMALL] * 100)
    pickled_100 = pickle.dumps(proxies)

    def clean(function: Callable[[], object], number: int) -> Callable[[], float]:
        """Measure what leaves objects behind, and remove them."""

        def measure() -> float:
            kept = dict(store.connector._store)
            try:
                return loop(function, number)()
            finally:
                store.connector._store.clear()
                store.connector._store.update(kept)

        return measure

    answer(
        {
            'put': clean(lambda: store.put(SMALL), 1000),
            'get': loop(lambda: store.get(key), 1000),
            'hit': loop(lambda: cached.get(cached_key), 1000),
            'proxy': clean(lambda: store.proxy(SMALL), 500),
            'dumps': loop(lambda: pickle.dumps(proxy), 500),
            'loads': loop(lambda: pickle.loads(pickled), 500),
            'proxy_from_key': loop(lambda: store.proxy_from_key(key), 500),
            'config': loop(store.config, 500),
            'resolve': loop(lambda: pickle.loads(pickled)['a'], 300),
            'dumps_100': loop(lambda: pickle.dumps(proxies), 10),
            'loads_100': loop(lambda: pickle.loads(pickled_100), 10),
        }
    )


def batch_contender(directory: str) -> None:
    """Measure many proxies at once over the file connector."""
    from proxystore.connectors.file import FileConnector
    from proxystore.proxy import resolve
    from proxystore.store import Store

    store = Store('store', FileConnector(directory), cache_size=0, register=True)

    def thousand() -> float:
        start = time.perf_counter_ns()
        pickled = [pickle.dumps(store.proxy([i], evict=True)) for i in range(BATCH)]
        for data in pickled:
            resolve(pickle.loads(data))
        return time.perf_counter_ns() - start

    def threads() -> float:
        key = store.put(SMALL)
        proxies = [store.proxy_from_key(key) for _ in range(MANY)]

        def work(number: int) -> None:
            for proxy in proxies[number::THREADS]:
                resolve(proxy)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        start = time.perf_counter_ns()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took = time.perf_counter_ns() - start
        store.evict(key)
        return took

    with store:
        answer({'thousand': thousand, 'threads': threads})


def import_contender() -> None:
    """Measure the import of the package in a fresh interpreter."""
    code = (
        'import time; start = time.perf_counter_ns(); import proxystore.store; '
        'print(time.perf_counter_ns() - start)'
    )

    def fresh() -> float:
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=True)
        return float(done.stdout)

    answer({'import': fresh})


@contextmanager
def contenders(call: str) -> Iterator[dict[str, Contender]]:
    """Start ours and the original."""
    with ExitStack() as stack:
        yield {
            label: stack.enter_context(
                Contender([python, '-c', f'from benches.python import store; store.{call}'])
            )
            for label, python in (('ours', sys.executable), ('original', UPSTREAM))
        }


def size(python: object) -> int:
    """Bytes of a pickled proxy."""
    code = (
        'import pickle\n'
        'from proxystore.connectors.local import LocalConnector\n'
        'from proxystore.store import Store\n'
        f'proxy = Store("store", LocalConnector()).proxy({SMALL!r})\n'
        'print(len(pickle.dumps(proxy)))'
    )
    return int(subprocess.run([str(python), '-c', code], capture_output=True, check=True).stdout)


def rows() -> list[Row]:
    """Measure everything."""
    found = []
    with contenders('contender()') as both:
        best = compete(both)
    for case, (what, bar) in BARS.items():
        ours, original = best[case]['ours'], best[case]['original']
        ratio = ours / original
        found.append(
            Row(
                what,
                ours,
                {'original': original},
                '' if bar is None else f'<= {bar} of the original',
                f'{ratio:.2f}',
                None if bar is None else ratio <= bar,
            )
        )
    with contenders('import_contender()') as both:
        best = compete(both, rounds=10)
    ours, original = best['import']['ours'], best['import']['original']
    found.append(
        Row(
            'import proxystore.store',
            ours,
            {'original': original},
            f'<= {IMPORT_BAR} ms',
            f'{ours / 1e6:.0f} ms',
            ours <= IMPORT_BAR * 1e6,
        )
    )
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir='/dev/shm'))
        both = stack.enter_context(contenders(f'batch_contender({directory + "/store"!r})'))
        best = compete(both, rounds=10)
    for case, what in (
        ('thousand', f'{BATCH:,} proxies made, pickled and resolved, files in /dev/shm'),
        ('threads', f'{MANY:,} proxies resolved by {THREADS} threads, files in /dev/shm'),
    ):
        ours, original = best[case]['ours'], best[case]['original']
        found.append(Row(what, ours, {'original': original}, '', f'{ours / original:.2f}'))
    return found


def main() -> str:
    """Measure and lay out the results."""
    ours, original = size(sys.executable), size(UPSTREAM)
    note = f'A pickled proxy of a small dict has {ours} bytes; the original has {original}.\n'
    return table('Store', rows()) + '\n' + note


if __name__ == '__main__':
    print(main())
