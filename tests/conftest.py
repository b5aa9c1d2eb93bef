"""Fixtures of all suites."""

from __future__ import annotations

import copyreg
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.interpreter import Interpreter, upstream_python
from tests.support.processes import START_METHODS
from tests.support.servers import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope='session')
def upstream() -> Iterator[Interpreter]:
    """A process in which ProxyStore 1.1.0 is installed: the oracle."""
    with Interpreter(upstream_python()) as interpreter:
        yield interpreter


@pytest.fixture(scope='session')
def peer() -> Iterator[Interpreter]:
    """Another process of ours, that shares nothing with this one."""
    with Interpreter(sys.executable) as interpreter:
        yield interpreter


@pytest.fixture(scope='session')
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Redis and Valkey servers by name, each started when a test first asks for it."""
    with Servers(tmp_path_factory.mktemp('servers')) as servers:
        yield servers


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home, and beside it a place for the sockets of nodes, of this test alone."""
    # The path of a Unix socket must be short, whatever `TMPDIR` is.
    with tempfile.TemporaryDirectory('', 'px-', '/tmp', ignore_cleanup_errors=True) as directory:
        home = Path(directory, 'home')
        monkeypatch.setenv('PROXYSTORE_HOME', str(home))
        monkeypatch.setenv('XDG_RUNTIME_DIR', directory)
        yield home


@pytest.fixture(params=START_METHODS)
def start_method(request: pytest.FixtureRequest) -> str:
    """Each way of starting a child process in turn."""
    return str(request.param)


@pytest.fixture
def store_dir(tmp_path: Path) -> str:
    """Path of a directory for a file connector, not made yet."""
    return str(tmp_path / 'store')


@pytest.fixture(autouse=True)
def clean_registry() -> Iterator[None]:
    """No test sees a store that another one left registered.

    Leftovers are no failure: resolving a proxy registers its store by design.
    """
    _forget_stores()
    yield
    _forget_stores()


def _forget_stores() -> None:
    store = sys.modules.get('proxystore.store')
    if store is not None:
        store._stores.clear()


@pytest.fixture(autouse=True)
def plain_exceptions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Takes back, outside of the integration tests, what their frameworks teach pickle.

    Their imports make every exception need `tblib` where it is unpickled, and upstream's
    environment has none.
    """
    taught = {}
    if '/integration/' not in str(request.path):
        for kind, reducer in list(copyreg.dispatch_table.items()):
            if getattr(reducer, '__module__', '').startswith('tblib'):
                taught[kind] = copyreg.dispatch_table.pop(kind)
    yield
    copyreg.dispatch_table.update(taught)
