"""The connector over servers of every kind, as the suites see it."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

import redis
from proxystore import _native
from proxystore.conformance import Subject
from proxystore.connectors.file import FileKey
from proxystore.connectors.redis import RedisConnector, RedisKey
from tests.support.servers import PASSWORD, RedisCluster, RedisServer, Servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = 'objects:'
#: Cases that stop servers or cut connections, which the native suite does.
UNTESTABLE = {'deadline-ends-operations', 'lost-server-is-reconnected'}
#: Ways to reach a server: the server's name, and options beside host and port.
SETTINGS = ('redis-7', 'redis-8', 'valkey-9', 'cluster', 'password', 'tls', 'mutual-tls', 'unix')


def capabilities() -> dict[str, Any]:
    (row,) = (row for row in _native.connectors() if row['kind'] == 'redis')
    return row['capabilities']


def reach(servers: Servers, setting: str) -> tuple[Any, dict[str, Any]]:
    """A server and the connector's options that reach it."""
    server = servers['redis-7' if setting == 'unix' else setting]
    options = dict(server.address)
    if setting == 'unix':
        options = {'path': server.socket_path}
    elif setting == 'cluster':
        options['cluster'] = True
    elif setting == 'password':
        file = servers.directory / 'secret'
        file.touch(mode=0o600)
        file.write_text(PASSWORD)
        options['password'] = f'file:{file}'
    elif setting == 'tls':
        options['authority'] = str(servers.authority.certificate)
    elif setting == 'mutual-tls':
        client = servers.authority.issue('client')
        options |= {
            'authority': str(servers.authority.certificate),
            'certificate': str(client.certificate),
            'certificate_key': str(client.key),
        }
    return server, options


class ServedSubject(Subject):
    """The connector over a server that runs already."""

    capabilities: ClassVar = {
        **capabilities(),
        # On its way through a method of Python that takes `bytes`, an object is copied.
        'transit_memory': None,
    }
    key_type = RedisKey

    def __init__(self, server: RedisServer | RedisCluster, options: dict[str, Any]) -> None:
        self.nodes = server.nodes if isinstance(server, RedisCluster) else [server]
        self.options = {'prefix': PREFIX, **options}

    def open(self) -> RedisConnector:
        return RedisConnector(**self.options)

    def forged_keys(self) -> list[Any]:
        texts = ('', 'x' * 1000, 'a\0b', 'a\r\nb')
        return [*map(RedisKey, texts), FileKey('0' * 36)]

    def stored(self) -> list[str]:
        found: list[str] = []
        for node in self.nodes:
            with self._client(node) as client:
                found += [key.decode() for key in client.scan_iter()]
        return sorted(found)

    def damage(self, key: Any, damage: str) -> bool:
        for node in self.nodes:
            with self._client(node) as client:
                if not _has(client, key.redis_key):
                    continue
                data = bytearray(client.get(key.redis_key))
                if damage == 'flipped bit':
                    data[len(data) // 2] ^= 1
                elif damage == 'truncated':
                    data.pop()
                else:
                    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
                client.set(key.redis_key, bytes(data))
                return True
        return False

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        for node in self.nodes:
            with self._client(node) as client:
                used = client.info('memory')['used_memory']
                client.config_set('maxmemory', used + (1 << 20))
        try:
            yield
        finally:
            for node in self.nodes:
                with self._client(node) as client:
                    client.config_set('maxmemory', 0)

    def plant(self) -> Any:
        node = self.nodes[-1]
        # In a slot of the cluster's last node.
        name = 'other'
        with self._client(node) as client:
            client.set(name, 'mine')

        def is_there() -> bool:
            with self._client(node) as client:
                return bool(client.exists(name))

        return is_there

    def _client(self, node: RedisServer) -> Any:
        return node.client(password=PASSWORD if 'password' in self.options else None)


class RedisSubject(ServedSubject):
    """The connector over a server of its own."""

    def __init__(self, directory: Path) -> None:
        server = RedisServer(directory / 'redis')
        weakref.finalize(self, server.stop)
        super().__init__(server, server.address)


def _has(client: redis.Redis, key: str) -> bool:
    try:
        return bool(client.exists(key))
    except redis.exceptions.MovedError:
        # Another node of the cluster has it.
        return False
