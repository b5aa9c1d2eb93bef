"""Nodes that outlive whoever started them, and the command for them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxystore.connectors.exceptions import (
    ConnectorConfigError,
    ConnectorError,
    ConnectorTimeoutError,
    ConnectorUnavailableError,
)
from proxystore.node import Node, running, start, stop
from proxystore.node.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = 'a secret of some length'


def command_line(pid: int) -> str:
    return Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode()


def test_it_starts_answers_and_stops(port: int, own_home: Path) -> None:
    node = start(port=port)
    assert node == running(port)
    assert node.is_daemon
    assert node.address == f'127.0.0.1:{port}'
    socket.create_connection(('127.0.0.1', port)).close()
    assert start(port=port) == node
    assert stop(port)
    assert running(port) is None
    assert not stop(port)
    log = own_home / f'node-{port}.log'
    assert log.stat().st_mode & 0o777 == 0o600
    assert f'process {node.pid} is the node' in log.read_text()
    assert start(port=port).pid != node.pid


def test_it_is_nobodys_child_and_of_no_terminal(port: int) -> None:
    node = start(port=port)
    assert os.getsid(node.pid) not in {os.getsid(0), os.getpid()}
    with pytest.raises(ChildProcessError):
        os.waitpid(node.pid, os.WNOHANG)
    for number in range(3):
        target = os.readlink(f'/proc/{node.pid}/fd/{number}')
        assert target == ('/dev/null' if number == 0 else target)
        assert target.startswith('/')
    assert os.readlink(f'/proc/{node.pid}/cwd') == '/'
    # Nothing that this process had open is kept open there.
    kept = {os.readlink(path) for path in Path(f'/proc/{node.pid}/fd').iterdir()}
    assert not [path for path in kept if path.endswith('.py')]


def test_one_of_many_who_start_it_at_once_does(port: int) -> None:
    nodes = []
    threads = [threading.Thread(target=lambda: nodes.append(start(port=port))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(nodes) == 4
    assert len(set(nodes)) == 1


def test_it_outlives_who_started_it(port: int) -> None:
    program = f'from proxystore.node import start\nprint(start(port={port}).pid)'
    output = subprocess.run(
        [sys.executable, '-c', program], check=True, capture_output=True, timeout=60
    ).stdout
    found = running(port)
    assert found is not None
    assert found.pid == int(output)


def test_a_killed_one_is_replaced(port: int) -> None:
    first = start(port=port)
    descriptor = os.pidfd_open(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    ended = select.poll()
    ended.register(descriptor, select.POLLIN)
    assert ended.poll(30_000)
    os.close(descriptor)
    assert running(port) is None
    assert start(port=port).pid != first.pid


def test_its_secret_is_nowhere_to_be_seen(port: int, own_home: Path) -> None:
    node = start(port=port, secret=SECRET)
    assert SECRET not in command_line(node.pid)
    assert SECRET.encode() not in Path(f'/proc/{node.pid}/environ').read_bytes()
    assert SECRET not in (own_home / f'node-{port}.log').read_text()


def test_what_is_wrong_is_said_by_who_starts_it(port: int) -> None:
    with pytest.raises(ConnectorConfigError, match='needs a secret'):
        start('0.0.0.0', port)
    with pytest.raises(ConnectorConfigError, match='fewer than'):
        start(port=port, secret='short')
    with pytest.raises(ConnectorConfigError, match='port=0'):
        start(port=0)
    with (
        socket.create_server(('127.0.0.1', port)),
        pytest.raises(ConnectorUnavailableError, match='is taken'),
    ):
        start(port=port)
    assert running(port) is None


def test_a_program_that_is_a_node_is_not_ended(port: int) -> None:
    with Node(port=port) as node:
        assert start(port=port) == running(port)
        with pytest.raises(ConnectorError, match=f'process {os.getpid()}'):
            stop(port)
        node.status()


def test_one_that_does_not_end_in_time_is_named(port: int) -> None:
    node = start(port=port)
    os.kill(node.pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectorTimeoutError, match=f'process {node.pid}'):
            stop(port, timeout=0.05)
    finally:
        os.kill(node.pid, signal.SIGCONT)


@pytest.fixture
def foreground(port: int) -> Iterator[subprocess.Popen[str]]:
    """A node that the command is itself."""
    arguments = [sys.executable, '-m', 'proxystore.node.cli', 'start', '--foreground']
    with subprocess.Popen(
        [*arguments, f'--port={port}'], stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground(
    port: int, foreground: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert foreground.stdout is not None
    line = foreground.stdout.readline()
    assert line == f'this process is the node at 127.0.0.1:{port}\n'
    found = running(port)
    assert found is not None
    assert found.pid == foreground.pid
    foreground.send_signal(number)
    assert foreground.wait(60) == 0
    assert running(port) is None


def test_the_command(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f'--port={port}']
    assert main(['start', *arguments, '--budget', '64MB']) == 0
    found = running(port)
    assert found is not None
    expected = f'process {found.pid} has become the node at 127.0.0.1:{port}\n'
    assert capsys.readouterr().out == expected
    assert main(['start', *arguments]) == 0
    assert capsys.readouterr().out == expected.replace('has become', 'is')
    assert main(['stop', *arguments]) == 0
    assert capsys.readouterr().out == f'the node on port {port} has ended\n'
    assert main(['stop', *arguments]) == 0
    assert capsys.readouterr().out == f'no node is on port {port}\n'


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['--secret', SECRET], 'env:NAME'),
        (['--budget', '1x'], 'unit'),
        (['--port', 'x'], 'port'),
    ],
)
def test_arguments_that_cannot_be_meant(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(['start', *arguments])
    assert text in capsys.readouterr().err


def test_what_goes_wrong_is_one_line(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['start', '--host', '0.0.0.0', f'--port={port}']) == 1
    output = capsys.readouterr()
    assert output.err.startswith('proxystore-node: 0.0.0.0 can be reached')
    assert output.err.count('\n') == 1


@pytest.mark.parametrize('port', ['0', '65536', '-1', 'http'])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['status', '--port', port])
    assert '--port' in capsys.readouterr().err
