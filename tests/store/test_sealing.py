"""Checksums that a connector makes while it copies, of sources that change meanwhile."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxystore.connectors.shm import ShmConnector
from proxystore.serialize import deserialize, serialize_buffers
from proxystore.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def connector() -> Iterator[ShmConnector]:
    directory = Path(tempfile.mkdtemp(prefix='proxystore-sealing-', dir='/dev/shm'))
    with ShmConnector(directory=directory) as connector:
        assert connector.capabilities()['seals']
        yield connector
    shutil.rmtree(directory)


@pytest.fixture
def source() -> Iterator[np.ndarray[Any, Any]]:
    """An array that another thread never stops to change."""
    array = np.zeros(1 << 20, dtype='u1')
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            array[:] += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield array
    finally:
        done.set()
        thread.join()


def test_what_changes_while_it_is_put_verifies_all_the_same(connector, source):
    torn = 0
    store = Store('store', connector, verify=True, cache_size=0)
    # The source changes within a copy sooner or later.
    while torn < 10:
        for keys in ([store.put([source, source[:100_000]])], store.put_batch([source, [source]])):
            for key in keys:
                got = store.get(key)
                got = got[0] if isinstance(got, list) else got
                torn += len(np.unique(got)) > 1
                del got
                store.evict(key)


def test_futures_are_sealed(connector, source):
    with Store('futures', connector, verify=True, cache_size=0, register=True) as store:
        future = store.future(polling_interval=0.001, polling_timeout=30)
        future.set_result({'a': source})
        assert future.result()['a'].shape == source.shape


def test_a_list_that_is_put_twice_is_sealed_each_time(connector):
    array = np.zeros(100_000)
    parts = serialize_buffers(array, compatible=False, checksums=True)
    for value in range(3):
        array[:] = value
        key = connector.put(parts)
        assert (deserialize(connector.get(key), verify=True) == value).all()
    # What was put before is as it was.
    array[:] = 7
    assert (deserialize(connector.get(key), verify=True) == 2).all()
