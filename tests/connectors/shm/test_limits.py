"""Where room, descriptors or addresses run out."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest

from proxystore.connectors.exceptions import (
    ConnectorOSError,
)
from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
from tests.connectors.shm.support import LARGE, array, python


class TestRoom:
    def test_a_budget_is_kept(self, memory: str) -> None:
        with ShmConnector(directory=memory, budget=10 << 20) as connector:
            keys = [connector.put(bytes(LARGE)) for _ in range(2)]
            with pytest.raises(ConnectorOSError, match='budget'):
                connector.put(bytes(LARGE))
            assert all(connector.exists(key) for key in keys)
            connector.evict(keys[0])
            connector.put(bytes(LARGE))

    def test_what_does_not_fit_is_spilled(self, memory: str, tmp_path: Path) -> None:
        spill = tmp_path / 'spill'
        spill.mkdir()
        with Store('spill', ShmConnector(directory=memory, budget=10 << 20, spill=spill)) as store:
            keys = [store.put(array(seed=seed)) for seed in range(6)]
            assert list(spill.iterdir())
            views = [store.get(key) for key in keys]
            for key in keys:
                store.evict(key)
            assert not list(spill.iterdir())
            for seed, view in enumerate(views):
                np.testing.assert_array_equal(view, array(seed=seed))

    def test_more_than_the_machine_has_is_refused_before_anything_is_written(
        self, memory: str
    ) -> None:
        with ShmConnector(directory=memory) as connector:
            block = bytes(64 << 20)
            too_much = [block] * 4096
            with pytest.raises(ConnectorOSError, match='room'):
                connector.put(too_much)
            assert not list(Path(memory, 'default').glob('s*'))

    def test_many_small_objects(self, connector: ShmConnector) -> None:
        keys = [connector.put(index.to_bytes(4, 'little') * 25) for index in range(100_000)]
        assert len(set(keys)) == len(keys)
        found = connector.get_batch(keys[::97])
        assert found == [index.to_bytes(4, 'little') * 25 for index in range(0, 100_000, 97)]
        for key in keys:
            connector.evict(key)

    def test_descriptors_are_not_leaked(self, connector: ShmConnector) -> None:
        before = len(os.listdir('/proc/self/fd'))
        views = [connector.get(connector.put(bytes(LARGE))) for _ in range(10)]
        assert len(os.listdir('/proc/self/fd')) == before
        del views


def test_address_space_limits_are_answered(memory: str) -> None:
    code = """
import resource, sys
from proxystore.connectors.exceptions import ConnectorError
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(directory=sys.argv[1])
key = connector.put(bytes(40_000_000))
used = int(open('/proc/self/statm').read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000, resource.RLIM_INFINITY))
try:
    connector.get(key)
except (ConnectorError, MemoryError) as error:
    print(type(error).__name__, error)
"""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert 'overcommit_memory' in python(code, memory).stdout
