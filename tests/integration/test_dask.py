"""Proxies through Dask: as any other objects, and by proxystore-ex's client."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

from proxystore.proxy import Proxy, extract, is_resolved
from proxystore.store import Store
from tests.integration.functions import (
    append,
    came_by_proxy,
    double,
    fail,
    is_proxy,
    look,
    unresolved,
)


@pytest.fixture(scope='module')
def cluster():
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit=None,
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        yield client


def test_proxy_is_an_argument_like_any_other(client: Client, store: Store) -> None:
    proxies = [unresolved(store, [i]) for i in range(10)]
    seen = client.gather(client.map(look, proxies, pure=False))
    assert seen == [came_by_proxy([i]) for i in range(10)]
    assert not any(is_resolved(proxy) for proxy in proxies)


def test_proxy_is_a_result_like_any_other(client: Client, store: Store) -> None:
    config = store.config()
    future = client.submit(lambda: Store.from_config(config).proxy([1, 2]))
    assert look(future.result(timeout=30)) == came_by_proxy([1, 2])
    # Handed on to another task, the result never passes through the client.
    again = client.submit(look, client.submit(lambda: Store.from_config(config).proxy([3])))
    kind, _, value, _ = again.result(timeout=30)
    assert (kind, value) == ('Proxy', [3])


def test_proxies_in_collections_and_closures(client: Client, store: Store) -> None:
    proxy = unresolved(store, [1, 2])
    nested = {'a': [proxy], 'b': (proxy, 1)}
    assert client.submit(_sum_nested, nested).result(timeout=30) == 6
    assert client.submit(lambda: sum(proxy)).result(timeout=30) == 3


def _sum_nested(nested: Any) -> int:
    return sum(nested['a'][0]) + sum(nested['b'][0])


def test_scattered_proxies(client: Client, store: Store) -> None:
    proxy = unresolved(store, [1, 2])
    [future] = client.scatter([proxy], hash=False)
    assert client.submit(look, future).result(timeout=30) == came_by_proxy([1, 2])


def test_array_by_proxy(client: Client, store: Store) -> None:
    array = np.arange(200_000.0).reshape(400, 500)
    proxy = unresolved(store, array)
    assert client.submit(np.sum, proxy, pure=False).result(timeout=30) == array.sum()


@pytest.fixture
def plugin_client(cluster, store: Store):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from proxystore_ex.plugins.distributed import Client as PluginClient

    with PluginClient(cluster, ps_store=store, ps_threshold=1000) as client:
        yield client


def test_plugin_proxies_large_arguments_and_results(plugin_client) -> None:
    large, small = 'x' * 2000, 'x'
    assert plugin_client.submit(is_proxy, large).result(timeout=30)
    assert not plugin_client.submit(is_proxy, small).result(timeout=30)
    assert not plugin_client.submit(is_proxy, large, proxy_args=False).result(timeout=30)
    result = plugin_client.submit(double, large).result(timeout=30)
    assert type(result) is Proxy
    assert result == large * 2
    result = plugin_client.submit(double, large, proxy_result=False, pure=False).result(timeout=30)
    assert type(extract(result) if type(result) is Proxy else result) is str


def test_plugin_maps_and_gathers(plugin_client) -> None:
    values = [[i] * 1000 for i in range(4)]
    futures = plugin_client.map(append, values, [9] * 4)
    assert [extract(r) if type(r) is Proxy else r for r in plugin_client.gather(futures)] == [
        [*value, 9] for value in values
    ]


def test_plugin_passes_results_on(plugin_client) -> None:
    first = plugin_client.submit(double, 'x' * 2000)
    second = plugin_client.submit(len, first)
    assert second.result(timeout=30) == 4000


def test_plugin_raises_what_the_task_raised(plugin_client) -> None:
    with pytest.raises(ArithmeticError, match='meant to fail'):
        plugin_client.submit(fail, 'x' * 2000).result(timeout=30)


def test_plugin_evicts_arguments_when_the_task_is_done(plugin_client, stored) -> None:
    future = plugin_client.submit(len, 'x' * 2000)
    # Dask calls back in the order in which it was asked to.
    evicted = threading.Event()
    future.add_done_callback(lambda _: evicted.set())
    assert future.result(timeout=30) == 2000
    assert evicted.wait(30)
    assert stored() == 0
