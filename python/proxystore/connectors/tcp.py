"""Connector that keeps objects in the memory of nodes, which serve them over the network."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar, Literal, NamedTuple

from proxystore.connectors.native import NativeDeferrableConnector
from proxystore.serialize import BytesLike
from proxystore.utils._paths import absolute

__all__ = ['BytesLike', 'TCPConnector', 'TCPKey']


class TCPKey(NamedTuple):
    """Key of an object in the memory of a node.

    Whoever has it, and may talk to the node, can get the object. Its text
    leaves out the capability, so that logs and errors open nothing.

    Attributes:
        hostname: Name or address of the node's host, as the connector that put
            the object was given it.
        port: Port of the node.
        object_id: Random number of the object, as 32 hexadecimal digits.
        capability: What opens this object and no other, as 32 hexadecimal
            digits.
    """

    hostname: str
    port: int
    object_id: str
    capability: str

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(hostname={self.hostname!r}, port={self.port!r}, '
            f'object_id={self.object_id!r}, capability=<hidden>)'
        )


class TCPConnector(NativeDeferrableConnector[TCPKey]):
    """Connector that keeps objects in the memory of nodes, which serve them over the network.

    A node runs at one port of a host, for all processes that use it: the first
    connector there starts it, others join it. Objects are put into the node
    that the connector is opened on, and got from the node that their key names.

    Args:
        hostname: Name or address of the node's host, as those who get the
            objects reach it. By default they must be on this host.
        port: Port of the node. 0 starts a node in this process on any free
            port.
        node: What to do if no node runs there: `'process'` starts one in this
            process, with which its objects end; `'daemon'` one that outlives
            it; `'join'` starts none.
        secret: What all who use the node must know: `'env:NAME'`,
            `'file:PATH'`, or the secret itself, of 16 bytes at least, which
            keeps proxies from being pickled. `None` is this user's own secret,
            in a file that is made on first use; it serves loopback addresses
            only.
        certificate: File with the certificate to show to the other side, as
            PEM, instead of a secret.
        certificate_key: File with the private key of the certificate.
        authority: File with the certificates that the other side's must be
            signed by.
        budget: Most bytes of memory that a node started here keeps objects in.
            `None` is a quarter of what the machine or its control group has.
        spill: Directory on a disk where a node started here keeps what is over
            its budget. `None` refuses that instead.
        unix: Reach a node on this host by a Unix socket, whose users the kernel
            tells apart.
        encrypt: Encrypt connections by TCP. `None` encrypts all but those
            within a host.
        timeout: Seconds that an operation may take, and one more for each
            megabyte.
        clear: Evict every object of the node at an explicit `close()`.

    Raises:
        ConnectorConfigError: If an option is ill-typed or out of range, or a
            secret or certificate cannot be had.
        ConnectorPermissionError: If the node and this side do not trust each
            other.
        ConnectorUnavailableError: If there is no node and none can be started.
    """

    kind: ClassVar[str] = 'tcp'
    key_type: ClassVar[type[tuple[Any, ...]]] = TCPKey
    secrets: ClassVar[frozenset[str]] = frozenset({'secret'})

    def __init__(
        self,
        hostname: str = '127.0.0.1',
        port: int = 7337,
        *,
        node: Literal['process', 'daemon', 'join'] = 'process',
        secret: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
        certificate_key: str | os.PathLike[str] | None = None,
        authority: str | os.PathLike[str] | None = None,
        budget: int | None = None,
        spill: str | os.PathLike[str] | None = None,
        unix: bool = True,
        encrypt: bool | None = None,
        timeout: float = 60.0,
        clear: bool = False,
    ) -> None:
        if node == 'daemon':
            _name_program()
        options: dict[str, Any] = {
            'hostname': hostname,
            'port': port,
            'node': node,
            'secret': secret,
            'certificate': absolute(certificate),
            'certificate_key': absolute(certificate_key),
            'authority': absolute(authority),
            'budget': budget,
            'spill': absolute(spill),
            'unix': unix,
            'encrypt': encrypt,
            'timeout': timeout,
            'clear': clear,
        }
        super().__init__(**{name: value for name, value in options.items() if value is not None})


def _name_program() -> None:
    """Let the native core find the program that starts daemons, whatever PATH says."""
    program = os.path.join(os.path.dirname(sys.executable), 'proxystore-node')  # noqa: PTH118, PTH120
    if os.access(program, os.X_OK):
        os.environ.setdefault('PROXYSTORE_NODE', program)
