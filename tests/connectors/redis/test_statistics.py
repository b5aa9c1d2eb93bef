"""What the connector tells of itself."""

from __future__ import annotations

import pathlib
import re

import pytest

from proxystore.connectors.exceptions import ConnectorError
from proxystore.connectors.redis import RedisConnector
from proxystore.store import Store
from tests.support.servers import HOST, RedisServer, Servers, free_port


def test_a_store_tells_what_was_done_with_the_server(servers: Servers) -> None:
    port = servers['redis-7'].port
    connector = RedisConnector(HOST, port)
    with Store('redis-statistics', connector, cache_size=0) as store:
        assert store.stats()['connector'] == {}
        keys = [connector.put(bytes(size)) for size in (100, 400_000, 1_000_000)]
        keys += connector.put_batch([bytearray(100), bytearray(1_000_000)])
        for key in keys:
            assert connector.get(key) is not None
            connector.evict(key)
        assert store.stats()['connector'] == {
            f'{HOST}:{port}': {
                'operations': 14,
                'failures': 0,
                'retries': 0,
                'sent_bytes': 2_400_200,
                'received_bytes': 2_400_200,
                'requests_under_way': 0,
                'requests_under_way_peak': 1,
                'connections_total': 1,
                'connections_lost': 0,
            }
        }


def test_every_number_is_described(servers: Servers) -> None:
    page = pathlib.Path(__file__).parents[3] / 'docs' / 'connectors' / 'redis.md'
    described = set(re.findall(r'`(\w+)`', page.read_text().partition('## What it tells')[2]))
    with RedisConnector(HOST, servers['redis-7'].port) as connector:
        connector.exists(connector.put(b'x'))
        (numbers,) = connector.statistics().values()
        assert not numbers.keys() - described


def test_what_fails_is_counted() -> None:
    port = free_port()
    with RedisConnector(HOST, port) as connector:
        with pytest.raises(ConnectorError):
            connector.put(b'x')
        (numbers,) = connector.statistics().values()
        assert (numbers['operations'], numbers['failures']) == (1, 1)
        assert (numbers['connections_total'], numbers['sent_bytes']) == (0, 0)


def test_lost_connections_are_counted(tmp_path: pathlib.Path) -> None:
    with RedisServer(tmp_path) as server, RedisConnector(HOST, server.port) as connector:
        key = connector.put(b'x')
        with server.client() as client:
            client.client_kill_filter(_type='normal', skipme=True)
        assert connector.get(key) == b'x'
        (numbers,) = connector.statistics().values()
        assert (numbers['failures'], numbers['connections_total']) == (0, 2)
        # Whoever takes a connection that has rested for a while sees that it is gone.
        assert numbers['retries'] == numbers['connections_lost'] <= 1
