"""Either side reads what the other stored."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest

from proxystore.connectors.redis import RedisConnector, RedisKey
from proxystore.store import Store
from tests.support.servers import HOST, Servers

if TYPE_CHECKING:
    from tests.support.interpreter import Interpreter

SIZES = (0, 1, 100, 65_536, 3_000_000)
_CONNECT = """
from proxystore.connectors.redis import RedisConnector, RedisKey
connector = RedisConnector(hostname, port)
"""


@pytest.fixture
def connector(servers: Servers):
    with RedisConnector(**servers['redis-7'].address) as connector:
        yield connector


@pytest.mark.parametrize('size', SIZES)
def test_upstream_gets_what_was_put(connector, servers, upstream, size) -> None:
    address = servers['redis-7'].address
    data = os.urandom(size)
    key = connector.put(data)
    assert upstream.run(
        _CONNECT
        + """
key = RedisKey(*key)
before = connector.get(key)
result = (before, connector.exists(key), connector.evict(key), connector.exists(key))
""",
        key=tuple(key),
        **address,
    ) == (data, True, None, False)
    assert connector.get(key) is None


@pytest.mark.parametrize('size', SIZES)
def test_what_upstream_put_is_got(connector, servers, upstream, size) -> None:
    data = os.urandom(size)
    address = servers['redis-7'].address
    fields = upstream.run(_CONNECT + 'result = tuple(connector.put(data))', data=data, **address)
    key = RedisKey(*fields)
    assert connector.exists(key)
    assert connector.get(key) == data
    connector.evict(key)
    assert not upstream.run(
        _CONNECT + 'result = connector.exists(RedisKey(*fields))', fields=fields, **address
    )


def test_batches_cross(connector, servers, upstream) -> None:
    address = servers['redis-7'].address
    data = [os.urandom(n) for n in (0, 10, 100_000)]
    keys = connector.put_batch(data)
    theirs, fields = upstream.run(
        _CONNECT
        + """
theirs = connector.get_batch([RedisKey(*key) for key in keys])
result = (theirs, [tuple(key) for key in connector.put_batch(theirs)])
""",
        keys=[tuple(key) for key in keys],
        **address,
    )
    assert theirs == data
    assert [
        bytes(found) for found in connector.get_batch([RedisKey(*key) for key in fields])
    ] == data


def test_deferred_objects_cross(connector, servers, upstream) -> None:
    address = servers['redis-7'].address
    key = connector.new_key()
    upstream.run(_CONNECT + 'connector.set(RedisKey(*key), b"theirs")', key=tuple(key), **address)
    assert connector.get(key) == b'theirs'
    connector.set(key, b'ours')
    assert (
        upstream.run(_CONNECT + 'result = connector.get(RedisKey(*key))', key=tuple(key), **address)
        == b'ours'
    )


def test_a_deferred_object_in_parts_is_replaced_by_upstream(servers, upstream) -> None:
    address = servers['redis-7'].address
    with RedisConnector(**address, part_size=65_536) as connector:
        key = connector.new_key()
        connector.set(key, os.urandom(300_000))
        upstream.run(
            _CONNECT + 'connector.set(RedisKey(*key), b"theirs")', key=tuple(key), **address
        )
        assert connector.get(key) == b'theirs'


def test_objects_in_parts_are_ours_alone_but_are_evicted_whole(servers) -> None:
    server = servers['redis-7']
    with RedisConnector(**server.address, part_size=65_536) as connector:
        data = os.urandom(1_000_000)
        key = connector.put(data)
        with server.client() as client:
            assert client.dbsize() > 10
            assert connector.get(key) == data
            connector.evict(key)
            assert client.dbsize() == 0


def test_proxies_cross_to_upstream(servers, upstream) -> None:
    address = servers['redis-7'].address
    with Store('crossing', RedisConnector(**address), register=True) as store:
        pickled = pickle.dumps(store.proxy({'a': [1, 2]}))
        assert upstream.run(
            'import pickle; proxy = pickle.loads(pickled); result = dict(proxy)', pickled=pickled
        ) == {'a': [1, 2]}


def test_proxies_of_upstream_resolve(servers, upstream) -> None:
    pickled = upstream.run(
        """
        import pickle
        from proxystore.connectors.redis import RedisConnector
        from proxystore.store import Store
        store = Store('theirs', RedisConnector(hostname, port), register=True)
        result = pickle.dumps(store.proxy([1, 2, 3]))
        """,
        **servers['redis-7'].address,
    )
    assert pickle.loads(pickled) == [1, 2, 3]


def test_configurations_cross(servers, upstream: Interpreter) -> None:
    port = servers['redis-7'].port
    ours = RedisConnector(HOST, port).config()
    theirs = upstream.run(
        """
        from proxystore.connectors.redis import RedisConnector
        RedisConnector.from_config(ours)
        result = RedisConnector(hostname, port, clear=True).config()
        """,
        ours=ours,
        hostname=HOST,
        port=port,
    )
    connector = RedisConnector.from_config(theirs)
    assert (connector.hostname, connector.port, connector.clear) == (HOST, port, True)
