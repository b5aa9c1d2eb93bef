"""Nodes and connectors to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.tcp import TCPConnector
from proxystore.node import Node
from proxystore.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def at_home(own_home: Path) -> None:
    """Every test has a home of its own."""


@pytest.fixture(params=['unix', 'tcp', 'tls'])
def connector(request: pytest.FixtureRequest, own_home: Path) -> Iterator[TCPConnector]:
    """A connector whose node is in this process, on each way to it.

    Its secret is a file's that children find whatever their environment is: a fork server has that
    of whoever started it.
    """
    secret = own_home.parent / 'secret'
    secret.touch(mode=0o600)
    secret.write_text('what everybody here knows')
    options: dict[str, Any] = {
        'secret': f'file:{secret}',
        'unix': request.param == 'unix',
        'encrypt': True if request.param == 'tls' else None,
    }
    with (
        Node(port=0, **options) as node,
        TCPConnector(port=node.port, node='join', **options) as connector,
    ):
        yield connector


@pytest.fixture
def store(connector: TCPConnector) -> Iterator[Store[TCPConnector]]:
    """A store over it, that caches nothing."""
    with Store('tcp', connector, cache_size=0, register=True) as store:
        yield store
