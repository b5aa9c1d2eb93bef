"""Who gets in, and who does not."""

from __future__ import annotations

import contextlib
import logging
import pickle
import resource
import socket
import threading
import traceback
from typing import TYPE_CHECKING

import pytest

from proxystore.connectors.exceptions import (
    ConnectorConfigError,
    ConnectorError,
    ConnectorPermissionError,
    ConnectorTimeoutError,
    ConnectorUnavailableError,
)
from proxystore.connectors.file import FileConnector
from proxystore.connectors.multi import MultiKey
from proxystore.connectors.tcp import TCPConnector, TCPKey
from proxystore.store import Store
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

SECRET = 'a secret of more than sixteen bytes'
OTHER = 'another one, of sixteen bytes at least'


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv('NODE_SECRET', SECRET)
    monkeypatch.setenv('OTHER_SECRET', OTHER)
    return 'env:NODE_SECRET'


@pytest.mark.parametrize('encrypt', [None, True])
def test_another_secret_does_not_get_in(secret: str, encrypt: bool | None) -> None:
    with TCPConnector(port=0, secret=secret, encrypt=encrypt, unix=False) as node:
        key = node.put(b'x')
        options = {**node.config(), 'node': 'join'}
        with TCPConnector(**{**options, 'secret': SECRET}) as known:
            assert known.get(key) == b'x'
        with pytest.raises(ConnectorPermissionError, match='secret') as caught:
            TCPConnector(**{**options, 'secret': 'env:OTHER_SECRET'}).get(key)
        assert SECRET not in str(caught.value)
        assert OTHER not in str(caught.value)


def test_the_users_own_secret_serves_no_other_host() -> None:
    with pytest.raises(ConnectorConfigError, match='secret'):
        TCPConnector('0.0.0.0', 0).put(b'x')


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ConnectorError, match='16'):
        TCPConnector(port=0, secret='hunter2', unix=False).put(b'x')


def test_a_secret_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    for place in ('env:NO_SUCH_SECRET', f'file:{tmp_path}/absent'):
        with pytest.raises((ConnectorConfigError, OSError), match=place.partition(':')[2]):
            TCPConnector(port=0, secret=place).put(b'x')


def test_a_literal_secret_stays_in_its_process(secret: str) -> None:
    with Store('literal', TCPConnector(port=0, secret=SECRET)) as store:
        proxy = store.proxy([1], populate_target=False)
        assert SECRET not in repr(store)
        with pytest.raises(pickle.PicklingError, match='env:NAME'):
            pickle.dumps(proxy)
        assert proxy == [1]
    with Store('named', TCPConnector(port=0, secret=secret)) as store:
        assert SECRET.encode() not in pickle.dumps(store.proxy([1]))


def test_the_text_of_a_key_opens_nothing() -> None:
    key = TCPKey('127.0.0.1', 7337, '0' * 32, 'c' * 32)
    for text in (repr(key), str(key), f'{key}', f'{key!r:>9}', repr(MultiKey('tcp', key))):
        assert key.capability not in text
        assert all(part in text for part in ('127.0.0.1', '7337', key.object_id))
    copy = pickle.loads(pickle.dumps(key))
    assert (type(copy), copy) == (TCPKey, key)


def test_errors_name_a_key_without_its_capability(secret: str, tmp_path: Path) -> None:
    with TCPConnector(port=0, secret=secret, unix=False) as node:
        key = node.put(b'x')
        options = {**node.config(), 'node': 'join', 'secret': 'env:OTHER_SECRET'}
    forged = key._replace(port=0)
    nowhere = TCPConnector(**options)
    calls: list[tuple[Callable[..., Any], TCPKey, Any]] = [
        (call, named, passed)
        for named in (key, forged)
        for call, passed in (
            (nowhere.get, named),
            (nowhere.exists, named),
            (nowhere.evict, named),
            (nowhere.get_batch, [named]),
            (FileConnector(tmp_path).get, named),
            (Store('nowhere', nowhere).get, named),
            (Store('nowhere', nowhere).proxy_from_key(named).__len__, None),
        )
    ]
    for call, named, passed in calls:
        with pytest.raises(Exception, match=named.object_id) as caught:
            call(passed) if passed is not None else call()
        text = ''.join(traceback.format_exception(caught.value))
        assert named.object_id in text
        assert named.capability not in text


def test_logs_name_a_key_without_its_capability(
    secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG, logger='proxystore'),
        Store('logged', TCPConnector(port=0, secret=secret)) as store,
    ):
        key = store.put([1])
        assert isinstance(key, TCPKey)
        assert store.get(key) == [1]
        store.evict(key)
        with contextlib.suppress(ConnectorError):
            store.get(key._replace(port=0))
    assert key.object_id in caplog.text
    assert key.capability not in caplog.text


def answer_with(answer: bytes) -> tuple[int, socket.socket]:
    """A server that greets whoever connects, and its port."""
    listener = socket.create_server(('127.0.0.1', 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(10)
                peer.recv(1024)
                peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], listener


def test_something_else_at_the_port_is_named() -> None:
    page = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'
    for answer, said in ((page, 'web server'), (b'\xff' * 100, 'speak'), (b'', 'connection')):
        port, listener = answer_with(answer)
        with (
            listener,
            TCPConnector(port=port, node='join', timeout=30) as connector,
            pytest.raises(ConnectorUnavailableError, match=said),
        ):
            connector.exists(connector.new_key())


def test_nobody_at_the_port_is_an_error() -> None:
    port = free_port()
    with (
        TCPConnector(port=port, node='join', timeout=30) as connector,
        pytest.raises(ConnectorUnavailableError, match=str(port)),
    ):
        connector.put(b'x')


def test_a_name_that_does_not_resolve_is_an_error(secret: str) -> None:
    host = 'no-such-host.invalid'
    with (
        TCPConnector(host, 7337, node='join', secret=secret, timeout=20) as connector,
        pytest.raises((ConnectorUnavailableError, ConnectorTimeoutError), match=host),
    ):
        connector.put(b'x')


def test_silence_ends_by_the_timeout() -> None:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
        with (
            TCPConnector(port=port, node='join', timeout=0.3) as connector,
            pytest.raises(ConnectorTimeoutError, match=str(port)),
        ):
            connector.put(b'x')


def test_a_port_that_somebody_else_has_is_an_error() -> None:
    port, listener = answer_with(b'x')
    with listener, pytest.raises(ConnectorUnavailableError, match=str(port)):
        TCPConnector(port=port, timeout=30).put(b'x')


def test_garbage_disturbs_nobody() -> None:
    with TCPConnector(port=0) as connector:
        key = connector.put(b'x')
        address = ('127.0.0.1', connector.config()['port'])
        for garbage in (b'\0' * 100_000, b'GET / HTTP/1.1\r\n\r\n', b'\x16\x03\x01' * 1000, b'x'):
            with socket.create_connection(address) as peer:
                peer.settimeout(10)
                try:
                    peer.sendall(garbage)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass
                except OSError:
                    # The node has closed it already.
                    pass
            assert connector.get(key) == b'x'


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """This process may have more of them than a shell usually lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 4000)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f'this process may have {hard} descriptors, not {wanted}: ulimit -Hn')
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures('many_descriptors')
def test_a_thousand_silent_connections_disturb_nobody() -> None:
    with TCPConnector(port=0, unix=False) as connector:
        key = connector.put(b'x')
        address = ('127.0.0.1', connector.config()['port'])
        silent = [socket.create_connection(address) for _ in range(1000)]
        assert connector.get(key) == b'x'
        with TCPConnector(**{**connector.config(), 'node': 'join'}) as late:
            assert late.get(key) == b'x'
        for peer in silent:
            peer.close()
