"""Stores over nodes: objects of all kinds, in every process that has the key."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorKeyError,
    ConnectorOSError,
    ObjectTooLargeError,
)
from proxystore.connectors.tcp import TCPConnector, TCPKey
from proxystore.proxy import Proxy
from proxystore.store import Store
from tests.support.processes import run_in_child
from tests.support.threads import meanwhile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.interpreter import Interpreter

LARGE = 3_000_000


def get_in_child(config: dict[str, Any], key: Any) -> bytes | None:
    with TCPConnector.from_config(config) as connector:
        found = connector.get(key)
        return None if found is None else bytes(found)


@pytest.mark.parametrize('size', [0, 1, 100, 64 << 10, (64 << 10) + 1, LARGE])
def test_every_kind_of_child_gets_what_was_put(
    connector: TCPConnector, start_method: str, size: int
) -> None:
    data = os.urandom(size)
    key = connector.put(data)
    assert run_in_child(start_method, get_in_child, connector.config(), key) == data


def test_a_proxy_is_resolved_by_another_interpreter(
    store: Store[TCPConnector], peer: Interpreter, own_home: Path
) -> None:
    array = np.arange(LARGE // 8)
    pickled = pickle.dumps(store.proxy(array, populate_target=False))
    found = peer.run(
        """
        import os, pickle
        os.environ['PROXYSTORE_HOME'] = home
        os.environ['XDG_RUNTIME_DIR'] = os.path.dirname(home)
        proxy = pickle.loads(pickled)
        proxy[0] = 7
        result = int(proxy.sum())
        """,
        pickled=pickled,
        home=str(own_home),
    )
    assert found == array.sum() + 7


def test_a_key_names_its_node(connector: TCPConnector) -> None:
    # A connector has one secret for all the nodes that it meets.
    with TCPConnector(port=0, secret=connector.config()['secret']) as other:
        key = other.put(b'elsewhere')
        assert (key.hostname, key.port) == ('127.0.0.1', other.config()['port'])
        assert connector.get(key) == b'elsewhere'
        connector.evict(key)
        assert not other.exists(key)


def test_a_key_opens_its_object_only(connector: TCPConnector) -> None:
    key, other = connector.put(b'mine'), connector.put(b'other')
    for forged in (
        key._replace(capability=other.capability),
        key._replace(object_id=other.object_id),
        key._replace(capability='0' * 32),
    ):
        assert connector.get(forged) is None
        assert not connector.exists(forged)
    assert connector.get(key) == b'mine'


@pytest.mark.parametrize(
    'change',
    [
        {'hostname': ''},
        {'hostname': '../x'},
        {'hostname': 'a b'},
        {'port': 0},
        {'port': 65536},
        {'port': '7337'},
        {'object_id': 'x' * 32},
        {'object_id': '0' * 31},
        {'capability': ''},
    ],
)
def test_a_forged_key_is_refused(connector: TCPConnector, change: dict[str, Any]) -> None:
    key = connector.put(b'x')._replace(**change)
    for operation in (connector.get, connector.exists, connector.evict):
        with pytest.raises(ConnectorKeyError):
            operation(key)


def test_futures_wait_for_their_object(store: Store[TCPConnector]) -> None:
    for obj in ({'a': 1}, np.arange(LARGE // 8)):
        future = store.future(polling_interval=0.01)
        proxy = future.proxy()
        with meanwhile(future.set_result, obj):
            assert np.array_equal(proxy, obj) if isinstance(obj, np.ndarray) else proxy == obj


def test_owned_proxies_evict(store: Store[TCPConnector]) -> None:
    owner = store.owned_proxy(np.arange(LARGE // 8))
    key = owner.__proxy_factory__.key
    assert store.exists(key)
    del owner
    gc.collect()
    assert not store.exists(key)


def test_threads_share_a_connector(connector: TCPConnector) -> None:
    failures: list[Any] = []

    def work(number: int) -> None:
        for round_ in range(30):
            data = bytes([number]) * (100 if round_ % 3 else LARGE // 3)
            key = connector.put(data)
            if connector.get(key) != data:
                failures.append((number, round_))
            connector.evict(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_loops_share_a_connector_with_threads(store: Store[TCPConnector]) -> None:
    array = np.arange(LARGE // 8)

    async def work() -> list[Any]:
        keys = await asyncio.gather(*(store.aput([number]) for number in range(200)))
        large = await store.aput(array)
        small = await asyncio.gather(*(store.aget(key) for key in keys))
        assert np.array_equal(await store.aget(large), array)
        return small

    found: dict[int, list[Any]] = {}

    def loop(number: int) -> None:
        found[number] = asyncio.run(work())

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        assert store.get(store.put('beside')) == 'beside'
    for thread in threads:
        thread.join()
    assert found == {number: [[index] for index in range(200)] for number in range(3)}


def test_ten_thousand_gets_on_one_loop(store: Store[TCPConnector]) -> None:
    key = store.put('one')

    async def work() -> list[Any]:
        return await asyncio.gather(*(store.aget(key) for _ in range(10_000)))

    assert asyncio.run(work()) == ['one'] * 10_000


def test_a_cancelled_get_frees_its_place(store: Store[TCPConnector]) -> None:
    key = store.put(np.arange(LARGE))

    async def work() -> Any:
        for _ in range(20):
            task = asyncio.ensure_future(store.aget(key))
            await asyncio.sleep(0.001)
            task.cancel()
        return await store.aget(key)

    assert asyncio.run(work()).sum() == np.arange(LARGE).sum()


def test_statistics_tell_what_happened(store: Store[TCPConnector]) -> None:
    store.get(store.put('x'))
    statistics = store.stats()['connector']
    assert statistics
    assert all(isinstance(name, str) for name in statistics)


def test_an_object_over_the_budget_is_refused_and_nothing_else() -> None:
    with TCPConnector(port=0, budget=1 << 20) as connector:
        kept = connector.put(b'kept')
        with pytest.raises(ObjectTooLargeError, match='budget'):
            connector.put(bytes(2 << 20))
        filling = [connector.put(bytes(300_000)) for _ in range(3)]
        with pytest.raises(ConnectorOSError, match='budget'):
            connector.put(bytes(300_000))
        for key in filling:
            connector.evict(key)
        assert connector.get(kept) == b'kept'
        assert connector.get(connector.put(bytes(1 << 19))) == bytes(1 << 19)


def test_what_is_over_the_budget_is_spilled(tmp_path: Path) -> None:
    with TCPConnector(port=0, budget=4 << 20, spill=tmp_path) as connector:
        objects = [os.urandom(LARGE) for _ in range(4)]
        keys = connector.put_batch(objects)
        assert connector.get_batch(keys) == objects
        for key in keys:
            connector.evict(key)
    assert not any(path.is_file() for path in tmp_path.rglob('*'))


def test_a_closed_connector_says_so(connector: TCPConnector) -> None:
    key = connector.put(b'x')
    connector.close()
    connector.close()
    with pytest.raises(ConnectorClosedError):
        connector.get(key)


def test_ctrl_c_ends_a_get_from_a_node_that_stands_still(own_home: Path, peer: Interpreter) -> None:
    port = peer.run(
        """
        import os
        os.environ['PROXYSTORE_HOME'] = home
        os.environ['XDG_RUNTIME_DIR'] = os.path.dirname(home)
        from proxystore.connectors.tcp import TCPConnector
        import builtins
        builtins.node = TCPConnector(port=0)
        result = builtins.node.config()['port']
        """,
        home=str(own_home),
    )
    assert peer.pid is not None
    with TCPConnector(port=port, node='join') as connector:
        key = connector.put(b'x')
        os.kill(peer.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, peer.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            interrupted = meanwhile(os.kill, os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt), interrupted:
                connector.get(key)
        finally:
            os.kill(peer.pid, signal.SIGCONT)
        assert connector.get(key) == b'x'
    peer.run('import builtins; builtins.node.close(); result = None')


def test_resolving_does_not_need_the_options_of_the_producer(own_home: Path) -> None:
    with Store('plain', TCPConnector(port=0), register=True) as store:
        proxy = store.proxy([1, 2, 3], populate_target=False)
        assert type(proxy) is Proxy
        assert type(proxy.__proxy_factory__.key) is TCPKey
        child = run_in_child('spawn', sum_of, pickle.dumps(proxy))
        assert child == 6


def sum_of(pickled: bytes) -> int:
    return sum(pickle.loads(pickled))
