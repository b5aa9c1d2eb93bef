"""Proxies through Parsl: as any other objects, and by its serializer that makes proxies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import parsl
import pytest
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.executors.threads import ThreadPoolExecutor
from parsl.providers import LocalProvider
from parsl.serialize import deserialize, facade, serialize
from parsl.serialize.proxystore import ProxyStoreSerializer

from proxystore.connectors.file import FileConnector
from proxystore.proxy import Proxy, is_resolved
from proxystore.store import Store
from tests.integration.functions import double, is_proxy, look, unresolved


@pytest.fixture(scope='module')
def store(tmp_path_factory: pytest.TempPathFactory):
    """One store for all tests: Parsl starts its workers once."""
    connector = FileConnector(str(tmp_path_factory.mktemp('parsl') / 'objects'))
    with Store('parsl', connector) as store:
        yield store


@pytest.fixture(scope='module')
def parsl_kernel(tmp_path_factory: pytest.TempPathFactory):
    """Parsl with real worker processes and with threads."""
    # Its commands stand beside the interpreter; the workers must find the tests' functions.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PATH', f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
        patch.setenv('PYTHONPATH', str(Path(__file__).parents[2]))
        config = Config(
            executors=[
                HighThroughputExecutor(
                    label='processes',
                    address='127.0.0.1',
                    encrypted=False,
                    max_workers_per_node=1,
                    provider=LocalProvider(init_blocks=1, max_blocks=1),
                ),
                ThreadPoolExecutor(label='threads', max_threads=2),
            ],
            run_dir=str(tmp_path_factory.mktemp('parsl-runs')),
            strategy='none',
            # Parsl does not close its log file.
            initialize_logging=False,
        )
        with parsl.load(config) as kernel:
            yield kernel


@pytest.fixture(params=['processes', 'threads'])
def run(request: pytest.FixtureRequest, parsl_kernel):
    """Runs a function as a Parsl app and waits for its result."""

    def run(function: Any, *args: Any, **kwargs: Any) -> Any:
        app = parsl.python_app(function, executors=[request.param], data_flow_kernel=parsl_kernel)
        return app(*args, **kwargs).result(timeout=30)

    run.in_processes = request.param == 'processes'
    return run


@pytest.fixture
def proxying(store: Store):
    """Has Parsl proxy every array that it serializes."""
    serializer = ProxyStoreSerializer(should_proxy=lambda obj: type(obj) is np.ndarray, store=store)
    methods = dict(facade.methods_for_data)
    # The first method that takes an object is used.
    facade.methods_for_data.clear()
    facade.register_method_for_data(serializer)
    facade.methods_for_data.update(methods)
    yield serializer
    facade.methods_for_data.clear()
    facade.methods_for_data.update(methods)


def test_proxy_is_an_argument_like_any_other(run, store: Store) -> None:
    proxy = unresolved(store, [1, 2])
    kind, _, value, resolved = run(look, proxy)
    assert (kind, value, resolved) == ('Proxy', [1, 2], True)


def test_proxy_is_a_result_like_any_other(run, store: Store) -> None:
    # A tuple: whatever can be called goes into a cache of Parsl's that hashes it.
    result = run(_proxy_of, store.config(), (1, 2))
    assert type(result) is Proxy
    assert result == (1, 2)


def _proxy_of(config: Any, value: Any) -> Any:
    from proxystore.store import get_or_create_store

    return get_or_create_store(config).proxy(value)


def test_proxies_in_collections(run, store: Store) -> None:
    proxy = unresolved(store, [1, 2])
    assert run(_sum_nested, {'a': [proxy]}, more=(proxy,)) == 6


def _sum_nested(nested: Any, more: Any) -> int:
    return sum(nested['a'][0]) + sum(more[0])


def test_result_of_one_app_is_argument_of_the_next(run, store: Store) -> None:
    assert run(look, run(double, unresolved(store, [1])))[2] == [1, 1]


@pytest.mark.usefixtures('proxying')
def test_serializer_proxies_arguments_and_results(run) -> None:
    array = np.arange(10)
    assert run(is_proxy, array) is run.in_processes
    assert not run(is_proxy, [1, 2])
    assert run(double, array).tolist() == (array * 2).tolist()


@pytest.mark.usefixtures('proxying')
def test_serializer_keeps_proxies_as_they_are(store: Store) -> None:
    proxy = unresolved(store, np.arange(3))
    data = serialize([proxy, {'inner': [proxy]}])
    assert not is_resolved(proxy)
    first, nested = deserialize(data)
    assert first is nested['inner'][0]
    assert type(first) is Proxy
    assert not is_resolved(first)
    assert first.tolist() == [0, 1, 2]


@pytest.mark.usefixtures('proxying')
def test_serializer_looks_inside_objects() -> None:
    again = deserialize(serialize({'array': np.arange(3), 'list': [1, 2]}))
    assert type(again['array']) is Proxy
    assert not is_resolved(again['array'])
    assert again['array'].tolist() == [0, 1, 2]
    assert again['list'] == [1, 2]
