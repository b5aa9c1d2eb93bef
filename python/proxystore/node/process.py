"""Nodes in this process, and what is known of those in others.

The one module of this package that imports the extension.
"""

from __future__ import annotations

import atexit
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from proxystore._native import Node as CoreNode
from proxystore._native import node_owner
from proxystore.connectors.native import report
from proxystore.utils._paths import absolute

if TYPE_CHECKING:
    import os
    from types import TracebackType

__all__ = [
    'HOSTNAME',
    'PORT',
    'DaemonNode',
    'Node',
    'NodeProcess',
    'node_options',
    'running',
    'status',
]

#: Where nodes listen, unless told.
HOSTNAME = '127.0.0.1'
#: The port of nodes, unless told.
PORT = 7337

#: Seconds that the clients of a node have when its process ends.
_AT_EXIT = 1.0

_PATHS = ('certificate', 'certificate_key', 'authority', 'spill')


class NodeProcess(NamedTuple):
    """A process of this user that is a node.

    Attributes:
        pid: Number of the process.
        is_daemon: Whether it does nothing else, so that
            [`stop`][proxystore.node.stop] may end it.
        address: Where it listens, as `host:port`; empty while it starts.
    """

    pid: int
    is_daemon: bool
    address: str


class Node:
    """A node in this process: it ends with it, and its objects with it.

    A forked child has no part in it.

    Args:
        hostname: Name or address to listen at, as those who use the objects
            reach it.
        port: Port. 0 is any that is free.
        secret: What all clients must know: `'env:NAME'`, `'file:PATH'`, or the
            secret itself, of 16 bytes at least. `None` is this user's own
            secret, and serves loopback addresses only.
        certificate: File with the certificate to show to clients, as PEM.
        certificate_key: File with the private key of the certificate.
        authority: File with the certificates that clients' must be signed by.
        budget: Most bytes of memory that objects may take. `None` is a quarter
            of what the machine or its control group has to spare.
        spill: Directory on a disk for what is over the budget. `None` refuses
            that instead.
        unix: Let processes of this user reach it by a Unix socket.
        encrypt: Encrypt connections by TCP. `None` encrypts all but those
            within this host.

    Raises:
        ConnectorConfigError: If an option is ill-typed or out of range, or a
            secret or certificate cannot be had.
        ConnectorPermissionError: If the port is a privileged one, or a
            directory belongs to somebody else.
        ConnectorUnavailableError: If the port is in use; `running` tells
            whether by a node.
    """

    def __init__(
        self,
        hostname: str = HOSTNAME,
        port: int = PORT,
        *,
        secret: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
        certificate_key: str | os.PathLike[str] | None = None,
        authority: str | os.PathLike[str] | None = None,
        budget: int | None = None,
        spill: str | os.PathLike[str] | None = None,
        unix: bool = True,
        encrypt: bool | None = None,
    ) -> None:
        options = node_options(
            hostname=hostname,
            port=port,
            secret=secret,
            certificate=certificate,
            certificate_key=certificate_key,
            authority=authority,
            budget=budget,
            spill=spill,
            unix=unix,
            encrypt=encrypt,
        )
        self._node = CoreNode(options)
        _NODES.add(self)

    @property
    def hostname(self) -> str:
        """Name or address of its host."""
        return self._node.address.rpartition(':')[0].strip('[]')

    @property
    def port(self) -> int:
        """Port that it listens at."""
        return int(self._node.address.rpartition(':')[2])

    def status(self) -> dict[str, int]:
        """Tell what it holds and does.

        Returns:
            Numbers by name; those of bytes and seconds say so.

        Raises:
            ConnectorClosedError: If it has stopped.
        """
        return self._node.status()

    def stop(self, timeout: float = 10.0) -> bool:
        """Let clients finish what is under way, then stop. A second call does nothing.

        Args:
            timeout: Seconds that they have at most.

        Returns:
            Whether all have finished.
        """
        return self._node.stop(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.hostname!r}, {self.port})'


class DaemonNode(Node):
    """A node whose process does nothing else, so that whoever wants may end it.

    Args:
        options: Options by name.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._node = CoreNode({**options, 'daemon': True})
        _NODES.add(self)


_NODES: weakref.WeakSet[Node] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for node in list(_NODES):
        node.stop(_AT_EXIT)


def running(port: int = PORT) -> NodeProcess | None:
    """Find this user's node on a port of this host.

    Args:
        port: The port.

    Returns:
        The process that is the node, or `None`.

    Raises:
        ConnectorOSError: If it cannot be seen.
    """
    owner = node_owner(port)
    return None if owner is None else NodeProcess(*owner)


def status(hostname: str = HOSTNAME, port: int = PORT, **options: Any) -> dict[str, int]:
    """Ask a node what it holds and does.

    Args:
        hostname: Name or address of its host.
        port: Its port.
        options: Further options of a
            [`TCPConnector`][proxystore.connectors.tcp.TCPConnector] that
            reaches it: `secret`, certificates, `timeout` and the like.

    Returns:
        Numbers by name; those of bytes and seconds say so.

    Raises:
        ConnectorError: If it cannot be asked.
    """
    given = node_options(hostname=hostname, port=port, **options)
    (found,) = report('tcp', {**given, 'node': 'join'})
    return found


def node_options(**options: Any) -> dict[str, Any]:
    """Leave out what is not given, and make paths good in other processes.

    Args:
        options: Options by name.

    Returns:
        Those that are not `None`.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for name in _PATHS:
        if name in given:
            given[name] = absolute(given[name])
    secret = given.get('secret')
    if isinstance(secret, str) and secret.startswith('file:'):
        given['secret'] = f'file:{absolute(secret.removeprefix("file:"))}'
    return given
