"""Where the server is, who logs in, and what the options do there."""

from __future__ import annotations

import pickle

import pytest

from proxystore.connectors.exceptions import ConnectorConfigError, ConnectorPermissionError
from proxystore.connectors.redis import RedisConnector
from proxystore.store import Store
from tests.connectors.redis.support import reach
from tests.support.servers import (
    HOST,
    MASTER,
    PASSWORD,
    USER,
    USER_PASSWORD,
    RedisSentinel,
    Servers,
)


def round_trip(connector: RedisConnector) -> None:
    with connector:
        assert connector.get(connector.put(b'object')) == b'object'


def test_upstreams_attributes_and_repr(servers: Servers) -> None:
    port = servers['redis-7'].port
    connector = RedisConnector(HOST, port, True)
    assert (connector.hostname, connector.port, connector.clear) == (HOST, port, True)
    assert repr(RedisConnector(HOST, port)) == f'RedisConnector(hostname={HOST}, port={port})'


@pytest.mark.parametrize('clear', [True, False])
def test_closing_removes_everything_only_if_asked(servers: Servers, clear: bool) -> None:
    server = servers['redis-7']
    with server.client() as client:
        client.set('of somebody else', 'x')
        connector = RedisConnector(**server.address, clear=clear)
        connector.put(b'object')
        connector.close()
        assert client.dbsize() == (0 if clear else 2)


def test_closing_removes_only_what_has_the_prefix(servers: Servers) -> None:
    server = servers['redis-7']
    with server.client() as client:
        client.set('of somebody else', 'x')
        client.set('mine', 'x')
        connector = RedisConnector(**server.address, prefix='mine:', part_size=65_536)
        connector.put_batch([b'object', bytes(200_000)])
        assert client.dbsize() > 4
        connector.close(clear=True)
        assert sorted(client.scan_iter()) == [b'mine', b'of somebody else']


def test_the_database_is_the_one_named(servers: Servers) -> None:
    server = servers['redis-7']
    connector = RedisConnector(**server.address, database=3)
    key = connector.put(b'object')
    with server.client(db=3) as client, server.client() as other:
        assert (client.dbsize(), other.dbsize()) == (1, 0)
    assert RedisConnector(**server.address).get(key) is None
    assert RedisConnector.from_config(connector.config()).get(key) == b'object'


def test_the_server_is_told_how_long_objects_live(servers: Servers) -> None:
    server = servers['redis-7']
    connector = RedisConnector(**server.address, ttl=1000, part_size=65_536)
    deferred = connector.new_key()
    connector.set(deferred, b'object')
    connector.put_batch([b'object', bytes(200_000)])
    with server.client() as client:
        lifetimes = [client.pttl(key) for key in client.scan_iter()]
    assert len(lifetimes) > 3
    assert all(900_000 < lifetime <= 1_002_000 for lifetime in lifetimes), lifetimes


def test_an_object_that_the_server_removed_is_not_there(servers: Servers) -> None:
    server = servers['redis-7']
    connector = RedisConnector(**server.address, ttl=1000)
    key = connector.put(b'object')
    with server.client() as client:
        # As if the time had come.
        client.pexpire(key.redis_key, 0)
    assert connector.get(key) is None
    assert not connector.exists(key)


@pytest.mark.parametrize('setting', ['redis-7', 'tls', 'unix'])
def test_urls(servers: Servers, setting: str) -> None:
    server, options = reach(servers, setting)
    url = f'unix://{server.socket_path}?db=2' if setting == 'unix' else f'{server.url}/2'
    authority = {'authority': options['authority']} if setting == 'tls' else {}
    connector = RedisConnector.from_url(url, prefix='x:', **authority)
    config = connector.config()
    assert config['database'] == 2
    assert 'url' not in config
    key = connector.put(b'object')
    assert key.redis_key.startswith('x:')
    round_trip(RedisConnector.from_config(config))


@pytest.mark.parametrize(
    ('user', 'password'), [(None, PASSWORD), (USER, USER_PASSWORD)], ids=['password', 'user']
)
def test_logging_in(servers: Servers, tmp_path, monkeypatch, user, password) -> None:
    server = servers['password']
    options = {**server.address, **({} if user is None else {'username': user})}
    file = tmp_path / 'password'
    file.write_text(password)
    file.chmod(0o600)
    monkeypatch.setenv('REDIS_TEST_PASSWORD', password)
    for given in (password, 'env:REDIS_TEST_PASSWORD', f'file:{file}'):
        round_trip(RedisConnector(**options, password=given))


def test_a_password_named_by_its_place_travels_with_proxies(servers: Servers, monkeypatch) -> None:
    server = servers['password']
    monkeypatch.setenv('REDIS_TEST_PASSWORD', PASSWORD)
    connector = RedisConnector(**server.address, password='env:REDIS_TEST_PASSWORD')
    with Store('secret', connector, register=True) as store:
        pickled = pickle.dumps(store.proxy([1], populate_target=False))
        assert PASSWORD.encode() not in pickled
        assert pickle.loads(pickled) == [1]


def test_a_literal_password_stays_in_this_process(servers: Servers) -> None:
    server = servers['password']
    connector = RedisConnector(**server.address, password=PASSWORD)
    assert PASSWORD not in repr(connector) + repr(connector.config()) + str(connector.config())
    with Store('secret', connector, register=True) as store:
        proxy = store.proxy([1], populate_target=False)
        assert proxy == [1]
        with pytest.raises(pickle.PicklingError, match='env:NAME'):
            pickle.dumps(proxy)
    round_trip(RedisConnector.from_config(connector.config()))


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({}, 'NOAUTH'),
        ({'password': 'wr0ng'}, 'password'),
        ({'username': 'nobody', 'password': 'wr0ng'}, 'password'),
    ],
)
def test_wrong_passwords_are_told_and_not_repeated(servers: Servers, options, said) -> None:
    server = servers['password']
    connector = RedisConnector(**server.address, **options)
    with pytest.raises(ConnectorPermissionError, match=said) as caught:
        connector.put(b'object')
    assert 'wr0ng' not in str(caught.value)
    assert str(server.port) in str(caught.value)


def test_a_user_may_do_what_he_may(servers: Servers) -> None:
    server = servers['redis-7']
    with server.client() as client:
        client.acl_setuser('reader', enabled=True, passwords=['+x'], keys='*', commands=['+get'])
        try:
            connector = RedisConnector(**server.address, username='reader', password='x')
            with pytest.raises(ConnectorPermissionError, match='NOPERM'):
                connector.put(b'object')
        finally:
            client.acl_deluser('reader')


def test_sentinels_name_the_server_and_after_a_failover_the_next(tmp_path_factory) -> None:
    directory = tmp_path_factory.mktemp('s')
    with RedisSentinel(directory) as sentinel:
        connector = RedisConnector(
            sentinel=[f'{HOST}:1', f'{HOST}:{sentinel.port}'], sentinel_master=MASTER
        )
        key = connector.put(b'object')
        with sentinel.replica.client() as client:
            # Until the replica has it.
            with sentinel.master.client() as master:
                assert master.wait(1, 10_000) == 1
            assert client.exists(key.redis_key)
        sentinel.master.stop()
        assert connector.get(key) == b'object'
        assert connector.get(connector.put(b'another')) == b'another'
        round_trip(RedisConnector.from_config(connector.config()))


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({}, 'hostname'),
        ({'hostname': HOST}, 'port'),
        ({'hostname': HOST, 'port': 0}, 'port'),
        ({'hostname': HOST, 'port': 70_000}, 'port'),
        ({'hostname': HOST, 'port': 'x'}, 'port'),
        ({'hostname': 1, 'port': 1}, 'hostname'),
        ({'hostname': HOST, 'port': 1, 'url': 'redis://h'}, 'url'),
        ({'url': 'http://h'}, 'url'),
        ({'url': 'redis://h/x'}, 'url'),
        ({'hostname': HOST, 'port': 1, 'timeout': -1.0}, 'timeout'),
        ({'hostname': HOST, 'port': 1, 'ttl': 0.0}, 'ttl'),
        ({'hostname': HOST, 'port': 1, 'database': -1}, 'database'),
        ({'hostname': HOST, 'port': 1, 'database': 1, 'cluster': True}, 'database'),
        ({'hostname': HOST, 'port': 1, 'username': 'x'}, 'password'),
        ({'hostname': HOST, 'port': 1, 'tls': False, 'authority': '/x'}, 'tls'),
        ({'hostname': HOST, 'port': 1, 'certificate_key': '/x'}, 'certificate'),
        ({'hostname': HOST, 'port': 1, 'part_size': 1}, 'part_size'),
        ({'hostname': HOST, 'port': 1, 'prefix': 'a\nb'}, 'prefix'),
        ({'sentinel': [f'{HOST}:1']}, 'sentinel_master'),
        ({'sentinel': ['x'], 'sentinel_master': 'm'}, 'sentinel'),
        ({'hostname': HOST, 'port': 1, 'sentinel_master': 'm'}, 'sentinel'),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, said) -> None:
    with pytest.raises(ConnectorConfigError, match=said):
        RedisConnector(**options)


def test_an_error_about_a_url_does_not_repeat_its_password() -> None:
    with pytest.raises(ConnectorConfigError) as caught:
        RedisConnector.from_url('redis://:hunter2@h/x')
    assert 'hunter2' not in str(caught.value)
