"""Networks that lose everything: what is under way ends by its deadline and says with whom."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.namespaces import FAR, NOBODY
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.interpreter import Interpreter
    from tests.support.namespaces import Cable

#: Of every operation, in seconds, and one more for each megabyte that it moves.
TIMEOUT = 1.5
ENDINGS = {'ConnectorTimeoutError', 'ConnectorUnavailableError'}
#: By then whatever hangs has been hanging.
PATIENCE = 60.0


@dataclasses.dataclass
class Server:
    """Something on the far host that keeps objects.

    Attributes:
        kind: The connector to it.
        pid: Its process.
        port: Its port.
        connections: How many connections its clients have once all operations are under way.
        largest: Bytes of the largest object to put.
    """

    kind: str
    pid: int
    port: int
    connections: int
    largest: int

    def options(self, hostname: str = FAR) -> dict[str, Any]:
        """Arguments of the connector."""
        options = {'hostname': hostname, 'port': self.port, 'timeout': TIMEOUT}
        if self.kind == 'tcp':
            options |= {'node': 'join', 'secret': 'env:NODE_SECRET'}
        return options

    def unread(self) -> int:
        """Connections on which something has arrived that was not read."""
        lines = Path(f'/proc/{self.pid}/net/tcp').read_text().splitlines()
        rows = [line.split() for line in lines[1:]]
        return sum(
            int(local.rpartition(':')[2], 16) == self.port
            and state == '01'
            and int(queues.rpartition(':')[2], 16) > 0
            for _, local, _, state, queues, *_ in rows
        )


@pytest.fixture(params=['tcp', 'redis'])
def server(
    request: pytest.FixtureRequest, cable: Cable, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    if request.param == 'tcp':
        far: Interpreter = request.getfixturevalue('far')
        port = far.run(
            """
            import builtins
            from proxystore.node import Node
            builtins.node = Node(host, 0, secret='env:NODE_SECRET')
            result = builtins.node.port
            """,
            host=FAR,
        )
        assert far.pid is not None
        # Two of threads, for small objects and for large ones, and two of tasks.
        yield Server('tcp', far.pid, port, 4, 100_000_000)
        return
    directory = tmp_path_factory.mktemp('redis')
    with RedisServer(directory, hostname=FAR, within=cable.far) as redis:
        # One for each operation.
        yield Server('redis', redis.pid, redis.port, 10, 3_000_000)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


CONNECT = """
import builtins, importlib
module = importlib.import_module(f'proxystore.connectors.{kind}')
connector = getattr(module, {'tcp': 'TCPConnector', 'redis': 'RedisConnector'}[kind])(**options)
"""


def test_nobody_answers_who_connects(near: Interpreter, server: Server) -> None:
    outcomes = near.run(
        CONNECT
        + """
from tests.network import operations
keys = [connector.new_key(), connector.new_key()]
operations.begin(connector, keys, 1_000_000)
result = operations.outcomes()
""",
        kind=server.kind,
        options=server.options(NOBODY),
        timeout=PATIENCE,
    )
    assert len(outcomes) == 10
    for name, (kind, text) in outcomes.items():
        assert kind in ENDINGS, (name, text)
        assert f'{NOBODY}:{server.port}' in text, name


def test_everything_under_way_ends(near: Interpreter, cable: Cable, server: Server) -> None:
    near.run(
        CONNECT
        + """
from tests.network.operations import LARGE
builtins.connector = connector
builtins.keys = [connector.put(b'small'), connector.put(bytes(LARGE))]
""",
        kind=server.kind,
        options=server.options(),
    )
    # Nothing can end before the cable is cut.
    os.kill(server.pid, signal.SIGSTOP)
    try:
        names = near.run(
            """
            import builtins
            from tests.network import operations
            result = operations.begin(builtins.connector, builtins.keys, largest)
            """,
            largest=server.largest,
        )
        wait_until(lambda: server.unread() >= server.connections)
        cable.cut()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    outcomes = near.run(
        'from tests.network import operations; result = operations.outcomes()', timeout=PATIENCE
    )
    assert outcomes.keys() == set(names)
    for name, (kind, text) in outcomes.items():
        assert kind in ENDINGS, (name, text)
        assert f'{FAR}:{server.port}' in text, name
    cable.mend()
    found = near.run(
        """
        import builtins
        from proxystore.connectors.exceptions import ConnectorError
        _, large = builtins.keys
        while True:
            try:
                result = len(builtins.connector.get(large))
                break
            except ConnectorError:
                # What the hosts have to repeat to each other comes when it comes.
                pass
        """,
        timeout=PATIENCE,
    )
    assert found == 5_000_000


STREAMS = """
import builtins, threading
from proxystore.stream.shims import redis
from tests.network import operations
options = {'socket_timeout': timeout_}
queue = redis.RedisQueueSubscriber(host, port, 'queue', **options)
topic = redis.RedisSubscriber(host, port, 'topic', **options)
operations.start('queue', queue.next_message)
operations.start('topic', topic.next_message)
"""


def test_subscribers_learn_of_it(
    near: Interpreter, cable: Cable, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp('redis')
    with RedisServer(directory, hostname=FAR, within=cable.far) as redis, redis.client() as client:
        near.run(STREAMS, host=FAR, port=redis.port, timeout_=TIMEOUT)

        def are_waiting() -> bool:
            return {'blpop', 'subscribe'} <= {row['cmd'] for row in client.client_list()}

        wait_until(are_waiting)
        cable.cut()
        outcomes = near.run(
            'from tests.network import operations; result = operations.outcomes()',
            timeout=PATIENCE,
        )
        assert {name: kind for name, (kind, _) in outcomes.items()} == {
            'queue': 'ConnectorTimeoutError',
            'topic': 'SubscriberLostError',
        }
        for name, (_, text) in outcomes.items():
            assert f'{FAR}:{redis.port}' in text, name
