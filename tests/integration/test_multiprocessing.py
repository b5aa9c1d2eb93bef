"""Proxies and stores in child processes, however these are started."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.proxy import Proxy, extract, is_resolved
from proxystore.store import Store, get_or_create_store, get_store
from proxystore.store.executor import ProxyAlways, ProxyType, StoreExecutor
from proxystore.store.ref import ReferenceInvalidError, borrow, mut_borrow, update
from proxystore.store.scopes import submit
from proxystore.store.utils import get_key
from tests.integration.functions import append, came_by_proxy, double, fail, is_proxy, look, pid
from tests.support.leaks import no_leaked_descriptors
from tests.support.processes import run_in_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def context(start_method: str) -> Any:
    return multiprocessing.get_context(start_method)


VALUE = {'a': list(range(100)), 'b': b'x' * 100_000}


def test_proxy_as_argument_and_result(start_method: str, store: Store) -> None:
    proxy = store.proxy(VALUE, populate_target=False)
    assert run_in_child(start_method, look, proxy) == came_by_proxy(VALUE)
    assert not is_resolved(proxy)
    result = run_in_child(start_method, _proxy_of, store.config(), [1, 2])
    assert look(result) == came_by_proxy([1, 2])


def _proxy_of(config: Any, value: Any) -> Proxy[Any]:
    return get_or_create_store(config).proxy(value)


def test_array_travels_by_proxy(start_method: str, store: Store) -> None:
    array = np.arange(1_000_000.0)
    proxy = store.proxy(array, populate_target=False)
    assert run_in_child(start_method, _scale, proxy) == float(array.sum() * 2)


def _scale(array: Any) -> float:
    array *= 2
    return float(array.sum())


@pytest.mark.parametrize('populate', [True, False])
def test_resolved_proxy_travels_without_its_target(start_method, store, populate: bool) -> None:
    proxy = store.proxy(VALUE, populate_target=populate)
    assert proxy == VALUE
    assert run_in_child(start_method, _look_at, pickle.dumps(proxy)) == came_by_proxy(VALUE)


def _look_at(data: bytes) -> Any:
    return look(pickle.loads(data))


def test_multi_connector_store_is_rebuilt(start_method: str, tmp_path: Path) -> None:
    connector = MultiConnector(
        {
            'small': (FileConnector(str(tmp_path / 'small')), Policy(max_size_bytes=1000)),
            'large': (FileConnector(str(tmp_path / 'large')), Policy(min_size_bytes=1001)),
        }
    )
    with Store('multi', connector, register=True) as store:
        for value in ('x', 'x' * 10_000):
            proxy = store.proxy(value, populate_target=False)
            assert run_in_child(start_method, look, proxy) == came_by_proxy(value)


def test_local_connector_with_its_data(start_method: str) -> None:
    connector = LocalConnector(include_data_in_config=True)
    with Store('local', connector, register=True) as store:
        proxy = store.proxy(VALUE, populate_target=False)
        assert run_in_child(start_method, look, proxy) == came_by_proxy(VALUE)


def test_pool_maps_proxies(context, store: Store) -> None:
    proxies = store.proxy_batch([[i] for i in range(20)], populate_target=False)
    with context.Pool(2) as pool:
        seen = pool.map(look, proxies)
    assert seen == [came_by_proxy([i]) for i in range(20)]


def test_queues_and_pipes(context, store: Store) -> None:
    inbox, outbox = context.Queue(), context.Queue()
    child = context.Process(target=_serve, args=(inbox, outbox))
    child.start()
    inbox.put(store.proxy([1, 2], populate_target=False))
    answer = outbox.get(timeout=30)
    inbox.put(None)
    child.join(30)
    assert child.exitcode == 0
    assert look(answer) == came_by_proxy([1, 2, 3])
    for queue in (inbox, outbox):
        queue.close()
        queue.join_thread()


def _serve(inbox: Any, outbox: Any) -> None:
    while (proxy := inbox.get(timeout=30)) is not None:
        proxy.append(3)
        outbox.put(get_store(proxy).proxy(extract(proxy)))


def test_owned_and_borrowed_proxies(context, store: Store, stored) -> None:
    with ProcessPoolExecutor(1, mp_context=context) as pool:

        def run(function: Any, proxy: Any) -> Any:
            future = submit(pool.submit, args=(function, proxy))
            # Called after the callback by which the owner learns that its loan has ended.
            ended = threading.Event()
            future.add_done_callback(lambda _: ended.set())
            assert ended.wait(30)
            return future.result()

        owner = store.owned_proxy([1])
        lent = borrow(owner)
        assert run(_length, lent) == 1
        with pytest.raises(ReferenceInvalidError):
            len(lent)
        lent = mut_borrow(owner)
        assert run(_append_and_update, lent) is None
        assert store.get(get_key(owner)) == [1, 2]
        assert stored() == 1
        assert pool.submit(_take_over, owner).result(30) == 2
        with pytest.raises(ReferenceInvalidError):
            len(owner)
    assert stored() == 0, 'the new owner has gone, and its object with it'


def _length(proxy: Any) -> int:
    return len(proxy)


def _append_and_update(proxy: Any) -> None:
    proxy.append(2)
    update(proxy)


def _take_over(owner: Any) -> int:
    return len(owner)


@pytest.mark.parametrize('ownership', [True, False])
def test_store_executor(context, store: Store, stored, ownership: bool) -> None:
    pool = ProcessPoolExecutor(2, mp_context=context)
    with StoreExecutor(
        pool, store, ProxyType(list, str), ownership=ownership, close_store=False
    ) as executor:
        result = executor.submit(append, [1], 2).result(timeout=30)
        assert type(result) is Proxy or type(result).__name__ == 'OwnedProxy'
        assert result == [1, 2]
        assert executor.submit(double, 4).result(timeout=30) == 8
        assert list(executor.map(double, ['a', 'b'])) == ['aa', 'bb']
        with pytest.raises(ArithmeticError, match='meant to fail'):
            executor.submit(fail, [1]).result(timeout=30)
    del result
    if ownership:
        assert stored() == 0, 'what the executor owned is evicted'


def test_store_executor_proxies_arguments(context, store: Store) -> None:
    with StoreExecutor(
        ProcessPoolExecutor(1, mp_context=context), store, ProxyAlways(), close_store=False
    ) as executor:
        assert extract(executor.submit(look, [1, 2]).result(timeout=30)) == (
            *came_by_proxy([1, 2]),
        )


def test_futures_between_processes(start_method: str, store: Store) -> None:
    future = store.future(polling_interval=0.001, polling_timeout=30)
    proxy = future.proxy()
    run_in_child(start_method, _set_result, future, [1, 2])
    assert future.done()
    assert proxy == [1, 2]


def _set_result(future: Any, value: Any) -> None:
    future.set_result(value)


# What follows is about fork alone: the child starts with the parent's memory as it stood.


def test_forked_child_and_parent_go_on_using_the_store(store: Store) -> None:
    keys = [store.put([i]) for i in range(10)]
    views = [store.connector.get(key) for key in keys]

    def work() -> tuple[list[Any], list[bytes], Any]:
        inherited = [store.get(key) for key in keys]
        return inherited, [bytes(view) for view in views], store.put('from the child')

    for _ in range(3):
        inherited, seen, key = run_in_child('fork', work)
        assert inherited == [[i] for i in range(10)]
        assert seen == [bytes(view) for view in views]
        assert store.get(key) == 'from the child'
        assert store.get(store.put('from the parent')) == 'from the parent'


def test_fork_while_threads_use_the_store(store: Store) -> None:
    proxies = store.proxy_batch([[i] for i in range(50)], populate_target=False)
    stop = threading.Event()
    errors: list[BaseException] = []

    def use() -> None:
        try:
            while not stop.is_set():
                key = store.put(os.urandom(2000))
                assert store.get(key) is not None
                store.evict(key)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for start in range(0, 50, 10):
            part = proxies[start : start + 10]
            assert run_in_child('fork', _use_after_fork, store, part) == [
                [i] for i in range(start, start + 10)
            ]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert not any(is_resolved(proxy) for proxy in proxies)


def _use_after_fork(store: Store, proxies: list[Any]) -> list[Any]:
    key = store.put('mine')
    assert store.get(key) == 'mine'
    threads = [threading.Thread(target=extract, args=(proxy,)) for proxy in proxies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(is_resolved(proxy) for proxy in proxies)
    return [extract(proxy) for proxy in proxies]


def test_fork_while_a_thread_resolves() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow() -> list[int]:
        entered.set()
        release.wait(30)
        return [1]

    proxy = Proxy(slow)
    thread = threading.Thread(target=extract, args=(proxy,))
    thread.start()
    entered.wait(30)
    try:
        # In the child nobody is resolving any more: the thread that was has not been copied.
        assert run_in_child('fork', _resolve_alone, proxy, release) == 1
    finally:
        release.set()
        thread.join()
    assert proxy == [1]


def _resolve_alone(proxy: Any, release: threading.Event) -> int:
    release.set()
    return len(proxy)


def test_leaving_the_child_destroys_nothing(store: Store, stored, context) -> None:
    proxy = store.proxy([1], populate_target=False)
    child = context.Process(target=_just_resolve, args=(proxy,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert stored() == 1
    assert proxy == [1]


def _just_resolve(proxy: Any) -> None:
    assert proxy == [1]


def test_children_cost_no_descriptors(store: Store) -> None:
    work: Callable[[Any], Any] = look
    store.put(1)
    with no_leaked_descriptors():
        for _ in range(5):
            run_in_child('fork', work, store.proxy([1], populate_target=False))


def test_helpers_run_elsewhere(start_method: str) -> None:
    assert run_in_child(start_method, pid) != os.getpid()
    assert not is_proxy(1)
