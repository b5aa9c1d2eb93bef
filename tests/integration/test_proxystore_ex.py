"""proxystore-ex imports and runs over this package.

Its UCX, Margo and DAOS connectors need libraries that PyPI does not have (ucp, pymargo, pydaos), so
only their import, or the error of it, can be tried here.
"""

from __future__ import annotations

import gc
import importlib
import pickle
import socket
import warnings

import pytest

from proxystore.connectors.protocols import Connector, DeferrableConnector
from proxystore.proxy import is_resolved
from proxystore.store import Store
from tests.integration.functions import came_by_proxy, look
from tests.support.processes import run_in_child

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    from proxystore_ex.connectors.dim.zmq import ZeroMQConnector

    import proxystore.ex

# Its connector leaves contexts and sockets of ZeroMQ to the collector.
pytestmark = pytest.mark.filterwarnings('ignore:Unclosed (context|socket):ResourceWarning')


@pytest.fixture(scope='module')
def zmq_connector():
    """A connector with a real server process, on a port that is free."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    with ZeroMQConnector(port, address='127.0.0.1') as connector:
        yield connector
    # While the warnings of what it leaves behind are still ignored.
    gc.collect()


@pytest.fixture
def zmq_store(zmq_connector, request: pytest.FixtureRequest):
    # Never closed: that would end the server, which the tests share.
    return Store(request.node.name, zmq_connector, register=True)


def test_connector_fits_our_protocols(zmq_connector) -> None:
    assert isinstance(zmq_connector, Connector)
    assert isinstance(zmq_connector, DeferrableConnector) is hasattr(zmq_connector, 'set')


def test_store_over_its_connector(zmq_store: Store) -> None:
    key = zmq_store.put([1, 2])
    assert zmq_store.exists(key)
    zmq_store.cache.evict(key)
    assert zmq_store.get(key) == [1, 2]
    keys = zmq_store.put_batch(['a', b'b' * 100_000])
    assert [zmq_store.get(key) for key in keys] == ['a', b'b' * 100_000]
    zmq_store.evict(key)
    assert not zmq_store.exists(key)
    assert zmq_store.get(key) is None


def test_array_over_its_connector(zmq_store: Store) -> None:
    import numpy as np

    array = np.arange(100_000.0)
    got = zmq_store.get(zmq_store.put(array))
    assert np.array_equal(got, array)
    got[:] = 0


def test_configuration_round_trips(zmq_store: Store) -> None:
    config = pickle.loads(pickle.dumps(zmq_store.config()))
    assert config.connector.kind == 'proxystore_ex.connectors.dim.zmq.ZeroMQConnector'
    assert config == zmq_store.config()
    again = config.connector.get_connector()
    try:
        assert again.get(again.put(b'x')) == b'x'
    finally:
        again.close(kill_server=False)


# Not by fork: a ZeroMQ context does not work in a forked child.
@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_proxies_over_its_connector(zmq_store: Store, method: str) -> None:
    proxy = zmq_store.proxy({'a': 1}, populate_target=False)
    assert run_in_child(method, look, proxy) == came_by_proxy({'a': 1})
    assert not is_resolved(proxy)


def test_all_of_it_is_reachable_as_proxystore_ex() -> None:
    assert proxystore.ex.__version__ == importlib.import_module('proxystore_ex').__version__


@pytest.mark.parametrize(
    'module',
    ['connectors.dim.models', 'connectors.dim.exceptions', 'connectors.dim.utils',
     'connectors.dim.zmq', 'connectors.dim.ucx', 'connectors.dim.margo', 'plugins.distributed'],
)  # fmt: skip
def test_its_modules_import(module: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        importlib.import_module(f'proxystore_ex.{module}')


def test_what_its_library_is_missing_for_says_so() -> None:
    with pytest.raises(ImportError, match='pydaos'):
        importlib.import_module('proxystore_ex.connectors.daos')
