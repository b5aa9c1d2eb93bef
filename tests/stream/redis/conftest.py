"""Servers for the tests of streams over Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Servers


@pytest.fixture
def server(servers: Servers) -> RedisServer:
    return servers['redis-7']


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that the test may stop."""
    with RedisServer(tmp_path_factory.mktemp('redis')) as server:
        yield server
