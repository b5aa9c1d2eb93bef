"""Connector that keeps objects in a Redis, Valkey or KeyDB server.

Any process that reaches the server can use it, and so can ProxyStore 1.1.0: each reads what the
other stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from proxystore.connectors.native import NativeDeferrableConnector
from proxystore.serialize import BytesLike
from proxystore.utils._paths import absolute

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ['BytesLike', 'RedisConnector', 'RedisKey']


class RedisKey(NamedTuple):
    """Key of an object in a server.

    Attributes:
        redis_key: The server's key of the object. That of an object that was
            put names its length and checksum as well.
    """

    redis_key: str


class RedisConnector(NativeDeferrableConnector[RedisKey]):
    """Connector that keeps objects in a Redis, Valkey or KeyDB server.

    The server is named by `hostname` and `port`, by `path`, by `url` or by
    `sentinel`. Nothing is connected before the first operation.

    Args:
        hostname: Name or address of the server.
        port: Port of the server.
        clear: Remove all keys of the database at `close()`, whoever stored
            them; with a `prefix`, only those that begin with it.
        url: Where the server is: `redis://`, `rediss://` (TLS) or `unix://`,
            with user, password and database if need be.
        path: The server's Unix socket.
        username: User to log in as. `None` is the server's default user.
        password: Password, as `env:NAME` or `file:PATH`, which whoever gets a
            proxy looks up for itself, or the password itself, which works in
            this process only.
        database: Number of the database.
        tls: Whether the server expects TLS.
        authority: File with the certificates of the authorities to trust (PEM).
            `None` trusts those of the system.
        certificate: File with this client's certificate (PEM).
        certificate_key: File with the key of that certificate (PEM).
        cluster: Whether the server is one of a Redis Cluster.
        sentinel: Sentinels to ask for the server, each `host:port`.
        sentinel_master: Name by which the sentinels know the server.
        sentinel_username: User to log in at the sentinels as.
        sentinel_password: Their password, like `password`.
        timeout: Seconds after which an operation fails, and one more for each
            MB that it moves.
        ttl: Seconds after which the server removes an object. `None` keeps it
            until it is evicted.
        prefix: What the names of all objects begin with.
        part_size: Bytes from which on an object is stored in parts; at most
            the server's `proto-max-bulk-len`.

    Raises:
        ConnectorConfigError: If an option is ill-typed, out of range or
            contradicts another.
    """

    kind: ClassVar[str] = 'redis'
    key_type: ClassVar[type[tuple[Any, ...]]] = RedisKey
    secrets: ClassVar[frozenset[str]] = frozenset({'password', 'sentinel_password'})
    #: `set` takes keys that `new_key` made, and no others.
    replaces: ClassVar[bool] = False

    def __init__(
        self,
        hostname: str | None = None,
        port: int | None = None,
        clear: bool = False,
        *,
        url: str | None = None,
        path: str | os.PathLike[str] | None = None,
        username: str | None = None,
        password: str | None = None,
        database: int | None = None,
        tls: bool | None = None,
        authority: str | os.PathLike[str] | None = None,
        certificate: str | os.PathLike[str] | None = None,
        certificate_key: str | os.PathLike[str] | None = None,
        cluster: bool = False,
        sentinel: Sequence[str] | None = None,
        sentinel_master: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        timeout: float = 60.0,
        ttl: float | None = None,
        prefix: str = '',
        part_size: int | None = None,
    ) -> None:
        options: dict[str, Any] = {
            'hostname': hostname,
            'port': port,
            'clear': clear,
            'url': url,
            'path': absolute(path),
            'username': username,
            'password': password,
            'database': database,
            'tls': tls,
            'authority': absolute(authority),
            'certificate': absolute(certificate),
            'certificate_key': absolute(certificate_key),
            'cluster': cluster,
            'sentinel': sentinel,
            'sentinel_master': sentinel_master,
            'sentinel_username': sentinel_username,
            'sentinel_password': sentinel_password,
            'timeout': timeout,
            'ttl': ttl,
            'prefix': prefix,
            'part_size': part_size,
        }
        super().__init__(**{name: value for name, value in options.items() if value is not None})
        config = self.config()
        self.hostname: str | None = config.get('hostname')
        self.port: int | None = config.get('port')
        self.clear: bool = clear

    def __repr__(self) -> str:
        options = ', '.join(f'{name}={value}' for name, value in self.config().items())
        return f'{type(self).__name__}({options})'

    @classmethod
    def from_url(cls, url: str, clear: bool = False, **options: Any) -> Self:
        """Make a connector to the server that a URL names.

        ```python
        RedisConnector.from_url('rediss://user:env%3AREDIS_PASSWORD@example.org:6379/1')
        RedisConnector.from_url('unix:///run/redis/redis.sock', prefix='results:')
        ```

        Args:
            url: URL of the server, as the constructor takes it.
            clear: As the constructor takes it.
            options: Further arguments of the constructor.

        Raises:
            ConnectorConfigError: If the URL or an option is wrong.
        """
        return cls(url=url, clear=clear, **options)
