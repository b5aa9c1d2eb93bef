"""Stores and proxies shared by threads and event loops at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, extract, is_resolved
from proxystore.store import Store, get_store
from proxystore.store.executor import ProxyAlways, StoreExecutor
from proxystore.store.utils import resolve_async
from tests.integration.functions import append, double
from tests.support.leaks import no_leaked_threads


def test_store_executor_over_threads(store: Store, stored) -> None:
    with (
        no_leaked_threads(),
        StoreExecutor(ThreadPoolExecutor(4), store, ProxyAlways(), close_store=False) as executor,
    ):
        results = [executor.submit(append, [i], 0) for i in range(50)]
        assert [extract(r.result(timeout=30)) for r in results] == [[i, 0] for i in range(50)]
        assert [extract(r) for r in executor.map(double, 'abc')] == ['aa', 'bb', 'cc']
        del results
    assert stored() == 0


def test_threads_share_one_store(store: Store) -> None:
    start = threading.Barrier(8)

    def work(thread: int) -> None:
        start.wait(30)
        for i in range(50):
            value = [thread, i]
            proxy = store.proxy(value, evict=True, populate_target=False)
            assert extract(proxy) == value

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8), timeout=60))


def test_threads_share_proxies() -> None:
    calls = []

    def factory(i: int) -> Any:
        calls.append(i)
        return [i]

    proxies = [Proxy(lambda i=i: factory(i)) for i in range(100)]
    start = threading.Barrier(8)

    def work(_: int) -> list[Any]:
        start.wait(30)
        return [extract(proxy) for proxy in proxies]

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(work, range(8), timeout=60))
    assert sorted(calls) == list(range(100)), 'each factory ran once'
    assert all(a is b for each in seen for a, b in zip(each, seen[0], strict=True))


def test_event_loop_and_threads_at_once(store: Store) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            keys = await asyncio.gather(
                *(loop.run_in_executor(pool, store.put, [i]) for i in range(50)),
            )
            proxies = [store.proxy_from_key(key) for key in keys]
            in_threads = [loop.run_in_executor(pool, extract, proxy) for proxy in proxies]
            # The loop's thread resolves the same proxies meanwhile.
            here = [extract(proxy) for proxy in reversed(proxies)]
            assert await asyncio.gather(*in_threads) == here[::-1]
            return here[::-1]

    assert asyncio.run(asyncio.wait_for(main(), 30)) == [[i] for i in range(50)]


def test_resolve_async_starts_early(store: Store) -> None:
    proxies = store.proxy_batch([[i] for i in range(20)], populate_target=False)
    for proxy in proxies:
        resolve_async(proxy)
    assert not any(is_resolved(proxy) for proxy in proxies)
    assert [extract(proxy) for proxy in proxies] == [[i] for i in range(20)]


def test_threads_make_one_store_of_one_config() -> None:
    connector = LocalConnector(include_data_in_config=True)
    proxies = Store('made', connector).proxy_batch([[i] for i in range(8)], populate_target=False)
    start = threading.Barrier(8)

    def work(proxy: Any) -> Any:
        start.wait(30)
        return get_store(proxy), extract(proxy)

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(work, proxies, timeout=60))
    assert len({id(store) for store, _ in seen}) == 1
    assert get_store('made') is seen[0][0]
