"""Stores: objects in, keys and proxies out."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pandas as pd
import pytest

from proxystore.connectors.file import FileConnector, FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.proxy import Proxy, ProxyLocker, get_factory, is_resolved
from proxystore.serialize import SerializationError, deserialize, serialize, takes_buffers
from proxystore.store import Store, get_store, register_store
from proxystore.store.exceptions import NonProxiableTypeError, StoreExistsError
from proxystore.store.lifetimes import ContextLifetime
from proxystore.store.ref import OwnedProxy

MISSING = LocalKey('missing')


@pytest.fixture
def store():
    with Store('store', LocalConnector(), register=True) as store:
        yield store


class BytesOnly:
    """A connector of somebody else's: the protocol, bytes in, bytes out."""

    def __init__(self, prefix='key'):
        self.prefix = prefix
        self.objects = {}
        self.tags = []

    def close(self):
        pass

    def config(self):
        return {'prefix': self.prefix}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def evict(self, key):
        self.objects.pop(key, None)

    def exists(self, key):
        return key in self.objects

    def get(self, key):
        return self.objects.get(key)

    def get_batch(self, keys):
        return [self.get(key) for key in keys]

    def put(self, obj, tag=None):
        assert type(obj) is bytes
        self.tags.append(tag)
        key = (self.prefix, len(self.objects))
        self.objects[key] = obj
        return key

    def put_batch(self, objs, tag=None):
        return [self.put(obj, tag) for obj in objs]


def test_put_get_exists_evict(store):
    obj = {'a': [1, 2]}
    key = store.put(obj)
    assert not store.is_cached(key)
    assert store.exists(key)
    got = store.get(key)
    assert got == obj
    assert got is not obj
    assert store.get(key) is got
    assert store.is_cached(key)
    store.evict(key)
    store.evict(key)
    assert not store.exists(key)
    assert not store.is_cached(key)
    assert store.get(key) is None


def test_default_is_for_missing_objects_only(store):
    assert store.get(MISSING) is None
    assert store.get(MISSING, default=5) == 5
    assert not store.is_cached(MISSING)
    key = store.put(None)
    assert store.get(key, default=5) is None
    assert store.is_cached(key)
    assert store.get(key, default=5) is None


def test_cached_object_exists_though_the_connector_has_lost_it(store):
    key = store.put([1])
    got = store.get(key)
    store.connector.evict(key)
    assert store.exists(key)
    assert store.get(key) is got


def test_cached_object_wins_over_a_deserializer(store):
    key = store.put([1])
    got = store.get(key)
    assert store.get(key, deserializer=lambda _: 1 / 0) is got


def test_cache_keeps_as_many_objects_as_its_size():
    store = Store('store', LocalConnector(), cache_size=1)
    first, second = store.put_batch([[1], [2]])
    store.get(first)
    store.get(second)
    assert (store.is_cached(first), store.is_cached(second)) == (False, True)
    assert store.cache.maxsize == 1
    store = Store('store', LocalConnector(), cache_size=0)
    key = store.put([1])
    assert store.get(key) is not store.get(key)
    with pytest.raises(ValueError, match=r'Cache size cannot be negative. Got -1'):
        Store('store', LocalConnector(), cache_size=-1)


def test_batches_keep_their_order(store):
    keys = store.put_batch([1, 'two', [3]])
    assert [store.get(key) for key in keys] == [1, 'two', [3]]
    assert store.put_batch([]) == []
    assert len(store.put_batch(iter([1, 2]))) == 2


def test_batch_with_an_object_that_cannot_be_serialized_puts_nothing(store):
    with pytest.raises(SerializationError):
        store.put_batch([1, threading.Lock()])
    assert store.connector._store == {}


def test_serializer_and_deserializer_of_the_store_and_of_the_call():
    store = Store(
        'store',
        LocalConnector(),
        serializer=lambda obj: repr(obj).encode(),
        deserializer=lambda data: ('store', type(data), data),
        cache_size=0,
    )
    key = store.put([1])
    assert store.get(key) == ('store', bytes, b'[1]')
    assert store.get(key, deserializer=bytes.upper) == b'[1]'
    key = store.put([1], serializer=lambda _: bytearray(b'call'))
    assert store.get(key) == ('store', bytes, b'call')
    (key,) = store.put_batch([1], serializer=lambda _: memoryview(b'batch'))
    assert store.get(key) == ('store', bytes, b'batch')
    default = Store('default', LocalConnector())
    assert (default.serializer, default.deserializer) == (serialize, deserialize)


def test_deserializers_are_given_bytes_unless_they_take_buffers(store_dir):
    given = []

    def plain(data):
        given.append(type(data))
        return deserialize(data)

    @takes_buffers
    def buffers(data):
        given.append(type(data))
        return deserialize(data)

    array = np.arange(1_000_000)
    with Store('store', FileConnector(store_dir), cache_size=0) as store:
        key = store.put(array)
        for deserializer in (plain, buffers):
            assert (store.get(key, deserializer=deserializer) == array).all()
        assert given == [bytes, memoryview]


@pytest.mark.parametrize('order', ['C', 'F'])
def test_large_arrays_through_a_native_connector(store_dir, order, upstream):
    array = np.asarray(np.random.default_rng(1).random((500, 400)), order=order)
    with Store('store', FileConnector(store_dir, clear=False), cache_size=0) as store:
        key = store.put(array)
        first, second = store.get(key), store.get(key)
        assert (first == array).all()
        assert first.flags.writeable
        assert first.flags.aligned
        assert first.flags.f_contiguous == array.flags.f_contiguous
        first[:] = 0
        store.evict(key)
        assert (second == array).all()
        nested = {'a': array, 'b': [array[:3], b'x' * 100_000]}
        got = store.get(store.put(nested))
        assert (got['a'] == array).all()
        assert (got['b'][0] == array[:3]).all()
        assert got['b'][1] == nested['b'][1]
    with Store('ours', FileConnector(store_dir, clear=False), compatible=True) as store:
        key = store.put(array)
        assert upstream.run(
            """
            from proxystore.connectors.file import FileConnector, FileKey
            from proxystore.store import Store
            store = Store('theirs', FileConnector(directory, clear=False))
            result = store.get(FileKey(name)).tobytes('A')
            """,
            directory=store_dir,
            name=key.filename,
        ) == array.tobytes('A')


def test_arrays_are_made_over_the_memory_of_a_native_connector(store_dir):
    array = np.arange(1_000_000)
    with Store('file', FileConnector(store_dir)) as store:
        data = store.connector.get(store.put(array))
        assert type(data) is memoryview
        got = deserialize(data)
        assert np.shares_memory(got, np.frombuffer(data, 'u1'))
        assert got.ctypes.data % 64 == 0
        assert (got == array).all()


def test_connector_of_somebody_else():
    store = Store('other', BytesOnly())
    register_store(store)
    array = np.arange(100_000)
    key = store.put(array, tag='t')
    assert store.connector.tags == ['t']
    assert (store.get(key) == array).all()
    proxy = store.proxy(array, populate_target=False, tag='u')
    assert (proxy == array).all()
    keys = store.put_batch([b'x', {'a': array}], tag='v')
    assert store.get(keys[0]) == b'x'
    assert store.connector.tags == ['t', 'u', 'v', 'v']
    assert Store.from_config(store.config()).connector.prefix == 'key'
    owner = store.owned_proxy([1])
    key = get_factory(owner).key
    del owner
    assert not store.exists(key)
    with pytest.raises(NotImplementedError, match='BytesOnly of the store "other"'):
        store.future()
    store.close()


def test_unknown_argument_of_the_connector(store):
    with pytest.raises(TypeError, match='tag'):
        store.put(1, tag='t')


def test_proxy_holds_the_object_itself(store):
    obj = [1, 2]
    proxy = store.proxy(obj)
    assert type(proxy) is Proxy
    assert is_resolved(proxy)
    assert proxy.__proxy_wrapped__ is obj
    factory = get_factory(proxy)
    assert store.get(factory.key) == obj
    assert (factory.evict, factory.deserializer) == (False, None)
    assert factory.store_config == store.config()


def test_populate_target_of_the_store_and_of_the_call():
    for default in (True, False):
        store = Store('store', LocalConnector(), populate_target=default)
        assert is_resolved(store.proxy([1])) is default
        assert is_resolved(store.proxy_batch([[1]])[0]) is default
        assert is_resolved(store.owned_proxy([1])) is default
        assert is_resolved(store.locked_proxy([1]).unlock()) is default
        assert is_resolved(store.proxy([1], populate_target=not default)) is not default


def test_populated_proxies_know_class_and_hash_when_they_are_sent(store):
    *_, (_, class_, hash_) = store.proxy((1,)).__reduce__()
    assert (class_, hash_) == (tuple, hash((1,)))
    *_, (_, class_, hash_) = store.proxy([1]).__reduce__()
    assert class_ is list
    assert type(hash_) is TypeError
    *_, (_, class_, hash_) = store.proxy((1,), populate_target=False).__reduce__()
    assert (class_, hash_) == (None, None)


def test_proxy_with_evict(store):
    proxy = store.proxy([1], evict=True, populate_target=False)
    key = get_factory(proxy).key
    assert store.exists(key)
    assert proxy == [1]
    assert not store.exists(key)


def test_proxy_from_key(store):
    proxy = store.proxy_from_key(store.put([1]), deserializer=lambda data: ('mine', data[:2]))
    assert not is_resolved(proxy)
    assert proxy == ('mine', b'PK')


def test_proxy_batch_keeps_positions(store):
    proxies = store.proxy_batch([1, None, [2], True], skip_nonproxiable=True)
    assert [type(proxy) for proxy in proxies] == [Proxy, type(None), Proxy, bool]
    assert proxies == [1, None, [2], True]
    assert store.proxy_batch([]) == []


@pytest.mark.parametrize('obj', [None, True, False])
def test_non_proxiable_objects(store, obj):
    with pytest.raises(NonProxiableTypeError, match='is not proxiable'):
        store.proxy(obj)
    with pytest.raises(NonProxiableTypeError, match='1 objects that are not proxiable'):
        store.proxy_batch([1, obj])
    assert store.proxy(obj, skip_nonproxiable=True) is obj
    for method in (store.locked_proxy, store.owned_proxy):
        assert method(obj) is obj
        with pytest.raises(NonProxiableTypeError):
            method(obj, skip_nonproxiable=False)
    assert store.connector._store == {}
    assert type(store.proxy(1)) is Proxy
    assert type(store.proxy(0)) is Proxy


def test_locked_and_owned_proxies(store):
    locked = store.locked_proxy([1])
    assert type(locked) is ProxyLocker
    assert locked.unlock() == [1]
    owned = store.owned_proxy([1])
    assert type(owned) is OwnedProxy
    assert owned == [1]


def test_evict_and_lifetime_exclude_each_other(store):
    with ContextLifetime(store) as lifetime:
        for method, argument in (
            (store.proxy, 1),
            (store.proxy, None),
            (store.proxy_batch, [1]),
            (store.proxy_from_key, MISSING),
            (store.locked_proxy, 1),
        ):
            with pytest.raises(ValueError, match='mutually exclusive'):
                method(argument, evict=True, lifetime=lifetime)


def test_lifetime_that_has_ended_leaves_nothing_behind(store):
    lifetime = ContextLifetime(store)
    lifetime.close()
    for method, argument in ((store.put, 1), (store.put_batch, [1]), (store.proxy, 1)):
        with pytest.raises(RuntimeError, match='Lifetime has ended'):
            method(argument, lifetime=lifetime)
    assert store.connector._store == {}


def test_config_makes_an_equal_store(store_dir):
    original = Store(
        'store',
        FileConnector(store_dir),
        serializer=serialize,
        deserializer=deserialize,
        cache_size=3,
        metrics=True,
        populate_target=False,
    )
    config = original.config()
    made = Store.from_config(config)
    assert made.config() == config == original.config()
    assert repr(made) == repr(original)
    assert pickle.loads(pickle.dumps(config)) == config
    assert made.get(original.put([1])) == [1]
    assert config.connector.options == {'store_dir': store_dir}
    assert Store('plain', LocalConnector()).config().connector.options == {}


def test_config_is_a_copy_that_can_be_changed(store):
    config = store.config()
    config.name = 'changed'
    config.connector.options['include_data_in_config'] = True
    config.connector.kind = 'changed'
    assert store.config().name == 'store'
    assert store.config().connector.options == {}
    assert get_factory(store.proxy(1)).store_config == store.config()


def test_config_follows_the_connector():
    store = Store('store', BytesOnly('a'))
    assert store.config().connector.options == {'prefix': 'a'}
    store.connector.prefix = 'b'
    assert store.config().connector.options == {'prefix': 'b'}
    proxy = store.proxy(1)
    store.connector = LocalConnector()
    assert get_factory(proxy).store_config.connector.options == {'prefix': 'b'}
    assert get_factory(store.proxy(1)).store_config.connector.kind.endswith('LocalConnector')


def test_config_with_options_that_cannot_be_compared():
    class Arrays(BytesOnly):
        def config(self):
            return {'prefix': np.arange(3)}

    store = Store('store', Arrays())
    assert get_factory(store.proxy(1)).store_config.name == 'store'
    assert get_factory(store.proxy(2)).store_config.name == 'store'


def test_repr_shows_the_settings(store):
    assert repr(store) == (
        'Store(name=store, connector=LocalConnector(), serializer=default, deserializer=default, '
        'cache_size=16, metrics=False, populate_target=True, auto_register=True)'
    )
    custom = Store('custom', LocalConnector(), serializer=str, deserializer=str)
    assert 'serializer=custom, deserializer=custom' in repr(custom)


def test_a_store_cannot_be_pickled(store):
    with pytest.raises(TypeError, match=r'cannot pickle the store "store".*config\(\)'):
        pickle.dumps(store)


def test_registration_by_the_constructor():
    store = Store('name', LocalConnector(), register=True)
    assert get_store('name') is store
    with pytest.raises(StoreExistsError, match='"name" already exists') as caught:
        Store('name', LocalConnector(), register=True)
    assert 'get_store(name)' in caught.value.__notes__[0]
    store.close()
    assert get_store('name') is None
    store.close()


def test_close_leaves_another_store_of_the_name_registered():
    first = Store('name', LocalConnector(), register=True)
    second = Store('name', LocalConnector())
    register_store(second, exist_ok=True)
    first.close()
    assert get_store('name') is second


def test_close_passes_arguments_to_the_connector(tmp_path):
    for clear in (True, False):
        directory = tmp_path / str(clear)
        store = Store('store', FileConnector(directory))
        store.put(1)
        store.close(clear=clear)
        assert directory.exists() is not clear


def test_threads_share_a_store(store):
    errors = []

    def work(number):
        try:
            for i in range(100):
                key = store.put([number, i])
                assert store.get(key) == [number, i]
                assert store.proxy_from_key(key) == [number, i]
                store.evict(key)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.connector._store == {}


@pytest.mark.parametrize('obj', [b'bytes', 'text', np.arange(3), pd.DataFrame([[1, 2]])], ids=type)
def test_proxies_with_a_format_of_their_own_are_stored_by_value(store, store_dir, obj):
    with Store('file', FileConnector(store_dir)) as other:
        for target in (store, other):
            key = target.put(store.proxy(obj, evict=True, populate_target=False))
            got = target.get(key)
            assert type(got) is type(obj)
            assert np.array_equal(np.asarray(got), np.asarray(obj))


def test_other_proxies_are_stored_by_reference(store):
    got = store.get(store.put(store.proxy([1], populate_target=False)))
    assert type(got) is Proxy
    assert got == [1]


def test_unresolved_keys_of_another_connector_are_refused(store_dir, store):
    with Store('file', FileConnector(store_dir)) as other:
        for key in (LocalKey('x'), FileKey('../x'), ('x',), 5):
            with pytest.raises(ValueError, match='key'):
                other.get(key)
