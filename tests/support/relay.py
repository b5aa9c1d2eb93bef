"""A relay between clients and a server, over which bytes travel as over a long, thin cable."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl

HOST = '127.0.0.1'

#: Bytes that are passed on at once, and how many such pieces are on their way on one connection.
_PIECE = 16 << 10
_PIECES = 16


class Link:
    """One direction of a network, which all connections over it share.

    Args:
        rate: Bytes that it carries in a second; None carries all at once.
        delay: Seconds that each byte is on its way beside that.
    """

    def __init__(self, rate: float | None, delay: float) -> None:
        self._rate = rate
        self._delay = delay
        self._free = 0.0
        self._lock = threading.Lock()

    def arrival(self, size: int) -> float:
        """When bytes that are sent now arrive, on the monotonic clock."""
        now = time.monotonic()
        if self._rate is None:
            return now + self._delay
        with self._lock:
            self._free = max(self._free, now) + size / self._rate
            return self._free + self._delay


class Relay:
    """Listens on the loopback device and passes everything on to a port there. A context manager.

    Args:
        port: Port of the server.
        rate: Bytes a second that pass in each direction; None passes all at once.
        delay: Seconds that each byte is on its way, in each direction.
        tls: Contexts for clients and for the server: with them, it ends the TLS of the one and
            begins another with the other.

    Attributes:
        port: The port that it listens at.
    """

    def __init__(
        self,
        port: int,
        *,
        rate: float | None = None,
        delay: float = 0.0,
        tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    ) -> None:
        self._server = port
        self._tls = tls
        self._links = Link(rate, delay), Link(rate, delay)
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections, and takes no others."""
        for each in (self._listener, *self._sockets):
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        server = socket.create_connection((HOST, self._server))
        if self._tls is not None:
            try:
                client = self._tls[0].wrap_socket(client, server_side=True)
                server = self._tls[1].wrap_socket(server)
            except OSError:
                _end(client)
                _end(server)
                return
        self._sockets += [client, server]
        for source, target, link in (
            (client, server, self._links[0]),
            (server, client, self._links[1]),
        ):
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pieces: queue.Queue[tuple[float, bytes]] = queue.Queue(_PIECES)
            threading.Thread(target=_take, args=(source, link, pieces), daemon=True).start()
            threading.Thread(target=_give, args=(target, pieces), daemon=True).start()


def _take(source: socket.socket, link: Link, pieces: queue.Queue[tuple[float, bytes]]) -> None:
    piece = b'x'
    while piece:
        try:
            piece = source.recv(_PIECE)
        except OSError:
            piece = b''
        pieces.put((link.arrival(len(piece)), piece))


def _give(target: socket.socket, pieces: queue.Queue[tuple[float, bytes]]) -> None:
    piece = b'x'
    is_open = True
    while piece:
        at, piece = pieces.get()
        time.sleep(max(0.0, at - time.monotonic()))
        if is_open and piece:
            try:
                target.sendall(piece)
            except OSError:
                # Whoever sends still has to be heard to the end.
                is_open = False
    _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
