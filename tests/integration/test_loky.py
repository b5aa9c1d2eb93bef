"""Proxies through loky's reusable workers, which get functions by cloudpickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from loky import ProcessPoolExecutor as LokyExecutor

from proxystore.proxy import extract, is_resolved
from proxystore.store.executor import ProxyAlways, StoreExecutor
from tests.integration.functions import came_by_proxy, double, look, unresolved

if TYPE_CHECKING:
    from proxystore.store import Store


@pytest.fixture(scope='module')
def executor():
    with LokyExecutor(max_workers=2, timeout=60) as executor:
        yield executor


def test_proxies_as_arguments(executor, store: Store) -> None:
    proxies = [unresolved(store, [i]) for i in range(10)]
    assert list(executor.map(look, proxies, timeout=60)) == [came_by_proxy([i]) for i in range(10)]
    assert not any(is_resolved(proxy) for proxy in proxies)


def test_closures_over_proxies(executor, store: Store) -> None:
    proxy = unresolved(store, {'a': 1})
    offset = 41
    assert executor.submit(lambda: proxy['a'] + offset).result(timeout=60) == 42
    assert not is_resolved(proxy)


def test_store_executor_over_loky(executor, store: Store) -> None:
    # Not as a context manager: it would shut down the shared workers.
    over = StoreExecutor(executor, store, ProxyAlways())
    result = over.submit(double, [1]).result(timeout=60)
    assert type(result).__name__ == 'OwnedProxy'
    assert extract(result) == [1, 1]
    assert [extract(r) for r in over.map(double, ['a', 'b'])] == ['aa', 'bb']
