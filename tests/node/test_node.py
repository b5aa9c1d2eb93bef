"""Nodes in this process."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorOSError,
    ConnectorUnavailableError,
)
from proxystore.node import Node, running

SECRET = 'a secret of some length'


def socket_of(port: int) -> Path:
    return Path(os.environ['XDG_RUNTIME_DIR']) / 'proxystore' / f'node-{port}.sock'


def test_it_says_where_it_is_and_what_it_holds() -> None:
    with Node(port=0, budget=1000) as node:
        assert node.hostname == '127.0.0.1'
        assert node.port > 0
        assert repr(node) == f"Node('127.0.0.1', {node.port})"
        status = node.status()
        assert status['pid'] == os.getpid()
        assert status['budget_bytes'] == 1000
        assert status['objects'] == 0
        found = running(node.port)
        assert found is not None
        assert found == (os.getpid(), False, f'127.0.0.1:{node.port}')
        assert socket_of(node.port).is_socket()
    assert running(node.port) is None
    assert not socket_of(node.port).exists()
    with pytest.raises(ConnectorClosedError):
        node.status()
    assert node.stop()


def has_version_six() -> bool:
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_version_six(), reason='this host has no address ::1')
def test_a_host_of_version_six() -> None:
    with Node('::1', 0) as node:
        assert node.hostname == '::1'
        socket.create_connection(('::1', node.port)).close()


def test_its_secret_and_its_sockets_are_for_this_user_only(own_home: Path) -> None:
    with Node(port=0) as node:
        assert (own_home / 'secret').stat().st_mode & 0o777 == 0o600
        assert len((own_home / 'secret').read_text().strip()) == 64
        assert socket_of(node.port).parent.stat().st_mode & 0o777 == 0o700


def test_a_place_for_sockets_that_others_enter_is_refused() -> None:
    place = Path(os.environ['XDG_RUNTIME_DIR']) / 'proxystore'
    place.mkdir()
    place.chmod(0o755)
    with pytest.raises(ConnectorOSError, match='chmod 700'):
        Node(port=0)


def test_without_a_unix_socket() -> None:
    with Node(port=0, unix=False) as node:
        assert not socket_of(node.port).exists()
        assert running(node.port) is not None


def test_the_second_on_a_port_learns_of_the_first(port: int) -> None:
    with Node(port=port), pytest.raises(ConnectorUnavailableError, match=f'process {os.getpid()} '):
        Node(port=port)


def test_a_port_that_others_use_is_named(port: int) -> None:
    with (
        socket.create_server(('127.0.0.1', port)),
        pytest.raises(ConnectorUnavailableError, match=f'port {port} .* is taken'),
    ):
        Node(port=port)
    assert running(port) is None


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        ({'hostname': '0.0.0.0'}, 'needs a secret'),
        ({'hostname': '203.0.113.1', 'secret': SECRET}, 'no address of this machine'),
        ({'secret': 'short'}, 'fewer than'),
        ({'secret': 'env:NO_SUCH_VARIABLE'}, 'NO_SUCH_VARIABLE'),
        ({'port': 70_000}, 'no port'),
        ({'budget': -1}, 'negative'),
        ({'budget': 'much'}, 'budget'),
        ({'certificate': '/c.pem'}, 'certificate_key'),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConnectorConfigError, match=text) as caught:
        Node(**{'port': 0, **options})  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ConnectorUnavailableError, match='no-such-host'):
        Node('no-such-host.invalid', 0, secret=SECRET)


def test_a_directory_to_spill_to_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectorOSError, match='spilled') as caught:
        Node(port=0, spill=tmp_path / 'nothing')
    assert str(tmp_path / 'nothing') in str(caught.value)


def test_it_stops_when_nobody_has_it_any_more() -> None:
    node = Node(port=0)
    port = node.port
    del node
    gc.collect()
    assert running(port) is None


def test_a_forked_child_keeps_nothing_of_it(port: int) -> None:
    node = Node(port=port)
    client = socket.create_connection(('127.0.0.1', port))
    while node.status()['connections_unknown'] == 0:
        # The kernel connects before the node knows.
        pass
    ready, told = os.pipe()
    release, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        try:
            # It is not a node, and cannot stop its parent's.
            node.stop()
            del node
            gc.collect()
            os.write(told, b'y')
            os.read(release, 1)
        finally:
            os._exit(0)
    try:
        assert os.read(ready, 1) == b'y'
        found = running(port)
        assert found is not None
        assert found.pid == os.getpid()
        socket.create_connection(('127.0.0.1', port)).close()
        # The child still lives, and keeps neither the port nor the connection nor the claim.
        node.stop()
        assert running(port) is None
        assert client.recv(1) == b''
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', port))
        Node(port=port).stop()
    finally:
        os.close(hold)
        os.waitpid(child, 0)
        client.close()
        for descriptor in (ready, told, release):
            os.close(descriptor)


def test_a_child_forked_by_a_node_that_is_killed_keeps_nothing_of_it(port: int) -> None:
    program = f"""
import os, sys
from proxystore.node import Node
node = Node(port={port})
if os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, '-c', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        found = running(port)
        assert found is not None
        assert found.pid == process.pid
        process.kill()
        process.wait()
        os.kill(child, 0)
        assert running(port) is None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(('127.0.0.1', port))
        Node(port=port).stop()


def test_an_unstopped_node_leaves_nothing_at_the_exit(port: int) -> None:
    program = f'from proxystore.node import Node\nnode = Node(port={port})'
    subprocess.run([sys.executable, '-c', program], check=True, timeout=60)
    assert running(port) is None
    assert not socket_of(port).exists()


def test_signals_are_for_the_program_and_not_for_the_threads_of_its_node(port: int) -> None:
    with Node(port=port):
        received: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert received == [signal.SIGUSR1]
