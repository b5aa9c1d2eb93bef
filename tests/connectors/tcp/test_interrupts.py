"""Signals during operations."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxystore.connectors.tcp import TCPConnector

LARGE = bytes(10_000_000)


@pytest.fixture
def handled(connector: TCPConnector) -> Iterator[list[bool]]:
    """What a handler of `SIGUSR1` has found by the connector that it interrupted."""
    key = connector.put(LARGE)
    found: list[bool] = []

    def handle(*_: object) -> None:
        value = connector.get(key)
        found.append(value is not None and bytes(value) == LARGE)
        connector.evict(connector.put(LARGE))

    before = signal.signal(signal.SIGUSR1, handle)
    yield found
    signal.signal(signal.SIGUSR1, before)


def test_a_handler_uses_the_connector_that_it_interrupts(
    connector: TCPConnector, handled: list[bool]
) -> None:
    for count in range(1, 6):
        key = connector.put(LARGE)
        begun = threading.Event()

        def interrupt(begun: threading.Event = begun) -> None:
            # The interpreter is free for this thread once the operation has left it.
            begun.wait()
            os.kill(os.getpid(), signal.SIGUSR1)

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        begun.set()
        value = connector.get(key)
        interrupter.join()
        assert value is not None
        assert bytes(value) == LARGE
        connector.evict(key)
        assert handled == [True] * count
