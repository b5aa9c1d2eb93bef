"""Connectors for loops, and one whose operations end when a test says so."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvloop

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.connectors.redis import RedisConnector
from proxystore.connectors.shm import ShmConnector
from proxystore.connectors.tcp import TCPConnector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.servers import Servers

RUNNERS: dict[str, Callable[..., Any]] = {'asyncio': asyncio.run, 'uvloop': uvloop.run}
KINDS = ('file', 'local', 'multi', 'redis', 'shm', 'tcp', 'threaded')
#: Those that make keys for objects to come.
DEFERRABLE = tuple(kind for kind in KINDS if kind != 'multi')
#: Seconds after which what should have happened has not.
PATIENCE = 60.0


class ThreadedConnector:
    """A third party's connector: it has the methods of the protocol, and no asynchronous ones."""

    def __init__(self) -> None:
        self.inner = LocalConnector()

    def __getattr__(self, name: str) -> Any:
        if name in ('aclose', 'fetch') or (name[:1] == 'a' and name[1:] in OPERATIONS):
            raise AttributeError(name)
        return getattr(self.inner, name)


OPERATIONS = ('close', 'evict', 'exists', 'get', 'get_batch', 'put', 'put_batch', 'set')


class GatedConnector(LocalConnector):
    """A third party's connector whose synchronous methods wait until they are let through."""

    aget = aput = aput_batch = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def _wait(self) -> None:
        self.entered.release()
        assert self.gate.wait(PATIENCE)

    def get(self, key: Any) -> Any:
        self._wait()
        return super().get(key)

    def put(self, obj: Any) -> Any:
        self._wait()
        return super().put(obj)


def own_namespace() -> str:
    """A namespace of shared memory that this thread of this process has for itself."""
    return f'test-{os.getpid()}-{threading.get_native_id()}'


def open_connector(kind: str, directory: Path, servers: Servers) -> Any:
    """A connector of some kind, over storage of its own."""
    if kind == 'file':
        return FileConnector(directory / 'objects')
    if kind == 'shm':
        return ShmConnector(own_namespace(), hold=0)
    if kind == 'local':
        return LocalConnector()
    if kind == 'threaded':
        return ThreadedConnector()
    if kind == 'tcp':
        return TCPConnector(port=0)
    if kind == 'multi':
        small = FileConnector(directory / 'small')
        large = LocalConnector()
        return MultiConnector(
            {'small': (small, Policy(1, max_size_bytes=1000)), 'large': (large, Policy())}
        )
    return RedisConnector(**servers['redis-7'].address, clear=True, prefix=f'{directory.name}:')


class SilentServer:
    """Takes connections and whatever is sent on them, and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port = self._listener.getsockname()[1]
        self.connections: list[socket.socket] = []
        self.received = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> SilentServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(1 << 16):
                    self.received.release()
            except OSError:
                pass
            self.ended.release()
