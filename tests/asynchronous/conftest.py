"""Fixtures for operations that loops wait for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.asynchronous.support import DEFERRABLE, KINDS, RUNNERS, SilentServer, open_connector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.servers import Servers


@pytest.fixture(params=sorted(RUNNERS))
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs a coroutine to its end in a loop of its own, of each kind in turn."""
    return RUNNERS[request.param]


def _opened(kind: str, directory: Path, servers: Servers) -> Iterator[Any]:
    connector = open_connector(kind, directory, servers)
    yield connector
    with contextlib.suppress(TypeError):
        connector.close(clear=True)
    connector.close()


@pytest.fixture(params=KINDS)
def connector(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Any]:
    """A connector of each kind in turn."""
    yield from _opened(request.param, tmp_path, servers)


@pytest.fixture(params=DEFERRABLE)
def deferrable(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Any]:
    """A connector of each kind that makes keys for objects to come."""
    yield from _opened(request.param, tmp_path, servers)


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    """A server that never answers."""
    with SilentServer() as server:
        yield server
