"""Slow networks: what moves arrives, small objects do not wait for large ones, what stands ends."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from proxystore.connectors.exceptions import ConnectorTimeoutError
from proxystore.connectors.redis import RedisConnector
from proxystore.connectors.tcp import TCPConnector
from proxystore.node import Node
from tests.support.relay import HOST, Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers import Servers

    Connect = Callable[..., Any]

SECRET = 'what client and node know'
#: Seconds on the way, in each direction.
DELAY = 0.05


@pytest.fixture(params=['tcp', 'redis'])
def over(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Opens connectors that reach their server over a network of some rate, in bytes a second."""
    relays: list[Relay] = []
    opened: list[Any] = []
    if request.param == 'tcp':
        node = Node(port=0, secret=SECRET, unix=False)
        port = node.port
    else:
        servers: Servers = request.getfixturevalue('servers')
        port = servers['redis-7'].port

    def connect(rate: float, timeout: float) -> Any:
        relays.append(Relay(port, rate=rate, delay=DELAY))
        if request.param == 'tcp':
            # In TLS, as the proof without it tells a relay from the node.
            options: dict[str, Any] = {'node': 'join', 'secret': SECRET, 'encrypt': True}
            opened.append(
                TCPConnector(port=relays[-1].port, unix=False, timeout=timeout, **options)
            )
        else:
            opened.append(RedisConnector(HOST, relays[-1].port, timeout=timeout))
        return opened[-1]

    yield connect
    for each in [*opened, *relays]:
        each.close()
    if request.param == 'tcp':
        node.stop()


@pytest.mark.parametrize('rate', [1.5e6, 5e6])
def test_objects_arrive(over: Connect, rate: float) -> None:
    # Without what each megabyte may take more, not all of them would.
    connector = over(rate, 2.0)
    data = os.urandom(4_000_000)
    key = connector.put(data)
    assert connector.get(key) == data
    keys = connector.put_batch([data[:1_000_000], b'x', data[:2_000_000]])
    assert connector.get_batch(keys) == [data[:1_000_000], b'x', data[:2_000_000]]

    async def wait() -> Any:
        key = await connector.aput(data)
        return await connector.aget(key)

    assert asyncio.run(wait()) == data


def test_small_objects_pass_large_ones(over: Connect) -> None:
    connector = over(4e6, 20.0)
    small = connector.put(b'small')
    large = connector.put(bytes(8_000_000))
    for operation in (
        lambda: connector.put(bytes(8_000_000)),
        lambda: connector.get(large),
    ):
        ended = threading.Event()

        def run(operation: Callable[[], Any] = operation, ended: threading.Event = ended) -> None:
            operation()
            ended.set()

        thread = threading.Thread(target=run)
        thread.start()
        passed = 0
        while not ended.is_set():
            assert connector.get(small) == b'small'
            assert connector.get(connector.put(b'another')) == b'another'
            passed += not ended.is_set()
        thread.join()
        # The large one takes two seconds, and these three round trips.
        assert passed > 0


def test_what_is_slower_ends(over: Connect) -> None:
    connector = over(2e5, 2.0)
    small = connector.put(b'small')
    with pytest.raises(ConnectorTimeoutError, match=HOST):
        connector.put(bytes(2_000_000))
    fast = over(1e8, 20.0)
    with pytest.raises(ConnectorTimeoutError, match=HOST):
        connector.get(_as_of(fast.put(bytes(2_000_000)), small))
    connector.close()
    # Nothing of it is in anybody's way.
    assert fast.get(fast.put(bytes(2_000_000))) == bytes(2_000_000)


def _as_of(key: Any, example: Any) -> Any:
    """A key of one connector, at the port at which another knows the server."""
    return key._replace(port=example.port) if hasattr(key, 'port') else key
