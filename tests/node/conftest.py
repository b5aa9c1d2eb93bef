"""Fixtures of nodes."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest

from proxystore import node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home, and a place for sockets, of this test alone."""
    home = tmp_path / 'home'
    monkeypatch.setenv('PROXYSTORE_HOME', str(home))
    # The path of a Unix socket must be short.
    with tempfile.TemporaryDirectory(prefix='px-') as directory:
        monkeypatch.setenv('XDG_RUNTIME_DIR', directory)
        yield home


@pytest.fixture
def port() -> Iterator[int]:
    """A free port, on which no daemon stays behind."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        number: int = free.getsockname()[1]
    yield number
    found = node.running(number)
    if found is not None and found.is_daemon and found.pid != os.getpid():
        node.stop(number)
