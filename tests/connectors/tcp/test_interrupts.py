"""Signals during operations."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.threads import meanwhile

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
        with meanwhile(os.kill, os.getpid(), signal.SIGUSR1):
            value = connector.get(key)
        assert value is not None
        assert bytes(value) == LARGE
        connector.evict(key)
        assert handled == [True] * count
