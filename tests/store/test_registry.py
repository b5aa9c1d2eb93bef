"""The stores of this process by name."""

from __future__ import annotations

import os
import threading

import pytest

import proxystore.store
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.proxy import Proxy
from proxystore.store import (
    Store,
    get_or_create_store,
    get_store,
    register_store,
    store_registration,
    unregister_store,
)
from proxystore.store.exceptions import ProxyStoreFactoryError, StoreError, StoreExistsError


def make(name='name', **options):
    return Store(name, LocalConnector(), **options)


def test_register_and_unregister():
    store = make()
    assert get_store('name') is None
    register_store(store)
    assert get_store('name') is store
    assert proxystore.store._stores == {'name': store}
    unregister_store(store)
    unregister_store(store)
    unregister_store('never there')
    assert get_store('name') is None


def test_names_are_taken_once():
    store, other = make(), make()
    register_store(store)
    for again in (store, other):
        with pytest.raises(StoreExistsError, match='A store named "name" already exists') as caught:
            register_store(again)
        assert isinstance(caught.value, StoreError)
    assert get_store('name') is store
    register_store(other, exist_ok=True)
    assert get_store('name') is other
    unregister_store('name')
    assert get_store('name') is None


def test_store_of_a_proxy_is_made_and_registered():
    store = make()
    proxy = store.proxy([1])
    assert get_store('name') is None
    made = get_store(proxy)
    assert made is not store
    assert made is get_store('name') is get_store(proxy)


def test_proxy_that_no_store_made():
    with pytest.raises(ProxyStoreFactoryError, match=r'type StoreFactory\. function'):
        get_store(Proxy(lambda: 1))


def test_registered_store_is_returned_and_another_one_made():
    config = make(auto := 'name').config()
    unregistered = get_or_create_store(config, register=False)
    assert get_store(auto) is None
    store = get_or_create_store(config)
    assert store is not unregistered
    assert get_or_create_store(config) is get_store(auto) is store
    registering = make('other', register=True)
    config = registering.config()
    assert get_or_create_store(config) is registering
    registering.close()
    made = get_or_create_store(config)
    assert made is get_store('other') is not registering


def test_threads_that_come_at_once_are_given_the_same_store():
    made = []

    class Slow(LocalConnector):
        def __init__(self):
            super().__init__()
            made.append(self)
            started.wait(5)

    globals()['Slow'] = Slow
    Slow.__qualname__ = 'Slow'
    started = threading.Event()
    config = make('slow').config()
    config.connector.kind = f'{__name__}.Slow'
    stores = []
    threads = [
        threading.Thread(target=lambda: stores.append(get_or_create_store(config)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    # Another store is not held up by the one that takes long.
    assert get_or_create_store(make('quick').config()).name == 'quick'
    started.set()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(stores) == 8
    assert len(set(map(id, stores))) == 1
    assert proxystore.store._making == {}


def test_store_that_cannot_be_made_can_be_made_later():
    config = make().config()
    config.connector.options['nope'] = 1
    with pytest.raises(TypeError, match='nope'):
        get_or_create_store(config)
    assert proxystore.store._making == {}
    del config.connector.options['nope']
    assert get_or_create_store(config).name == 'name'


def test_stores_are_registered_while_the_block_runs():
    first, second = make('first'), make('second')
    with store_registration(first, second):
        assert get_store('first') is first
        assert get_store('second') is second
    assert proxystore.store._stores == {}


def test_registration_is_undone_when_the_body_raises():
    store = make()
    with pytest.raises(KeyError), store_registration(store):
        {}[get_store('name')]
    assert proxystore.store._stores == {}


def test_registration_of_several_is_all_or_none():
    taken = make('taken', register=True)
    with pytest.raises(StoreExistsError), store_registration(make('free'), make('taken')):
        pytest.fail('not reached')
    assert proxystore.store._stores == {'taken': taken}


def test_replaced_store_is_registered_again():
    before, store = make(register=True), make()
    with store_registration(store, exist_ok=True):
        assert get_store('name') is store
    assert get_store('name') is before
    with store_registration(before, exist_ok=True):
        pass
    assert get_store('name') is None


def test_other_store_registered_meanwhile_is_left_alone():
    store, other = make(), make()
    with store_registration(store):
        register_store(other, exist_ok=True)
    assert get_store('name') is other


def test_forked_child_is_not_held_up_by_a_lock_of_another_thread():
    held, release = threading.Event(), threading.Event()

    def hold():
        with proxystore.store._stores_lock:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        store = make('child', register=True)
        key = store.put([1])
        os._exit(0 if store.get(key) == [1] and not store.exists(LocalKey('x')) else 1)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
