"""Executor that passes large arguments and results by proxy."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, extract, is_resolved
from proxystore.store import Store, get_store
from proxystore.store.executor import ProxyAlways, ProxyNever, ProxyType, StoreExecutor
from proxystore.store.ref import OwnedProxy, borrow


@pytest.fixture
def store():
    with Store('store', LocalConnector(), register=True) as store:
        yield store


def types(*args, **kwargs):
    return [type(arg).__name__ for arg in (*args, *kwargs.values())]


def total(*values):
    return [sum(value) for value in values]


def settle(executor):
    """Let every done-callback run."""
    executor.shutdown()


def test_policies_choose_by_type():
    assert ProxyAlways()(None)
    assert not ProxyNever()(None)
    policy = ProxyType(int, str)
    assert policy.types == (int, str)
    assert policy(1)
    assert policy(True)
    assert not policy(b'')
    assert not ProxyType()(1)


def test_nothing_by_default(store):
    with StoreExecutor(ThreadPoolExecutor(1), store) as executor:
        assert executor.submit(types, [1], b={}).result() == ['list', 'dict']
        assert store.connector._store == {}


def test_arguments_and_results(store):
    executor = StoreExecutor(ThreadPoolExecutor(1), store, ProxyAlways(), close_store=False)
    result = executor.submit(types, [1], 2, b='x').result()
    assert type(result) is OwnedProxy
    assert result == ['Proxy', 'Proxy', 'Proxy']
    settle(executor)
    # The arguments are gone, the result is as long as its owner.
    assert len(store.connector._store) == 1
    del result
    assert store.connector._store == {}


def test_only_what_the_policy_names(store):
    with StoreExecutor(ThreadPoolExecutor(1), store, ProxyType(list)) as executor:
        assert executor.submit(types, [1], 2, b={}).result() == ['Proxy', 'int', 'dict']
        assert type(executor.submit(sum, [1, 2]).result()) is int


def test_result_without_ownership_outlives_its_proxy(store):
    executor = StoreExecutor(
        ThreadPoolExecutor(1), store, ProxyAlways(), ownership=False, close_store=False
    )
    result = executor.submit(types, [1]).result()
    assert type(result) is Proxy
    settle(executor)
    del result
    assert len(store.connector._store) == 1


def test_what_no_proxy_can_stand_for_is_passed_as_it_is(store):
    with StoreExecutor(ThreadPoolExecutor(1), store, ProxyAlways()) as executor:
        assert executor.submit(types, None, True).result() == ['NoneType', 'bool']
        assert executor.submit(lambda _: None, [1]).result() is None


def test_proxies_are_passed_as_they_are(store):
    with StoreExecutor(ThreadPoolExecutor(1), store, ProxyAlways()) as executor:
        owner = store.owned_proxy([1])
        proxy = store.proxy([1], populate_target=False)
        result = executor.submit(types, proxy, borrow(owner)).result()
        assert result == ['Proxy', 'RefProxy']
        assert not is_resolved(proxy)
        returned = executor.submit(lambda: proxy).result()
        assert returned is proxy


def test_failure_evicts_the_arguments(store):
    executor = StoreExecutor(ThreadPoolExecutor(1), store, ProxyAlways(), close_store=False)
    future = executor.submit(lambda _: 1 / 0, [1])
    with pytest.raises(ZeroDivisionError):
        future.result()
    settle(executor)
    assert store.connector._store == {}
    with pytest.raises(RuntimeError, match='after shutdown'):
        executor.submit(types, [1])
    with pytest.raises(RuntimeError, match='after shutdown'):
        executor.map(types, [[1]])
    assert store.connector._store == {}


def test_map_passes_arguments_and_results_in_order(store):
    executor = StoreExecutor(ThreadPoolExecutor(2), store, ProxyAlways(), close_store=False)
    results = list(executor.map(lambda a, b: [*a, *b], [[1], [2]], [[3], [4]], timeout=30))
    assert [type(result) for result in results] == [OwnedProxy, OwnedProxy]
    assert results == [[1, 3], [2, 4]]
    assert len(store.connector._store) == 2
    with pytest.raises(TypeError, match='nope'):
        executor.map(types, [[1]], nope=1)
    results.clear()
    assert store.connector._store == {}
    settle(executor)


def test_map_whose_results_are_not_taken(store):
    executor = StoreExecutor(ThreadPoolExecutor(1), store, ProxyType(list), close_store=False)
    results = executor.map(sum, [[1], [2]])
    executor.shutdown()
    assert store.connector._store == {}
    assert list(results) == [1, 2]


def test_proxies_pass_between_processes(store_dir):
    array = np.arange(100_000)
    with Store('file', FileConnector(store_dir), register=True) as store:
        executor = StoreExecutor(
            ProcessPoolExecutor(1), store, ProxyType(np.ndarray, list), close_store=False
        )
        with executor:
            future = executor.submit(total, array, array * 2)
            result = future.result()
            assert type(result) is OwnedProxy
            assert not is_resolved(result)
            assert extract(result) == [array.sum(), 2 * array.sum()]
            assert list(executor.map(total, [array, array])) == [[array.sum()]] * 2


def test_shutdown_closes_the_store(store):
    StoreExecutor(ThreadPoolExecutor(1), store, close_store=False).shutdown()
    assert get_store('store') is store
    StoreExecutor(ThreadPoolExecutor(1), store).shutdown()
    assert get_store('store') is None


def test_shutdown_passes_its_arguments(store):
    pool = ThreadPoolExecutor(1)
    executor = StoreExecutor(pool, store, close_store=False)
    release = threading.Event()
    running = executor.submit(release.wait)
    waiting = executor.submit(types)
    executor.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    release.set()
    assert running.result()


class Uncancellable(ThreadPoolExecutor):
    """An executor as that of loky."""

    def shutdown(self, wait=True):
        super().shutdown(wait)


def test_executors_need_not_cancel(store):
    executor = StoreExecutor(Uncancellable(1), store, close_store=False)
    executor.shutdown()
    with pytest.raises(TypeError):
        executor.shutdown(cancel_futures=True)


class Client:
    """Something like an executor, of another library."""

    closed = False

    def submit(self, function, *args, **kwargs):
        future: Future = Future()
        future.set_result(function(*args, **kwargs))
        return future


def test_client_is_closed(store):
    class Closable(Client):
        def close(self):
            self.closed = True

    client = Closable()
    with StoreExecutor(client, store, ProxyAlways()) as executor:
        assert executor.submit(types, [1]).result() == ['Proxy']
    assert client.closed


def test_client_that_cannot_be_closed(store):
    with pytest.warns(RuntimeWarning, match='Cannot shutdown Client because it is not a subclass'):
        StoreExecutor(Client(), store).shutdown()
    assert get_store('store') is None
