"""Fixtures of nodes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from proxystore import node
from tests.support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def at_home(own_home: Path) -> None:
    """Every test has a home of its own."""


@pytest.fixture
def port() -> Iterator[int]:
    """A free port, on which no daemon stays behind."""
    number = free_port()
    yield number
    found = node.running(number)
    if found is not None and found.is_daemon and found.pid != os.getpid():
        node.stop(number)
