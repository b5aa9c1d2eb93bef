"""Fixtures of the tests of shared memory."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def memory() -> Iterator[str]:
    """Directory for namespaces, in memory."""
    path = tempfile.mkdtemp(prefix='proxystore-tests-', dir='/dev/shm')
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def connector(memory: str) -> Iterator[ShmConnector]:
    with ShmConnector(directory=memory) as connector:
        yield connector


@pytest.fixture
def store(memory: str) -> Iterator[Store[ShmConnector]]:
    with Store('shm', ShmConnector(directory=memory), register=True) as store:
        yield store
