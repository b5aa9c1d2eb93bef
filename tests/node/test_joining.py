"""Connectors and the nodes that they find."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from proxystore.connectors.exceptions import ConnectorUnavailableError
from proxystore.connectors.tcp import TCPConnector
from proxystore.node import Node, running, start

if TYPE_CHECKING:
    from pathlib import Path


def test_a_connector_joins_a_node_and_a_daemon(port: int) -> None:
    with Node(port=port) as node, TCPConnector(port=port) as connector:
        key = connector.put(b'x' * 100)
        assert connector.get(key) == b'x' * 100
        assert node.status()['objects'] == 1
    start(port=port)
    with TCPConnector(port=port) as connector:
        key = connector.put(b'y' * 1_000_000)
        assert connector.get(key) == b'y' * 1_000_000
    with TCPConnector(port=port, node='join') as connector:
        assert connector.exists(key)


def test_a_node_whose_directory_of_sockets_is_another_is_joined_by_tcp(
    port: int, tmp_path: Path
) -> None:
    program = f"""
from proxystore.connectors.tcp import TCPConnector
connector = TCPConnector(port={port})
print(connector.put(b'theirs'), flush=True)
connector.close()
"""
    elsewhere = tmp_path / 'run'
    elsewhere.mkdir()
    with Node(port=port) as node:
        subprocess.run(
            [sys.executable, '-c', program],
            env={**os.environ, 'XDG_RUNTIME_DIR': str(elsewhere)},
            check=True,
            timeout=60,
        )
        assert node.status()['objects'] == 1


def test_a_port_that_something_else_has_is_named_at_once(port: int) -> None:
    def answer(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')

    with socket.create_server(('127.0.0.1', port)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        with pytest.raises(ConnectorUnavailableError, match='is taken'):
            TCPConnector(port=port)
        thread.join()
    assert running(port) is None


def test_many_processes_that_open_a_connector_at_once_share_one_node(port: int) -> None:
    program = f"""
import sys
from proxystore.connectors.tcp import TCPConnector
connector = TCPConnector(port={port})
print(*connector.put(b'one of many'), flush=True)
sys.stdin.readline()
connector.close()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    try:
        keys = []
        for process in processes:
            assert process.stdout is not None
            hostname, number, object_id, capability = process.stdout.readline().split()
            keys.append((hostname, int(number), object_id, capability))
        found = running(port)
        assert found is not None
        assert found.pid in {process.pid for process in processes}
        with TCPConnector(port=port, node='join') as connector:
            key_type = connector.key_type
            assert [connector.get(key_type(*key)) for key in keys] == [b'one of many'] * 6
    finally:
        for process in processes:
            process.communicate('\n', timeout=60)


def test_a_connector_starts_a_daemon_that_outlives_it(port: int) -> None:
    with TCPConnector(port=port, node='daemon') as connector:
        assert connector.capabilities()['outlives_process']
        key = connector.put(b'x')
    found = running(port)
    assert found is not None
    assert found.is_daemon
    with TCPConnector(port=port, node='join') as connector:
        assert connector.get(key) == b'x'
    # Another one joins it.
    with TCPConnector(port=port, node='daemon') as connector:
        assert connector.get(key) == b'x'
    again = running(port)
    assert again is not None
    assert again.pid == found.pid


def test_a_daemon_of_another_host_is_left_to_that_host(port: int) -> None:
    TCPConnector('203.0.113.1', port, node='daemon', secret='a secret of some length').close()
    assert running(port) is None
