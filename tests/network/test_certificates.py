"""Certificates that are not as they should be: an error that says which, and of what they are."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.exceptions import (
    ConnectorConfigError,
    ConnectorPermissionError,
)
from proxystore.connectors.redis import RedisConnector
from proxystore.connectors.tcp import TCPConnector
from proxystore.node import Node
from tests.support.certificates import Authority, Certificate
from tests.support.servers import HOST, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connector = TCPConnector | RedisConnector

TIMEOUT = 20.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / 'authority')


def files(certificate: Certificate, authority: Authority) -> dict[str, str]:
    """Options of a node, and of a connector of either kind."""
    return {
        'certificate': str(certificate.certificate),
        'certificate_key': str(certificate.key),
        'authority': str(authority.certificate),
    }


@contextlib.contextmanager
def node(own: dict[str, str], directory: Path) -> Iterator[Callable[..., TCPConnector]]:
    with Node(port=0, encrypt=True, unix=False, **own) as node:

        def connect(**options: Any) -> TCPConnector:
            place: dict[str, Any] = {
                'port': node.port,
                'node': 'join',
                'encrypt': True,
                'unix': False,
            }
            return TCPConnector(**place, timeout=TIMEOUT, **options)

        yield connect


@contextlib.contextmanager
def redis(own: dict[str, str], directory: Path) -> Iterator[Callable[..., RedisConnector]]:
    options: dict[str, str | list[str]] = {
        'tls-cert-file': own['certificate'],
        'tls-key-file': own['certificate_key'],
        'tls-auth-clients': 'yes',
    }
    authority = Authority(Path(own['authority']).parent)
    with RedisServer(directory / 'redis', tls=authority, options=options) as server:

        def connect(**options: Any) -> RedisConnector:
            return RedisConnector(**server.address, timeout=TIMEOUT, **options)

        yield connect


SERVERS: dict[str, Any] = {'tcp': node, 'redis': redis}
#: What is wrong with a certificate, and what the side says that is shown it.
WRONG: dict[str, tuple[Callable[[Authority, Path], Certificate], str]] = {
    'expired': (lambda authority, _: authority.issue('bad', expired=True), 'expired'),
    'early': (lambda authority, _: authority.issue('bad', early=True), 'not valid yet'),
    'strange': (lambda _, directory: Authority(directory).issue('bad'), 'authority'),
    'for another host': (
        lambda authority, _: authority.issue('bad', hosts=['elsewhere.example', '192.0.2.7']),
        'another host.*elsewhere',
    ),
}
#: What it says who has shown it, as the other side's answer is a single word.
ANSWERED = {
    'expired': 'expired',
    'early': "not valid yet|does not accept this side's certificate",
    'strange': 'authority',
}


@pytest.mark.parametrize('kind', SERVERS)
def test_good_ones_let_in(authority: Authority, tmp_path: Path, kind: str) -> None:
    own = files(authority.issue('server'), authority)
    with SERVERS[kind](own, tmp_path) as connect:
        with connect(**files(authority.issue('client'), authority)) as connector:
            assert connector.get(connector.put(b'x')) == b'x'
        # What a client is called does not matter.
        elsewhere = authority.issue('elsewhere', hosts=['elsewhere.example'])
        with connect(**files(elsewhere, authority)) as connector:
            assert connector.get(connector.put(b'x')) == b'x'


@pytest.mark.parametrize('kind', SERVERS)
@pytest.mark.parametrize('wrong', WRONG)
def test_a_server_that_is_not_trusted(
    authority: Authority, tmp_path: Path, kind: str, wrong: str
) -> None:
    issue, said = WRONG[wrong]
    own = files(issue(authority, tmp_path / 'stranger'), authority)
    with (
        SERVERS[kind](own, tmp_path) as connect,
        connect(**files(authority.issue('client'), authority)) as connector,
        pytest.raises(ConnectorPermissionError, match=f'its certificate .*{said}') as caught,
    ):
        connector.put(b'x')
    assert f'peer={HOST}:' in str(caught.value)


@pytest.mark.parametrize('kind', SERVERS)
@pytest.mark.parametrize('wrong', ANSWERED)
def test_a_client_that_is_not_trusted(
    authority: Authority, tmp_path: Path, kind: str, wrong: str
) -> None:
    issue, _ = WRONG[wrong]
    bad = files(issue(authority, tmp_path / 'stranger'), authority)
    with SERVERS[kind](files(authority.issue('server'), authority), tmp_path) as connect:
        for _ in range(20):
            # Whichever comes first, what the server says or its end of the connection.
            with (
                connect(**bad) as connector,
                pytest.raises(ConnectorPermissionError, match=ANSWERED[wrong]) as caught,
            ):
                connector.put(bytes(1_000_000))
            assert f'peer={HOST}:' in str(caught.value)


def test_a_client_without_one(authority: Authority, tmp_path: Path) -> None:
    own = files(authority.issue('server'), authority)
    with node(own, tmp_path) as connect:
        with pytest.raises(ConnectorConfigError, match=r"'certificate'.* is missing"):
            connect(authority=str(authority.certificate))
        with (
            connect(secret='what the node does not ask for') as connector,
            pytest.raises(ConnectorPermissionError, match='demands a certificate'),
        ):
            connector.put(b'x')
    with (
        redis(own, tmp_path) as connect_to_redis,
        connect_to_redis(authority=str(authority.certificate)) as connector,
        pytest.raises(ConnectorPermissionError, match='demands a certificate'),
    ):
        connector.put(b'x')


def open_tcp(**options: Any) -> None:
    with TCPConnector(port=1, node='join', encrypt=True, unix=False, **options) as connector:
        connector.put(b'x')


def open_redis(**options: Any) -> None:
    with RedisConnector(HOST, 1, **options) as connector:
        connector.put(b'x')


def start_node(**options: Any) -> None:
    Node(port=0, **options).stop()


USERS: dict[str, Any] = {'tcp': open_tcp, 'redis': open_redis, 'node': start_node}


@pytest.mark.parametrize('user', USERS)
def test_files_that_are_none_are_named(authority: Authority, tmp_path: Path, user: str) -> None:
    good = files(authority.issue('good'), authority)
    garbage = tmp_path / 'garbage'
    garbage.write_text('-----BEGIN NOTHING-----')
    other = authority.issue('other')
    for change, said in (
        ({'certificate_key': str(other.key)}, f'not the private key of .*{good["certificate"]}'),
        ({'certificate_key': good['certificate']}, 'no private key'),
        ({'certificate_key': str(garbage)}, 'no private key'),
        ({'certificate_key': str(tmp_path / 'absent')}, 'No such file'),
        ({'certificate_key': str(tmp_path)}, 'directory'),
        ({'certificate': str(garbage)}, 'no certificate'),
        ({'certificate': good['certificate_key']}, 'no certificate'),
        ({'certificate': str(tmp_path / 'absent')}, 'No such file'),
        ({'authority': str(garbage)}, 'no certificate'),
        ({'authority': str(tmp_path / 'absent')}, 'No such file'),
    ):
        with pytest.raises(ConnectorConfigError, match=said) as caught:
            USERS[user](**{**good, **change})
        (path,) = change.values()
        assert path in str(caught.value)


UNPRIVILEGED = """
import ctypes, json, struct, sys
# Root may read everything unless it gives that up.
ctypes.CDLL(None).capset(struct.pack('Ii', 0x20080522, 0), bytes(24))
from proxystore.connectors.exceptions import ConnectorConfigError
from tests.network.test_certificates import USERS
for user in USERS.values():
    try:
        user(**json.loads(sys.argv[1]))
    except ConnectorConfigError as e:
        assert 'Permission denied' in str(e), e
        assert sys.argv[2] in str(e), e
        print('refused')
"""


def test_a_key_that_this_user_may_not_read_is_named(authority: Authority) -> None:
    own = authority.issue('good')
    own.key.chmod(0)
    options = json.dumps(files(own, authority))
    done = subprocess.run(
        [sys.executable, '-c', UNPRIVILEGED, options, str(own.key)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ('refused\n' * 3, 0), done.stderr
