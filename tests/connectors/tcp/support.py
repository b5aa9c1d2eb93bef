"""The connector over a node of its own, as the suites see it."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from proxystore import _native
from proxystore.conformance import Subject
from proxystore.connectors.file import FileKey
from proxystore.connectors.tcp import TCPConnector, TCPKey
from proxystore.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUDGET = 256 << 20
SECRET = 'what everybody here knows'
#: Cases that stop nodes or cut connections, which the native suite does, and those that damage what
#: nobody but the node can reach, or plant something beside it.
UNTESTABLE = {
    'close-spares-what-is-not-owned',
    'deadline-ends-operations',
    'flipped-bit-is-an-error',
    'half-written-object-is-an-error',
    'lost-server-is-reconnected',
    'truncated-object-is-an-error',
}


def capabilities() -> dict[str, Any]:
    """What the connector can do."""
    (row,) = (row for row in _native.connectors() if row['kind'] == 'tcp')
    abilities: dict[str, Any] = row['capabilities']
    return abilities


class TcpSubject(Subject):
    """A connector that joins a node."""

    capabilities: ClassVar = {
        **capabilities(),
        # On its way through a method of Python that takes `bytes`, an object is copied.
        'transit_memory': None,
    }
    key_type = TCPKey

    def __init__(self, directory: Path) -> None:
        # Its secret is a file's, which children find whatever their environment is.
        file = directory / 'secret'
        file.touch(mode=0o600)
        file.write_text(SECRET)
        self.secret = f'file:{file}'
        self.node = Node(port=0, secret=self.secret, budget=BUDGET, unix=False)
        weakref.finalize(self, self.node.stop)

    def open(self) -> TCPConnector:
        return TCPConnector(port=self.node.port, node='join', secret=self.secret, unix=False)

    def forged_keys(self) -> list[Any]:
        port, digits = self.node.port, '0' * 32
        return [
            TCPKey('../x', port, digits, digits),
            TCPKey('127.0.0.1', 0, digits, digits),
            TCPKey('127.0.0.1', port, digits, ''),
            TCPKey('127.0.0.1', port, 'x' * 32, digits),
            FileKey('0' * 36),
        ]

    def stored(self) -> list[str]:
        # A node says how many objects it has, not which.
        return [str(number) for number in range(self.node.status()['objects'])]

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        used = self.node.status()['memory_bytes']
        with self.open() as connector:
            filler = connector.put(bytes(BUDGET - used - (2 << 20)))
            yield
            connector.evict(filler)
