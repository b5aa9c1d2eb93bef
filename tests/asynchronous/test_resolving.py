"""Proxies that tasks resolve, and objects that are got before they are needed."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.redis import RedisConnector, RedisKey
from proxystore.proxy import (
    Proxy,
    ProxyResolveError,
    aresolve,
    extract,
    get_factory,
    is_resolved,
)
from proxystore.serialize import deserialize
from proxystore.store import Store
from proxystore.store.exceptions import ProxyResolveMissingKeyError
from proxystore.store.factory import StoreFactory
from proxystore.store.utils import get_key, resolve_async
from tests.asynchronous.support import PATIENCE, GatedConnector


class Counting:
    """A connector that counts the gets of another one."""

    def __init__(self, connector: Any) -> None:
        self.connector = connector
        self.gets = 0

    def __getattr__(self, name: str) -> Any:
        if name in ('get', 'aget', 'fetch'):
            found = getattr(self.connector, name)

            def count(*args: Any, **kwargs: Any) -> Any:
                self.gets += 1
                return found(*args, **kwargs)

            return count
        return getattr(self.connector, name)


@pytest.fixture
def store(connector: Any) -> Any:
    """A registered store over a connector of each kind in turn."""
    with Store('store', connector, register=True, cache_size=0) as store:
        yield store


def test_a_task_resolves_a_proxy(run, store) -> None:
    async def main() -> None:
        proxy = store.proxy([1], populate_target=False)
        assert await aresolve(proxy) == [1]
        assert is_resolved(proxy)
        assert await aresolve(proxy) is extract(proxy)
        evicting = store.proxy([2], evict=True, populate_target=False)
        assert await aresolve(evicting) == [2]
        assert not store.exists(get_key(evicting))
        assert await aresolve(Proxy(lambda: 'made')) == 'made'
        assert await aresolve(store.proxy([3])) == [3]
        owned = store.owned_proxy([4], populate_target=False)
        assert await aresolve(owned) == [4]
        with pytest.raises(AttributeError):
            await aresolve(5)  # type: ignore[arg-type]

    run(main())


def test_tasks_that_resolve_one_proxy_share_one_get(run, connector) -> None:
    counting = Counting(connector)
    with Store('store', counting, register=True, cache_size=0) as store:

        async def main() -> None:
            proxies = [store.proxy([i], evict=True, populate_target=False) for i in range(10)]
            found = await asyncio.gather(*[aresolve(p) for p in proxies for _ in range(50)])
            assert found == [[i] for i in range(10) for _ in range(50)]
            assert counting.gets == 10

        run(main())


class Awaiting(LocalConnector):
    """A third party's connector whose gets are coroutines that wait for a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()

    async def aget(self, key: Any) -> Any:  # type: ignore[override]
        self.gets += 1
        self.entered.set()
        await self.gate.wait()
        return super().get(key)


def test_tasks_that_resolve_one_proxy_share_its_failure(run) -> None:
    async def main() -> None:
        connector = Awaiting()
        async with Store('store', connector, register=True) as store:
            proxy = store.proxy_from_key(connector.new_key())
            tasks = [asyncio.create_task(aresolve(proxy)) for _ in range(50)]
            await connector.entered.wait()
            connector.gate.set()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert connector.gets == 1
            for error in outcomes:
                assert isinstance(error, ProxyResolveError)
                assert isinstance(error.cause, ProxyResolveMissingKeyError)
            # A failure is not for ever.
            store._set(get_key(proxy), [1])
            assert await aresolve(proxy) == [1]
            assert connector.gets == 2

    run(main())


def test_what_resolve_async_began_is_shared(run, connector) -> None:
    counting = Counting(connector)
    with Store('store', counting, register=True, cache_size=0) as store:

        async def main() -> None:
            proxy = store.proxy([1], populate_target=False)
            resolve_async(proxy)
            assert await aresolve(proxy) == [1]
            resolve_async(proxy)
            assert counting.gets == 1

        run(main())
        proxy = store.proxy([2], populate_target=False)
        resolve_async(proxy)
        resolve_async(proxy)
        assert proxy == [2]
        assert counting.gets == 2


def test_prefetching_takes_no_threads(run, servers, tmp_path) -> None:
    for connector in (
        FileConnector(tmp_path / 'objects'),
        RedisConnector(**servers['redis-7'].address, clear=True, prefix='prefetch:'),
    ):
        with Store('store', connector, register=True, cache_size=0) as store:
            proxies = [store.proxy([i], populate_target=False) for i in range(500)]
            before = set(threading.enumerate())
            for proxy in proxies:
                resolve_async(proxy)
            assert set(threading.enumerate()) == before
            assert [proxy[0] for proxy in proxies] == list(range(500))


def test_a_prefetch_is_waited_for_and_its_failure_raised(store) -> None:
    proxy = store.proxy([1], populate_target=False)
    store.evict(get_key(proxy))
    resolve_async(proxy)
    with pytest.raises(ProxyResolveError) as caught:
        len(proxy)
    assert isinstance(caught.value.cause, ProxyResolveMissingKeyError)


def test_a_prefetch_is_begun_again_in_a_forked_child(tmp_path) -> None:
    with Store('store', FileConnector(tmp_path), register=True, cache_size=0) as store:
        proxy = store.proxy([1], populate_target=False)
        resolve_async(proxy)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if proxy == [1] else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0) == (child, 0)
        assert proxy == [1]


def test_cancelling_all_who_wait_cancels_the_get(run, silent) -> None:
    with Store('store', RedisConnector('127.0.0.1', silent.port), register=True) as store:

        async def main() -> None:
            proxy = store.proxy_from_key(RedisKey('x'))
            tasks = [asyncio.create_task(aresolve(proxy)) for _ in range(3)]
            await asyncio.to_thread(silent.received.acquire, timeout=PATIENCE)
            prefetch = get_factory(proxy)._obj_future
            tasks[0].cancel()
            await asyncio.wait([tasks[0]])
            assert not prefetch.lost
            assert not tasks[1].done()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert prefetch.lost
            # Whoever asked for it beside them still wants it.
            resolve_async(proxy)
            kept = get_factory(proxy)._obj_future
            task = asyncio.create_task(aresolve(proxy))
            await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.wait([task])
            assert not kept.lost
            kept.cancel()

        run(main())


def test_futures_are_awaited_without_a_thread(run, deferrable) -> None:
    with Store('store', deferrable, register=True, cache_size=0) as store:

        async def main() -> None:
            future = store.future(polling_interval=0.001, evict=True)
            proxy = future.proxy()
            tasks = [asyncio.create_task(aresolve(proxy)) for _ in range(3)]
            await asyncio.sleep(0.01)
            assert not any(task.done() for task in tasks)
            future.set_result(['there'])
            assert await asyncio.gather(*tasks) == [['there']] * 3
            late = store.future(polling_interval=0.001, polling_timeout=0.01)
            with pytest.raises(ProxyResolveError) as caught:
                await aresolve(late.proxy())
            assert isinstance(caught.value.cause, ProxyResolveMissingKeyError)
            # A task that polls cannot go on while its thread does.
            third = store.future(polling_interval=0.001)
            shared = third.proxy()
            task = asyncio.create_task(aresolve(shared))
            await asyncio.sleep(0.01)
            third.set_result([3])
            assert shared == [3]
            assert await task == [3]

        run(main())


def test_a_thread_does_not_wait_for_a_task_of_a_closed_loop(deferrable) -> None:
    with Store('store', deferrable, register=True, cache_size=0) as store:
        future = store.future(polling_interval=0.001)
        proxy = future.proxy()

        async def begin() -> Any:
            task = asyncio.create_task(aresolve(proxy))
            await asyncio.sleep(0.01)
            return task

        loop = asyncio.new_event_loop()
        task = loop.run_until_complete(begin())
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(extract(proxy)))
        thread.start()
        loop.close()
        future.set_result('there')
        thread.join(PATIENCE)
        assert found == ['there']
        task._log_destroy_pending = False
        del task


def test_an_object_that_touches_its_proxy_while_it_is_made(run, store) -> None:
    proxies: list[Any] = []

    def touch(data: Any) -> Any:
        return [proxies[0][0], deserialize(data)]

    async def main() -> None:
        for begin in (resolve_async, lambda _: None):
            proxies[:] = [store.proxy(1, deserializer=touch, populate_target=False)]
            begin(proxies[0])
            with pytest.raises(ProxyResolveError):
                await asyncio.wait_for(aresolve(proxies[0]), PATIENCE)

    run(main())


class Slow(StoreFactory[Any, Any]):
    """A factory of a third party's, which does more than get."""

    def resolve(self) -> Any:
        return [threading.current_thread().name, super().resolve()]


def test_a_factory_of_others_is_called_by_a_thread(run, store) -> None:
    async def main() -> None:
        key = store.put(1)
        name, value = await aresolve(Proxy(Slow(key, store.config())))
        assert name != threading.current_thread().name
        assert value == 1

    run(main())


def test_the_store_of_a_proxy_is_made_where_there_is_none(run, tmp_path) -> None:
    connector = FileConnector(tmp_path, clear=False)
    with Store('elsewhere', connector) as store:
        proxy = store.proxy([1], populate_target=False)

    async def main() -> None:
        assert await aresolve(proxy) == [1]

    run(main())


def test_other_tasks_go_on_while_a_connector_waits(run) -> None:
    connector = GatedConnector()
    with Store('store', connector, register=True) as store:

        async def main() -> None:
            key = connector.new_key()
            connector.set(key, b'x')
            task = asyncio.create_task(aresolve(store.proxy_from_key(key)))
            await asyncio.to_thread(connector.entered.acquire, timeout=PATIENCE)
            connector.gate.set()
            with pytest.raises(ProxyResolveError):
                # What is there is no serialized object.
                await task

        run(main())


def test_ten_thousand_proxies_at_once(run, tmp_path) -> None:
    for connector in (FileConnector(tmp_path), LocalConnector()):
        with Store('store', connector, register=True, cache_size=0) as store:

            async def main(store: Store[Any] = store) -> None:
                keys = store.put_batch(range(100))
                proxies: list[Any] = [store.proxy_from_key(keys[i % 100]) for i in range(10_000)]
                found = await asyncio.gather(*[aresolve(proxy) for proxy in proxies])
                assert found == [i % 100 for i in range(10_000)]

            run(main())
