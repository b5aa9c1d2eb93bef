"""Objects that come later."""

from __future__ import annotations

import pickle
import threading

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.proxy import is_resolved
from proxystore.serialize import SerializationError, serialize
from proxystore.store import Store
from proxystore.store.exceptions import ProxyResolveMissingKeyError
from proxystore.store.future import Future
from proxystore.warnings import NewerFormatWarning


@pytest.fixture
def store():
    with Store('store', LocalConnector(), register=True) as store:
        yield store


def test_result_is_there_once_it_is_set(store):
    future: Future[list[int]] = store.future()
    assert not future.done()
    future.set_result([1])
    assert future.done()
    assert future.result() == [1]
    assert future.result() is future.result()


def test_proxy_waits_for_the_result(store):
    future = store.future(polling_interval=0.001)
    proxy = future.proxy()
    assert not is_resolved(proxy)
    timer = threading.Timer(0.02, future.set_result, ([1],))
    timer.start()
    assert proxy == [1]
    timer.join()


def test_result_can_be_replaced(store):
    future = store.future()
    future.set_result([1])
    assert future.result() == [1]
    future.set_result([2])
    assert future.result() == [2]


def test_none_is_a_result(store):
    future = store.future()
    future.set_result(None)
    assert future.done()
    assert future.result() is None


def test_waiting_ends_at_the_timeout(store):
    future = store.future(polling_interval=0.001, polling_timeout=0.005)
    with pytest.raises(ProxyResolveMissingKeyError):
        future.result()


def test_evicting_future_gives_its_result_once(store):
    future = store.future(evict=True)
    future.set_result([1])
    assert future.result() == [1]
    assert not future.done()


def test_serializer_and_deserializer(store):
    future = store.future(
        serializer=lambda obj: serialize(obj) + b'!', deserializer=lambda data: data[-1:]
    )
    future.set_result([1])
    assert future.result() == b'!'


def test_object_that_cannot_be_serialized(store):
    future = store.future()
    with pytest.raises(SerializationError, match=r'lock.*"store"'):
        future.set_result(threading.Lock())
    assert not future.done()


def test_another_process_sets_the_result(store_dir, peer):
    with Store('file', FileConnector(store_dir), register=True) as store:
        future = store.future(polling_interval=0.005, polling_timeout=30)
        peer.run(
            'import pickle; pickle.loads(future).set_result([1, 2])', future=pickle.dumps(future)
        )
        assert future.result() == [1, 2]


def test_upstream_sets_the_result(store_dir, upstream):
    with Store('file', FileConnector(store_dir), register=True) as store:
        future = store.future(polling_timeout=30)
        theirs = upstream.run(
            """
            import pickle
            future = pickle.loads(future)
            future.set_result([1, 2])
            result = pickle.dumps(future)
            """,
            future=pickle.dumps(future),
        )
        assert future.result() == pickle.loads(theirs).result() == [1, 2]


def test_fields_of_a_newer_version_are_ignored_with_a_warning(store):
    future = store.future()
    copied = Future.__new__(Future)
    with pytest.warns(NewerFormatWarning, match='novelty'):
        copied.__setstate__({**vars(future), 'novelty': 1})
    assert vars(copied) == vars(future)
