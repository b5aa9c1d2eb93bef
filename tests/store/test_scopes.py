"""Borrowed references that end with the function they were passed to."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
from proxystore.store.ref import ReferenceInvalidError, borrow, mut_borrow, update
from proxystore.store.scopes import FutureWithCallback, mark_refs_out_of_scope, submit


@pytest.fixture
def store():
    with Store('store', LocalConnector(), register=True) as store:
        yield store


def borrows(owner):
    return (
        object.__getattribute__(owner, '__proxy_ref_count__'),
        object.__getattribute__(owner, '__proxy_ref_mut_count__'),
    )


def test_borrows_end_with_the_function(store):
    owner, other = store.owned_proxy([1]), store.owned_proxy([2])
    reader, writer = borrow(owner), mut_borrow(other)
    release = threading.Event()

    def work(a, b, *, c):
        release.wait()
        return a[0] + b + c[0]

    with ThreadPoolExecutor(1) as pool:
        future = submit(pool.submit, args=(work, reader, 5), kwargs={'c': writer})
        assert isinstance(future, FutureWithCallback)
        assert (borrows(owner), borrows(other)) == ((1, 0), (0, 1))
        release.set()
        assert future.result() == 8
    assert (borrows(owner), borrows(other)) == ((0, 0), (0, 0))
    for reference in (reader, writer):
        with pytest.raises(ReferenceInvalidError):
            reference[0]
    assert mut_borrow(owner) == [1]


def test_references_inside_other_arguments_are_registered(store):
    owner = store.owned_proxy([1])
    first, second = borrow(owner), borrow(owner)
    future = Future()
    submit(lambda _: future, args=({'a': [first]},), register_custom_refs=[first])
    assert borrows(owner) == (2, 0)
    future.set_result(None)
    assert borrows(owner) == (1, 0)
    assert second == [1]


def test_failure_ends_borrows_too(store):
    owner = store.owned_proxy([1])
    future = Future()
    submit(lambda _: future, args=(borrow(owner),))
    future.set_exception(ValueError())
    assert borrows(owner) == (0, 0)


def test_marking_again_does_nothing(store):
    owner = store.owned_proxy([1])
    reference = borrow(owner)
    mark_refs_out_of_scope(reference)
    mark_refs_out_of_scope(reference)
    assert borrows(owner) == (0, 0)
    del reference
    assert borrows(owner) == (0, 0)


def test_only_borrows_go_out_of_scope(store):
    owner = store.owned_proxy([1])
    reference = borrow(owner)
    for other in (owner, store.proxy([1]), 5):
        with pytest.raises(RuntimeError, match='Only a RefProxy or a RefMutProxy'):
            mark_refs_out_of_scope(reference, other)
    assert reference == [1]


def double(values):
    values[:] = [2 * value for value in values]
    update(values)


def test_through_a_process_pool(store_dir):
    with (
        Store('file', FileConnector(store_dir), register=True) as store,
        ProcessPoolExecutor(1) as pool,
    ):
        owner = store.owned_proxy([1, 2])
        writer = mut_borrow(owner)
        ended = threading.Event()
        future = submit(pool.submit, args=(double, writer))
        future.add_done_callback(lambda _: ended.set())
        future.result()
        assert ended.wait(30)
        # Also while somebody still holds the reference that was sent.
        assert borrows(owner) == (0, 0)
        assert borrow(owner, populate_target=False) == [2, 4]
