"""What nodes say about themselves to those who ask."""

from __future__ import annotations

import json
import os
import pathlib
import re

import pytest

from proxystore.connectors.exceptions import ConnectorPermissionError, ConnectorUnavailableError
from proxystore.connectors.tcp import TCPConnector
from proxystore.node import Node, start, status
from proxystore.node.cli import main


def test_it_is_what_the_node_says_itself(port: int) -> None:
    with Node(port=port) as node:
        asked = status(port=port)
        assert asked.keys() == node.status().keys()
        assert asked['pid'] == os.getpid()
        assert asked['connections'] == 1


def test_every_number_is_described(port: int) -> None:
    page = pathlib.Path(__file__).parents[2] / 'docs' / 'connectors' / 'tcp.md'
    described = set(re.findall(r'`(\w+)`', page.read_text().partition('## What it tells')[2]))
    with Node(port=port) as node, TCPConnector(port=port) as connector:
        connector.put(b'x')
        (numbers,) = connector.statistics().values()
        assert not (node.status().keys() | numbers.keys()) - described
        assert (numbers['operations'], numbers['sent_bytes']) == (1, 1)


def test_by_tcp_it_takes_the_secret(port: int) -> None:
    with Node(port=port, secret='a secret of some length', unix=False):
        found = status(port=port, secret='a secret of some length', unix=False)
        assert found['pid'] == os.getpid()
        with pytest.raises(ConnectorPermissionError):
            status(port=port, unix=False)


def test_where_there_is_no_node(port: int) -> None:
    with pytest.raises(ConnectorUnavailableError):
        status(port=port)


def test_the_command(port: int, own_home: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['status', f'--port={port}']
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith('proxystore-node: ')
    node = start(port=port, budget=64_000_000)
    assert main([*arguments, '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found['pid'], found['budget_bytes']) == (node.pid, 64_000_000)
    assert main(arguments) == 0
    assert '64 MB' in capsys.readouterr().out
