"""What goes wrong between a connector and its server, and what it is told as."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

import redis
from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorError,
    ConnectorKeyError,
    ConnectorOSError,
    ConnectorPermissionError,
    ConnectorTimeoutError,
    ConnectorUnavailableError,
    ObjectCorruptedError,
)
from proxystore.connectors.redis import RedisConnector, RedisKey
from proxystore.store import Store
from tests.support.certificates import Authority
from tests.support.leaks import no_leaked_descriptors
from tests.support.processes import run_in_child
from tests.support.servers import BINARIES, HOST, RedisServer, free_port
from tests.support.threads import meanwhile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers import Servers


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that the test may stop."""
    with RedisServer(tmp_path_factory.mktemp('redis')) as server:
        yield server


@pytest.fixture
def connector(server: RedisServer) -> Iterator[RedisConnector]:
    with RedisConnector(**server.address) as connector:
        yield connector


OPERATIONS: dict[str, Callable[[RedisConnector, RedisKey], Any]] = {
    'put': lambda connector, _: connector.put(b'another'),
    'put_batch': lambda connector, _: connector.put_batch([b'a', b'b']),
    'get': lambda connector, key: connector.get(key),
    'get_batch': lambda connector, key: connector.get_batch([key, key]),
    'exists': lambda connector, key: connector.exists(key),
    'evict': lambda connector, key: connector.evict(key),
    'set': lambda connector, _: connector.set(RedisKey('0' * 8), b'x'),
}


@pytest.mark.parametrize('operation', OPERATIONS)
def test_a_server_that_is_gone(
    server: RedisServer, connector: RedisConnector, operation: str
) -> None:
    key = connector.put(b'object')
    server.stop()
    with pytest.raises(ConnectorUnavailableError, match=str(server.port)):
        OPERATIONS[operation](connector, key)


@pytest.mark.parametrize('operation', OPERATIONS)
def test_a_server_that_was_restarted_meanwhile(
    server: RedisServer, connector: RedisConnector, operation: str
) -> None:
    key = connector.put(b'object')
    server.stop()
    server.start()
    # The connection that was kept has ended, which nobody needs to know.
    OPERATIONS[operation](connector, key)
    assert connector.get(connector.put(b'object')) == b'object'


@pytest.mark.parametrize('operation', OPERATIONS)
def test_a_server_that_answers_nothing(server: RedisServer, operation: str) -> None:
    with RedisConnector(**server.address, timeout=2.0) as connector:
        key = connector.put(b'object')
        with server.paused():
            with pytest.raises(ConnectorTimeoutError, match=str(server.port)) as caught:
                OPERATIONS[operation](connector, key)
            assert f'operation={operation.removesuffix("_batch")}' in str(caught.value)
        assert connector.get(connector.put(b'after')) == b'after'


def test_what_was_put_into_a_silent_server_is_not_stored(server: RedisServer) -> None:
    with RedisConnector(**server.address, timeout=2.0) as connector:
        with server.paused(), pytest.raises(ConnectorTimeoutError):
            connector.put(bytes(3_000_000))
        # What was sent in part is thrown away with its connection.
        with server.client() as client:
            assert connector.get(connector.put(b'x')) == b'x'
            assert client.dbsize() == 1


def test_connections_that_the_server_ends(server: RedisServer, connector: RedisConnector) -> None:
    key = connector.put(b'object')
    with server.client() as client:
        for _ in range(3):
            client.client_kill_filter(_type='normal', skipme=True)
            assert connector.get(key) == b'object'


def test_nobody_at_the_port() -> None:
    port = free_port()
    with pytest.raises(ConnectorUnavailableError, match=f'127.0.0.1:{port}.*refused'):
        RedisConnector(HOST, port).put(b'x')


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ConnectorUnavailableError, match=r'nowhere\.invalid'):
        RedisConnector('nowhere.invalid', 6379).put(b'x')


def test_a_socket_that_is_not_there(tmp_path) -> None:
    with pytest.raises(ConnectorUnavailableError, match='no-socket'):
        RedisConnector(path=tmp_path / 'no-socket').put(b'x')


@contextlib.contextmanager
def answering(reply: bytes, *, hold: bool = False) -> Iterator[int]:
    """A port at which every connection is answered with the same bytes."""
    with socket.create_server((HOST, 0)) as listener:
        connections = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    connection.recv(4096)
                    connection.sendall(reply)
                    if not hold:
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


@pytest.mark.parametrize(
    ('reply', 'said'),
    [
        (b'HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n', 'web server'),
        (b'\x15\x03\x03\x00\x02\x02\x16', 'TLS'),
        (b'SSH-2.0-OpenSSH_9.2\r\n', 'no Redis'),
        (b'\0' * 64, 'no Redis'),
        (b'$99999999999999999999\r\n', 'no Redis'),
        (b'$-7\r\n', 'no Redis'),
        (b'*1\r\n' * 1000, 'an array'),
        (b':' + b'9' * 70_000, 'no Redis'),
        (b'', 'ended the connection'),
    ],
    ids=['web', 'tls', 'ssh', 'zeros', 'huge', 'negative', 'arrays', 'digits', 'nothing'],
)
def test_something_else_at_the_port(reply: bytes, said: str) -> None:
    with answering(reply) as port:
        connector = RedisConnector(HOST, port)
        with pytest.raises(ConnectorError, match=said) as caught:
            connector.get(RedisKey('key'))
        assert isinstance(caught.value, (ConnectorUnavailableError, ConnectorTimeoutError))
        assert str(port) in str(caught.value)


def test_an_announcement_of_more_than_there_is_memory_for() -> None:
    with answering(b'$4611686018427387904\r\nx') as port, pytest.raises(ConnectorError):
        RedisConnector(HOST, port, timeout=2.0).get(RedisKey('key'))


def test_half_an_object_is_no_object() -> None:
    with answering(b'$1000000\r\nhalf') as port:
        connector = RedisConnector(HOST, port)
        with pytest.raises(ConnectorUnavailableError, match='ended the connection'):
            connector.get(RedisKey('key'))


@pytest.mark.parametrize('kind', [*BINARIES, 'password'])
def test_tls_where_there_is_none(servers: Servers, kind: str) -> None:
    server = servers[kind]
    authority = str(servers.authority.certificate)
    connector = RedisConnector(**server.address, authority=authority, timeout=600.0)
    # Such a server says nothing to it, for as long as one waits.
    with pytest.raises(ConnectorUnavailableError, match=f':{server.port}.*without TLS'):
        connector.put(b'x')


def test_nothing_in_place_of_tls(servers: Servers) -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        authority = str(servers.authority.certificate)
        with pytest.raises(ConnectorTimeoutError, match=str(port)):
            RedisConnector(HOST, port, authority=authority, timeout=1.5).put(b'x')


def test_no_tls_where_there_is(servers: Servers) -> None:
    server = servers['tls']
    with pytest.raises(ConnectorError, match=str(server.port)):
        RedisConnector(**server.address, timeout=2.0).put(b'x')


def test_certificates_that_are_not_trusted(servers: Servers, tmp_path) -> None:
    server = servers['tls']
    stranger = Authority(tmp_path / 'stranger')
    with pytest.raises(ConnectorPermissionError, match='certificate'):
        RedisConnector(**server.address, authority=stranger.certificate).put(b'x')
    with pytest.raises(ConnectorPermissionError, match='certificate'):
        # The authorities of the system do not know ours.
        RedisConnector(**server.address, tls=True).put(b'x')


def test_a_certificate_that_has_expired(servers: Servers) -> None:
    expired = servers.authority.issue('expired', expired=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired.certificate, expired.key)
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(ConnectorPermissionError, match='expired'):
            RedisConnector(HOST, port, authority=servers.authority.certificate).put(b'x')
        thread.join()


def test_a_client_without_the_certificate_that_the_server_wants(servers: Servers) -> None:
    server = servers['mutual-tls']
    with pytest.raises(ConnectorPermissionError, match=r'(?i)certificate'):
        RedisConnector(**server.address, authority=servers.authority.certificate).put(b'x')


def test_a_server_without_room(server: RedisServer, connector: RedisConnector) -> None:
    kept = connector.put(b'object')
    with server.client() as client:
        client.config_set('maxmemory', client.info('memory')['used_memory'] + (1 << 20))
        with pytest.raises(ConnectorOSError, match='maxmemory'):
            connector.put(bytes(4 << 20))
        client.config_set('maxmemory', 0)
        assert client.dbsize() == 1
    assert connector.get(kept) == b'object'
    assert connector.get(connector.put(bytes(4 << 20))) == bytes(4 << 20)


def test_an_object_that_the_servers_policy_evicted(server: RedisServer) -> None:
    with server.client() as client, RedisConnector(**server.address) as connector:
        client.config_set('maxmemory-policy', 'allkeys-lru')
        client.config_set('maxmemory', client.info('memory')['used_memory'] + (2 << 20))
        keys = [connector.put(os.urandom(200_000)) for _ in range(40)]
        there = [connector.exists(key) for key in keys]
        assert not all(there)
        for key, expected in zip(keys, there, strict=True):
            assert (connector.get(key) is not None) == expected


def test_a_part_that_is_gone_is_damage(server: RedisServer) -> None:
    with server.client() as client, RedisConnector(**server.address, part_size=65_536) as connector:
        key = connector.put(os.urandom(300_000))
        part = next(name for name in client.scan_iter() if name.decode() != key.redis_key)
        client.delete(part)
        with pytest.raises(ObjectCorruptedError, match='part'):
            connector.get(key)
        connector.evict(key)
        assert client.dbsize() == 0


def test_something_else_under_the_key(server: RedisServer, connector: RedisConnector) -> None:
    with server.client() as client:
        client.rpush('list', 'x')
    with pytest.raises(ConnectorKeyError, match='WRONGTYPE'):
        connector.get(RedisKey('list'))


def test_a_value_larger_than_the_server_takes(server: RedisServer) -> None:
    with server.client() as client, RedisConnector(**server.address) as connector:
        client.config_set('proto-max-bulk-len', 1 << 20)
        with pytest.raises(ConnectorError, match='part_size'):
            connector.put(bytes(2 << 20))
        assert client.dbsize() == 0
        with RedisConnector(**server.address, part_size=1 << 20) as smaller:
            data = os.urandom(5 << 20)
            key = smaller.put(data)
            assert smaller.get(key) == data
            # Whoever reads need not know the size of the parts.
            assert connector.get(key) == data


def test_a_server_that_is_busy_is_waited_for(server: RedisServer) -> None:
    with (
        server.client() as client,
        server.client() as other,
        RedisConnector(**server.address) as connector,
    ):
        key = connector.put(b'object')
        client.config_set('busy-reply-threshold', 10)
        script = threading.Thread(target=run_for_ever, args=(client,))
        script.start()
        wait_until_busy(other)
        with meanwhile(other.script_kill):
            assert connector.get(key) == b'object'
        script.join()


def run_for_ever(client: Any) -> None:
    with contextlib.suppress(redis.ResponseError):
        client.eval('while true do end', 0)


def wait_until_busy(client: Any) -> None:
    with contextlib.suppress(redis.ResponseError):
        # Answered while the script has not begun, refused when it runs.
        while True:
            client.ping()


def test_closed_connectors_refuse_and_keep_what_they_do_not_own(server: RedisServer) -> None:
    connector = RedisConnector(**server.address)
    key = connector.put(b'object')
    connector.close()
    connector.close()
    with pytest.raises(ConnectorClosedError):
        connector.get(key)
    with RedisConnector(**server.address) as another:
        assert another.get(key) == b'object'


def test_no_descriptor_is_left_open(server: RedisServer) -> None:
    with no_leaked_descriptors():
        for _ in range(3):
            with RedisConnector(**server.address) as connector:
                connector.get(connector.put(b'object'))


def test_an_error_in_a_store_names_store_and_key(server: RedisServer) -> None:
    with Store('named', RedisConnector(**server.address)) as store:
        key = store.put([1])
        server.stop()
        with pytest.raises(ConnectorUnavailableError) as caught:
            store.get(key)
        assert 'named' in ''.join(caught.value.__notes__)
        server.start()


def use_in_child(connector: RedisConnector, key: RedisKey) -> tuple[Any, Any]:
    return connector.get(key), connector.put(b'of the child')


def test_forked_children_have_connections_of_their_own(
    server: RedisServer, connector: RedisConnector
) -> None:
    key = connector.put(b'object')
    with server.client() as client:
        before = {each['id'] for each in client.client_list()}
        for _ in range(3):
            found, other = run_in_child('fork', use_in_child, connector, key)
            assert found == b'object'
            assert connector.get(other) == b'of the child'
        # The parent's own is still the one it was.
        ours = {each['id'] for each in client.client_list()} & before
        assert len(ours) == len(before)


def test_many_threads_share_a_connector(connector: RedisConnector) -> None:
    failures = []

    def work(number: int) -> None:
        for index in range(50):
            data = f'{number}-{index}'.encode() * 100
            if connector.get(connector.put(data)) != data:
                failures.append((number, index))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize('operation', ['get', 'put'])
def test_ctrl_c_ends_an_operation_with_a_silent_server(server: RedisServer, operation: str) -> None:
    call = 'connector.get(key)' if operation == 'get' else 'connector.put(bytes(10_000_000))'
    program = f"""
        from proxystore.connectors.redis import RedisConnector
        connector = RedisConnector({HOST!r}, {server.port})
        key = connector.put(b'object')
        print('ready', flush=True)
        input()
        try:
            print('waiting', flush=True)
            {call}
        except KeyboardInterrupt:
            print('interrupted', flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == 'ready\n'
        with server.paused():
            process.stdin.write('\n')
            process.stdin.flush()
            assert process.stdout.readline() == 'waiting\n'
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == 'interrupted\n'
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
        process.communicate()
