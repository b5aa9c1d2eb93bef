"""Factories that get the object of a proxy from a store."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import cloudpickle
import pytest

from proxystore.connectors.file import FileConnector, FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.proxy import ProxyResolveError, get_factory, is_resolved
from proxystore.serialize import SerializationError, deserialize
from proxystore.store import Store, get_store
from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.store.exceptions import ProxyResolveMissingKeyError
from proxystore.store.factory import PollingStoreFactory, StoreFactory
from proxystore.store.utils import get_key, resolve_async
from proxystore.utils._threads import MAX_THREADS
from proxystore.warnings import NewerFormatWarning

MISSING = LocalKey('missing')


@pytest.fixture
def store():
    with Store('store', LocalConnector(), register=True) as store:
        yield store


def test_gets_from_the_store(store):
    key = store.put([1])
    factory = StoreFactory(key, store.config())
    assert factory() == [1]
    assert factory.resolve() is factory()
    assert factory.get_store() is store
    assert (factory.key, factory.evict, factory.deserializer) == (key, False, None)


def test_makes_and_registers_the_store(store_dir):
    with Store('file', FileConnector(store_dir)) as store:
        factory = StoreFactory(store.put([1]), store.config())
        assert get_store('file') is None
        assert factory() == [1]
        assert get_store('file') is factory.get_store()
        get_store('file').close()


def test_evicting_factory_gives_its_object_once(store):
    factory = StoreFactory(store.put([1]), store.config(), evict=True)
    assert factory() == [1]
    with pytest.raises(ProxyResolveMissingKeyError):
        factory()


def test_missing_object_is_named(store):
    factory = StoreFactory(MISSING, store.config())
    with pytest.raises(ProxyResolveMissingKeyError, match=r"missing.*Store\(name='store'\)") as e:
        factory()
    assert (e.value.key, e.value.store_type, e.value.store_name) == (MISSING, Store, 'store')
    copied = pickle.loads(pickle.dumps(e.value))
    assert (copied.key, copied.store_type, copied.store_name) == (MISSING, Store, 'store')
    assert str(copied) == str(e.value)
    proxy = store.proxy_from_key(MISSING)
    with pytest.raises(ProxyResolveError) as caught:
        proxy + 1
    assert isinstance(caught.value.cause, ProxyResolveMissingKeyError)


def test_proxy_resolves_once_the_object_is_there(store):
    key = store.connector.new_key()
    proxy = store.proxy_from_key(key)
    with pytest.raises(ProxyResolveError):
        len(proxy)
    store._set(key, [1])
    assert proxy == [1]


def test_deserializer_of_the_factory_is_used(store):
    key = store.put([1])
    assert StoreFactory(key, store.config(), deserializer=lambda d: bytes(d[:2]))() == b'PK'
    failing = StoreFactory(store.put([1]), store.config(), deserializer=lambda _: 1 / 0)
    with pytest.raises(SerializationError, match=r'key=LocalKey.*"store"') as caught:
        failing()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_async_result_is_taken_once(store):
    factory = StoreFactory(store.put([1]), store.config(), evict=True)
    factory.resolve_async()
    factory.resolve_async()
    assert factory() == [1]
    assert factory._obj_future is None
    with pytest.raises(ProxyResolveMissingKeyError):
        factory()


def test_async_failure_reaches_the_call_and_is_not_for_ever(store):
    key = store.connector.new_key()
    proxy = store.proxy_from_key(key)
    resolve_async(proxy)
    with pytest.raises(ProxyResolveError) as caught:
        len(proxy)
    assert isinstance(caught.value.cause, ProxyResolveMissingKeyError)
    store._set(key, [1])
    assert proxy == [1]


def test_resolved_proxy_is_not_resolved_again(store):
    proxy = store.proxy([1])
    resolve_async(proxy)
    assert get_factory(proxy)._obj_future is None
    assert get_key(proxy) == get_factory(proxy).key


def test_async_objects_share_a_few_daemon_threads(store):
    proxies = [store.proxy([i], populate_target=False) for i in range(500)]
    for proxy in proxies:
        resolve_async(proxy)
    threads = [t for t in threading.enumerate() if t.name == 'proxystore-prefetch']
    assert 0 < len(threads) <= MAX_THREADS
    assert all(thread.daemon for thread in threads)
    assert [proxy[0] for proxy in proxies] == list(range(500))


def test_async_object_is_got_again_in_a_forked_child(store):
    entered, release = threading.Event(), threading.Event()

    def slow(data):
        if threading.current_thread() is not threading.main_thread():
            entered.set()
            release.wait()
        return deserialize(data)

    factory = StoreFactory(store.put([1]), store.config(), deserializer=slow)
    factory.resolve_async()
    entered.wait()
    child = os.fork()
    if child == 0:
        fresh = StoreFactory(factory.key, store.config())
        fresh.resolve_async()
        os._exit(0 if factory() == fresh() == [1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    release.set()
    assert factory() == [1]


def test_async_work_does_not_keep_the_interpreter_from_exiting():
    code = """
import threading
from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
from proxystore.store.factory import StoreFactory
entered = threading.Event()
def hang(data):
    entered.set()
    threading.Event().wait()
store = Store('store', LocalConnector(), register=True)
StoreFactory(store.put(1), store.config(), deserializer=hang).resolve_async()
entered.wait()
print('over')
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == 'over\n'
    assert done.stderr == ''


def test_async_object_that_no_thread_began_to_get_is_got_by_its_user_at_exit():
    code = """
import atexit, threading

# Registered before the package's own, so it runs after them.
atexit.register(lambda: print(last()))

from proxystore.connectors.local import LocalConnector
from proxystore.store import Store
from proxystore.store.factory import StoreFactory
from proxystore.utils._threads import MAX_THREADS

def hang(data):
    threading.Event().wait()

store = Store('store', LocalConnector(), register=True)
for _ in range(MAX_THREADS):
    StoreFactory(store.put(1), store.config(), deserializer=hang).resolve_async()
last = StoreFactory(store.put('last'), store.config())
last.resolve_async()
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ('last\n', '')


def test_polling_waits_for_the_object(store):
    key = store.connector.new_key()
    factory = PollingStoreFactory(key, store.config(), polling_interval=0.001)
    timer = threading.Timer(0.02, store._set, (key, [1]))
    timer.start()
    assert factory() == [1]
    timer.join()


def test_polling_ends_at_its_timeout(store):
    for timeout in (0, 0.05):
        factory = PollingStoreFactory(
            MISSING, store.config(), polling_interval=60, polling_timeout=timeout
        )
        with pytest.raises(ProxyResolveMissingKeyError):
            factory()


def test_polling_backs_off(store, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, 'sleep', pauses.append)
    polls = []
    monkeypatch.setattr(
        store,
        'get',
        lambda *_, default, **__: polls.append(1) or (default if len(polls) < 6 else 'there'),
    )
    factory = PollingStoreFactory(
        MISSING,
        store.config(),
        polling_interval=1,
        polling_backoff_factor=2,
        polling_interval_limit=5,
    )
    assert factory() == 'there'
    assert pauses == [1, 2, 4, 5, 5]


class Subclass(StoreFactory):
    pass


def factories(store):
    key = store.put([1])
    config = store.config()
    return {
        'plain': StoreFactory(key, config),
        'evict': StoreFactory(key, config, evict=True),
        'deserializer': StoreFactory(key, config, deserializer=deserialize),
        'polling': PollingStoreFactory(key, config, polling_interval=2, polling_timeout=3),
        'subclass': Subclass(key, config),
    }


@pytest.mark.parametrize('name', ['plain', 'evict', 'deserializer', 'polling', 'subclass'])
@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_factories_survive_pickling(store, name, protocol):
    factory = factories(store)[name]
    factory.note = 'kept' if name == 'subclass' else None
    if name != 'subclass':
        del factory.note
    factory.resolve_async()
    data = pickle.dumps(factory, protocol)
    for _ in range(3):
        copied = pickle.loads(data)
        assert type(copied) is type(factory)
        assert vars(copied) == {**vars(factory), '_obj_future': None}
    assert copied() == [1]


@pytest.mark.parametrize('name', ['plain', 'evict', 'deserializer', 'polling'])
def test_factories_are_read_by_upstream_and_read_from_upstream(store_dir, name, upstream):
    with Store('file', FileConnector(store_dir, clear=False)) as store:
        factory = factories(store)[name]
        data = pickle.dumps(factory)
        theirs, state, obj = upstream.run(
            """
            import pickle
            factory = pickle.loads(data)
            state = {name: value for name, value in vars(factory).items() if name[0] == '_'}
            result = pickle.dumps(factory), [factory.evict, tuple(factory.key), state], factory()
            """,
            data=data,
        )
        assert obj == [1]
        expected = {key: value for key, value in vars(factory).items() if key[0] == '_'}
        assert state == [factory.evict, tuple(factory.key), expected]
        copied = pickle.loads(theirs)
        assert vars(copied) == vars(factory)
        assert len(data) <= len(theirs)


def test_pickle_follows_a_configuration_that_changes(store):
    factory = StoreFactory(store.put([1]), store.config())
    for change in (
        lambda config: setattr(config, 'name', 'renamed'),
        lambda config: setattr(config, 'cache_size', 3),
        lambda config: config.connector.options.update(include_data_in_config=True),
        lambda config: setattr(config.connector, 'kind', 'local'),
        lambda config: setattr(config, 'connector', ConnectorConfig(kind='file')),
        lambda config: setattr(config, 'serializer', str),
    ):
        pickle.dumps(factory)
        change(factory.store_config)
        copied = pickle.loads(pickle.dumps(factory))
        assert copied.store_config == factory.store_config
        # Nor does what was read change when one that was read is changed.
        copied.store_config.metrics = True
        assert pickle.loads(pickle.dumps(factory)).store_config == factory.store_config


class TwoPartKey(NamedTuple):
    first: str
    second: str


class NumberKey(NamedTuple):
    number: int


class DerivedKey(LocalKey):
    pass


@pytest.mark.parametrize(
    'key',
    [
        LocalKey('x'),
        LocalKey('ü' * 50),
        LocalKey('x' * 300),
        LocalKey(''),
        LocalKey('\ud800'),
        LocalKey(5),
        FileKey('x\x85\x81'),
        TwoPartKey('a', 'b'),
        NumberKey(1),
        DerivedKey('x'),
        ('x',),
        ('x', 1, None),
        'x',
        None,
    ],
    ids=repr,
)
def test_keys_survive_pickling(store, key):
    data = pickle.dumps(StoreFactory(key, store.config()))
    for _ in range(2):
        copied = pickle.loads(data)
        assert copied.key == key
        assert type(copied.key) is type(key)


@pytest.mark.parametrize(
    'options',
    [
        {'flag': True, 'number': -5, 'real': 0.5, 'text': 'ü', 'none': None},
        {'text': 'x' * 300},
        {'list': [1, {'a': 2}]},
        {'pair': (1, 2)},
        {'large': 2**100},
        {'function': len},
    ],
    ids=repr,
)
def test_options_survive_pickling(options):
    config = StoreConfig(
        name='größe', connector=ConnectorConfig(kind='a.B', options=options), cache_size=7
    )
    data = pickle.dumps(StoreFactory(LocalKey('x'), config))
    for _ in range(2):
        assert pickle.loads(data).store_config == config


def test_functions_are_left_to_the_pickler():
    store = Store('store', LocalConnector(), serializer=lambda obj: obj, deserializer=bytes)
    proxy = store.proxy(b'x', populate_target=False)
    with pytest.raises(Exception, match='lambda'):
        pickle.dumps(proxy)
    copied = pickle.loads(cloudpickle.dumps(get_factory(proxy)))
    assert copied.store_config.serializer(b'y') == b'y'


def test_data_in_the_configuration_is_pickled_as_it_is_then():
    connector = LocalConnector(include_data_in_config=True)
    store = Store('store', connector)
    proxies = store.proxy_batch([[1], [2]], populate_target=False)
    pickle.dumps(proxies[0])
    third = store.proxy([3], populate_target=False)
    assert [list(proxy) for proxy in pickle.loads(pickle.dumps([*proxies, third]))] == [
        [1],
        [2],
        [3],
    ]


def test_damaged_pickle_of_a_factory(store):
    proxy = store.proxy([1], populate_target=False)
    data = get_factory(proxy).__reduce_ex__(4)[1][0]
    deserialize(data)
    for length in range(len(data)):
        with pytest.raises(SerializationError):
            deserialize(data[:length])
    for position in range(3, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        try:
            read = deserialize(bytes(damaged))
        except SerializationError:
            continue
        assert not isinstance(read, StoreFactory) or vars(read) != vars(get_factory(proxy))


@pytest.mark.parametrize('name', ['deserializer', 'polling'])
def test_fields_of_a_newer_version_are_ignored_with_a_warning(store, name):
    factory = factories(store)[name]
    state = {**factory.__getstate__(), 'novelty': 1}
    copied = type(factory).__new__(type(factory))
    with pytest.warns(NewerFormatWarning, match=r'newer version.*novelty'):
        copied.__setstate__(state)
    assert vars(copied) == {**vars(factory), '_obj_future': None}


def test_proxies_in_one_pickle(store):
    proxies = store.proxy_batch([[i] for i in range(50)], populate_target=False)
    copied = pickle.loads(pickle.dumps(proxies))
    assert not any(map(is_resolved, copied))
    assert [proxy[0] for proxy in copied] == list(range(50))
