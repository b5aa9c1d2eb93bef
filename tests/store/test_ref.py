"""Proxies with the rules of ownership."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap

import pytest

import proxystore.store
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.proxy import Proxy, extract, get_factory, is_resolved
from proxystore.store import Store
from proxystore.store.exceptions import ProxyResolveMissingKeyError, ProxyStoreFactoryError
from proxystore.store.ref import (
    BaseRefProxy,
    BaseRefProxyError,
    MutableBorrowError,
    OwnedProxy,
    ReferenceInvalidError,
    ReferenceNotOwnedError,
    RefMutProxy,
    RefProxy,
    borrow,
    clone,
    into_owned,
    mut_borrow,
    update,
)


@pytest.fixture
def store():
    with Store('store', LocalConnector(), register=True) as store:
        yield store


def slot(proxy, name):
    return object.__getattribute__(proxy, f'__proxy_{name}__')


def borrows(owner):
    return slot(owner, 'ref_count'), slot(owner, 'ref_mut_count')


def key_of(proxy):
    return get_factory(proxy).key


def test_references_are_proxies_and_their_errors_one_family():
    for cls in (OwnedProxy, RefProxy, RefMutProxy):
        assert issubclass(cls, BaseRefProxy)
        assert issubclass(cls, Proxy)
    for error in (MutableBorrowError, ReferenceInvalidError, ReferenceNotOwnedError):
        assert issubclass(error, BaseRefProxyError)


def test_references_behave_as_their_object(store):
    owner = store.owned_proxy({'a': 1})
    reference = borrow(owner)
    for proxy, cls in ((owner, OwnedProxy), (reference, RefProxy)):
        assert type(proxy) is cls
        assert isinstance(proxy, dict)
        assert isinstance(proxy, Proxy)
        assert proxy['a'] == 1
        assert list(proxy.keys()) == ['a']
    del reference, proxy
    assert type(mut_borrow(owner)) is RefMutProxy


def test_object_goes_with_its_owner(store):
    owner = store.owned_proxy([1])
    key = key_of(owner)
    assert store.exists(key)
    del owner
    assert not store.exists(key)
    assert store.connector._store == {}


def test_readers_or_one_writer(store):
    owner = store.owned_proxy([1])
    first, second = borrow(owner), borrow(owner)
    assert borrows(owner) == (2, 0)
    with pytest.raises(MutableBorrowError, match='already borrowed as immutable'):
        mut_borrow(owner)
    del first
    with pytest.raises(MutableBorrowError):
        mut_borrow(owner)
    del second
    assert borrows(owner) == (0, 0)
    writer = mut_borrow(owner)
    assert borrows(owner) == (0, 1)
    for function in (borrow, mut_borrow):
        with pytest.raises(MutableBorrowError, match='already borrowed as mutable'):
            function(owner)
    del writer
    assert borrows(owner) == (0, 0)
    assert borrow(owner) == [1]


@pytest.mark.parametrize('function', [borrow, mut_borrow, clone])
def test_only_owners_can_be_borrowed_of_and_cloned(store, function):
    owner = store.owned_proxy([1])
    for proxy in (borrow(owner), store.proxy([1]), Proxy(lambda: 1), 5):
        with pytest.raises(ReferenceNotOwnedError, match='Only owned references can be'):
            function(proxy)


def test_owner_with_borrows_cannot_be_deleted(store):
    owner = store.owned_proxy([1])
    key = key_of(owner)
    readers = [borrow(owner), borrow(owner)]
    with pytest.raises(RuntimeError, match=r'^Cannot safely delete OwnedProxy .* 2 RefProxy and 0'):
        type(owner).__del__(owner)
    readers.clear()
    writer = mut_borrow(owner)
    with pytest.raises(RuntimeError, match=r'0 RefProxy and 1 RefMutProxy'):
        type(owner).__del__(owner)
    # The borrow keeps its owner, and with it the object.
    del owner
    gc.collect()
    assert store.exists(key)
    assert writer == [1]
    del writer
    gc.collect()
    assert not store.exists(key)


def test_collector_finds_an_owner_and_its_borrows_together(store):
    for make in (borrow, mut_borrow):
        owner = store.owned_proxy([])
        cycle = [make(owner)]
        owner.append(cycle)
        cycle.append(cycle)
        del owner, cycle
        gc.collect()
        assert store.connector._store == {}


def test_reference_holds_the_object_if_its_owner_does(store):
    owner = store.owned_proxy([1])
    assert extract(borrow(owner)) is extract(owner)
    assert not is_resolved(borrow(owner, populate_target=False))
    assert not is_resolved(mut_borrow(owner, populate_target=False))
    unresolved = store.owned_proxy([1], populate_target=False)
    reference = borrow(unresolved)
    assert not is_resolved(reference)
    assert reference == [1]
    assert not is_resolved(unresolved)


def test_references_cannot_be_copied(store):
    owner = store.owned_proxy([1])
    for proxy in (owner, borrow(owner)):
        for function in (copy.copy, copy.deepcopy):
            with pytest.raises(NotImplementedError, match=r'clone\(\)'):
                function(proxy)


def test_clone_is_a_deep_copy_with_its_own_key(store):
    owner = store.owned_proxy([1, [2]])
    cloned = clone(owner)
    assert type(cloned) is OwnedProxy
    assert key_of(cloned) != key_of(owner)
    assert cloned == owner
    assert cloned[1] is not owner[1]
    key = key_of(owner)
    del owner
    assert not store.exists(key)
    assert store.get(key_of(cloned)) == [1, [2]]
    unresolved = store.owned_proxy([1], populate_target=False)
    assert not is_resolved(clone(unresolved))
    assert clone(unresolved) == [1]


def test_clone_of_what_is_not_there(store):
    owner = store.owned_proxy([1])
    store.evict(key_of(owner))
    with pytest.raises(ProxyResolveMissingKeyError):
        clone(owner)


def test_update_replaces_the_object_in_the_store(store):
    owner = store.owned_proxy([1])
    key = key_of(owner)
    owner.append(2)
    assert store.get(key) == [1]
    update(owner)
    assert store.get(key) == [1, 2]
    writer = mut_borrow(owner)
    writer.append(3)
    with pytest.raises(MutableBorrowError, match='has been borrowed'):
        update(owner)
    update(writer)
    assert store.get(key) == [1, 2, 3]
    del writer
    update(owner, serializer=lambda _: b'US\nmine')
    assert store.get(key) == 'mine'


def test_update_of_an_unresolved_reference_changes_nothing(store):
    owner = store.owned_proxy([1], populate_target=False)
    update(owner)
    assert not is_resolved(owner)
    assert store.get(key_of(owner)) == [1]


def test_update_needs_a_writer(store):
    owner = store.owned_proxy([1])
    for proxy in (borrow(owner), store.proxy([1])):
        with pytest.raises(ReferenceNotOwnedError, match='immutable borrow'):
            update(proxy)


def test_into_owned_takes_over_the_object(store):
    proxy = store.proxy([1], evict=True)
    owner = into_owned(proxy)
    assert type(owner) is OwnedProxy
    assert get_factory(owner) is get_factory(proxy)
    assert not get_factory(proxy).evict
    assert extract(owner) is extract(proxy)
    assert not is_resolved(into_owned(store.proxy([1]), populate_target=False))
    assert not is_resolved(into_owned(store.proxy([1], populate_target=False)))


def test_into_owned_takes_plain_proxies_of_stores(store):
    owner = store.owned_proxy([1])
    for reference in (owner, borrow(owner), [1]):
        with pytest.raises(ValueError, match='Only a base proxy'):
            into_owned(reference)
    with pytest.raises(ProxyStoreFactoryError):
        into_owned(Proxy(lambda: 1))


@pytest.mark.parametrize('make', [lambda owner: owner, borrow, mut_borrow])
def test_pickling_gives_the_reference_away(store, make):
    owner = store.owned_proxy((1,))
    key = key_of(owner)
    reference = make(owner)
    before = borrows(owner)
    data = pickle.dumps(reference)
    assert borrows(owner) == before
    for use in (lambda: reference[0], lambda: len(reference), lambda: isinstance(reference, tuple)):
        with pytest.raises(ReferenceInvalidError, match='Reference has been invalidated'):
            use()
    with pytest.raises(ReferenceInvalidError):
        extract(reference)
    # It can be sent once more, as by a pickler that tries again.
    assert pickle.dumps(reference) == data
    assert get_factory(reference).key == key
    assert repr(reference)
    arrived = pickle.loads(data)
    assert type(arrived) is type(reference)
    assert not is_resolved(arrived)
    assert hash(arrived) == hash((1,))
    assert isinstance(arrived, tuple)
    assert arrived == (1,)
    if reference is owner:
        del reference, owner
        gc.collect()
        assert store.exists(key)
    del arrived
    gc.collect()
    assert store.exists(key) is (make in (borrow, mut_borrow))


def test_owner_that_was_given_away_can_do_nothing(store):
    owner = store.owned_proxy([1])
    data = pickle.dumps(owner)
    for function in (borrow, mut_borrow, clone, update):
        with pytest.raises(ReferenceInvalidError):
            function(owner)
    assert pickle.loads(data) == [1]


def test_reference_that_was_sent_still_counts_until_it_goes(store):
    owner = store.owned_proxy([1])
    reference = borrow(owner)
    pickle.dumps(reference)
    assert borrows(owner) == (1, 0)
    del reference
    assert borrows(owner) == (0, 0)


def test_references_arrive_without_their_owner(store):
    owner = store.owned_proxy([1])
    arrived = pickle.loads(pickle.dumps(borrow(owner)))
    assert slot(arrived, 'owner') is None
    for function in (borrow, clone):
        with pytest.raises(ReferenceNotOwnedError):
            function(arrived)
    del arrived
    assert borrows(owner) == (0, 0)
    writer = pickle.loads(pickle.dumps(mut_borrow(owner)))
    writer.append(2)
    update(writer)
    assert store.get(key_of(owner)) == [1, 2]


@pytest.mark.parametrize('make', ['lambda o: o', 'borrow', 'mut_borrow'])
def test_references_go_to_upstream_and_back(store_dir, make, upstream):
    with Store('file', FileConnector(store_dir, clear=False), register=True) as store:
        owner = store.owned_proxy([1, 2])
        key = key_of(owner)
        reference = {'borrow': borrow, 'mut_borrow': mut_borrow}.get(make, lambda o: o)(owner)
        theirs, total = upstream.run(
            """
            import pickle
            reference = pickle.loads(data)
            total = sum(reference)
            result = pickle.dumps(reference), total
            """,
            data=pickle.dumps(reference),
        )
        assert total == 3
        arrived = pickle.loads(theirs)
        assert type(arrived) is type(reference)
        assert arrived == [1, 2]
        del arrived, reference
        assert store.exists(key) is (make != 'lambda o: o')


def test_unknown_kind_of_reference(store):
    from proxystore.store.ref import _proxy_trampoline

    with pytest.raises(ValueError, match=r'reference "Other".*OwnedProxy'):
        _proxy_trampoline('Other', get_factory(store.proxy([1])))


def test_subclasses_are_sent_as_their_base(store):
    class Mine(OwnedProxy):
        pass

    owner = Mine(get_factory(store.proxy([1])))
    assert type(pickle.loads(pickle.dumps(owner))) is OwnedProxy


def test_eviction_that_fails_is_no_error(store, caplog, monkeypatch):
    owner = store.owned_proxy([1])

    def evict(_):
        raise ConnectionError('gone')

    monkeypatch.setattr(store.connector, 'evict', evict)
    del owner
    gc.collect()
    assert 'could not be evicted' in caplog.text
    assert 'gone' in caplog.text


def test_owner_without_its_store_makes_none_that_stays(store_dir):
    store = Store('file', FileConnector(store_dir, clear=False))
    owner = store.owned_proxy([1])
    key = key_of(owner)
    del owner
    assert not store.exists(key)
    assert proxystore.store._stores == {}


def test_forked_child_does_not_evict_what_its_parent_owns(store_dir):
    with Store('file', FileConnector(store_dir), register=True) as store:
        owner = store.owned_proxy([1])
        child = os.fork()
        if child == 0:
            mine = store.owned_proxy([2])
            key = key_of(mine)
            del owner, mine
            gc.collect()
            os._exit(1 if store.exists(key) else 0)
        assert os.waitpid(child, 0)[1] == 0
        assert store.exists(key_of(owner))


def run(code, **names):
    code = textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, '-c', '\n'.join([*(f'{k} = {v!r}' for k, v in names.items()), code])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_owners_that_are_left_evict_at_exit(store_dir):
    done = run(
        """
        from proxystore.connectors.file import FileConnector
        from proxystore.store import Store
        from proxystore.store.ref import borrow
        store = Store('file', FileConnector(directory, clear=False), register=True)
        import sys, pickle, atexit
        held = [store.owned_proxy([i]) for i in range(3)]
        cycle = [store.owned_proxy([4])]
        cycle.append(cycle)
        borrowed = borrow(held[0])
        given_away = store.owned_proxy([5])
        pickle.dumps(given_away)
        print(given_away.__proxy_factory__.key.filename)
        """,
        directory=store_dir,
    )
    assert done.stderr == ''
    left = {name for name in os.listdir(store_dir) if not name.endswith('.ready')}
    assert left == {done.stdout.strip()}


def test_owners_of_a_forked_child_evict_at_its_exit(store_dir):
    done = run(
        """
        import os, sys
        from proxystore.connectors.file import FileConnector
        from proxystore.store import Store
        store = Store('file', FileConnector(directory, clear=False), register=True)
        held = store.owned_proxy([1])
        child = os.fork()
        if not child:
            left = store.owned_proxy([2])
            sys.exit()
        _, status = os.waitpid(child, 0)
        assert status == 0
        print(*(name for name in os.listdir(directory) if not name.endswith('.ready')))
        assert held == [1]
        print(held.__proxy_factory__.key.filename)
        """,
        directory=store_dir,
    )
    assert 'Traceback' not in done.stderr
    left, held = done.stdout.split()
    assert left == held


def test_exit_does_not_wait_for_a_connector_that_hangs():
    done = run(
        """
        import threading
        from proxystore.connectors.local import LocalConnector
        from proxystore.store import Store, _owners
        _owners._EXIT_PATIENCE = 0.05
        class Hanging(LocalConnector):
            def evict(self, key):
                threading.Event().wait()
        store = Store('hanging', Hanging(), register=True)
        owners = [store.owned_proxy([1]), store.owned_proxy([2])]
        print('over')
        """
    )
    assert done.stdout == 'over\n'
    assert 'Owned objects are left' in done.stderr


def test_exit_skips_a_store_that_cannot_be_reached():
    done = run(
        """
        import proxystore.store
        from proxystore.connectors.local import LocalConnector
        from proxystore.store import Store
        store = Store('local', LocalConnector())
        owner = store.owned_proxy([1])
        owner.__proxy_factory__.store_config.connector.kind = 'no.such.Connector'
        """
    )
    assert 'could not be evicted' in done.stderr
    assert 'Traceback' not in done.stderr
