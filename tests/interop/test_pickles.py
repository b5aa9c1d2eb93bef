"""Pickles made by either implementation open in the other, and mean the same."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from tests.interop.cases import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.interpreter import Interpreter

all_cases = pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
known_to_upstream = pytest.mark.parametrize(
    'case', [case for case in CASES if case.upstream_opens], ids=lambda case: case.name
)


@pytest.fixture
def travel(tmp_path: Path) -> Callable[..., object]:
    """Pickles a case's object in one process and describes it in another."""

    def travel(
        case: Case,
        writer: Interpreter,
        reader: Interpreter,
        protocol: int = pickle.HIGHEST_PROTOCOL,
    ) -> object:
        directory = tmp_path / f'{writer.pid}-{reader.pid}-{protocol}'
        directory.mkdir()
        data = writer.run(case.maker, dir=str(directory), protocol=protocol)
        description = reader.run(case.opener, dir=str(directory), data=data)
        assert description is not None
        return _without(description, str(directory))

    return travel


@known_to_upstream
def test_ours_opens_upstreams(case: Case, upstream, peer, travel) -> None:
    assert travel(case, upstream, peer) == travel(case, upstream, upstream)


@known_to_upstream
def test_upstream_opens_ours(case: Case, upstream, peer, travel) -> None:
    assert travel(case, peer, upstream) == travel(case, upstream, upstream, protocol=4)


@all_cases
def test_ours_opens_ours(case: Case, upstream, peer, travel) -> None:
    ours = travel(case, peer, peer)
    if case.upstream_opens:
        assert ours == travel(case, upstream, upstream)


@pytest.mark.parametrize(
    'case',
    [case for case in CASES if not case.upstream_opens],
    ids=lambda case: case.name,
)
def test_ours_opens_what_upstream_pickles_but_cannot_open(case: Case, upstream, peer, travel):
    assert travel(case, upstream, peer) == travel(case, peer, peer)


# Statistics do not travel with every task. Of several proxies in one pickle each carries the
# configuration of its store, which is faster than to have the pickler look for it: from the third
# proxy of a store on that is larger.
LARGER = {'metrics', 'metrics_of_a_store', 'proxy_batch'}


@pytest.mark.parametrize(
    'case',
    [case for case in CASES if case.upstream_opens and case.name not in LARGER],
    ids=lambda case: case.name,
)
def test_ours_is_no_larger(case: Case, upstream, peer, tmp_path: Path) -> None:
    inputs = {'dir': str(tmp_path), 'protocol': pickle.HIGHEST_PROTOCOL}
    assert len(peer.run(case.maker, **inputs)) <= len(upstream.run(case.maker, **inputs))


@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('name', ['proxy', 'proxy_defaults', 'owned', 'future_set', 'multi_key'])
def test_every_protocol(name: str, protocol: int, upstream, peer, travel) -> None:
    case = next(case for case in CASES if case.name == name)
    expected = travel(case, upstream, upstream, protocol)
    assert travel(case, peer, upstream, protocol) == expected
    assert travel(case, upstream, peer, protocol) == expected


@pytest.mark.parametrize(
    'what',
    [
        'store',
        'ContextLifetime(store)',
        'LeaseLifetime(store, 60)',
        'StoreExecutor(ThreadPoolExecutor(1), store)',
        'copy.copy(store.owned_proxy([1]))',
        'copy.deepcopy(borrow(store.owned_proxy([1])))',
    ],
)
def test_neither_pickles_or_copies(what: str, upstream, peer, tmp_path: Path) -> None:
    code = f"""
import copy, pickle
from concurrent.futures import ThreadPoolExecutor
from proxystore.connectors.file import FileConnector
from proxystore.store import Store
from proxystore.store.executor import StoreExecutor
from proxystore.store.lifetimes import ContextLifetime, LeaseLifetime
from proxystore.store.ref import borrow
store = Store('s', FileConnector(dir))
try:
    pickle.dumps({what})
    result = 'pickled'
except Exception as e:
    result = 'refused'
"""
    assert upstream.run(code, dir=str(tmp_path)) == 'refused'
    assert peer.run(code, dir=str(tmp_path)) == 'refused'


def _without(description: object, path: str) -> object:
    """Takes out the path of the directory, in which any two journeys differ."""
    match description:
        case str():
            return description.replace(path, '<dir>')
        case list() | tuple():
            return [_without(part, path) for part in description]
        case dict():
            return {key: _without(value, path) for key, value in description.items()}
        case _:
            return description
