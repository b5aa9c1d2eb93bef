"""What bad input and bad luck get: typed errors that name the key and the store."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorKeyError,
    ObjectCorruptedError,
)
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.proxy import ProxyResolveError, get_factory
from proxystore.serialize import SerializationError
from proxystore.store import Store, get_or_create_store
from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.store.exceptions import ProxyResolveMissingKeyError


@pytest.fixture(params=['local', 'file'])
def store(request, store_dir):
    connector = LocalConnector() if request.param == 'local' else FileConnector(store_dir)
    with Store('the store', connector, register=True, cache_size=0) as store:
        yield store


def stored(store):
    """How many objects there are."""
    if isinstance(store.connector, LocalConnector):
        return len(store.connector._store)
    return len(list(Path(store.connector.store_dir).iterdir()))


@pytest.mark.parametrize('obj', [threading.Lock(), [threading.Lock()], {'a': threading.Lock()}])
def test_object_that_cannot_be_serialized(store, obj):
    for put in (store.put, store.proxy, store.owned_proxy, lambda o: store.put_batch([1, o])):
        with pytest.raises(SerializationError, match='"the store"') as caught:
            put(obj)
        assert str(type(obj)) in str(caught.value)
        assert isinstance(caught.value.__cause__, TypeError)
    assert stored(store) == 0


@pytest.mark.parametrize('result', ['text', 5, None, {b'x'}])
def test_serializer_that_does_not_return_bytes(store, result):
    with pytest.raises(TypeError, match=r'bytes-like.*"the store".*' + type(result).__name__):
        store.put(1, serializer=lambda _: result)
    assert stored(store) == 0


def test_serializer_that_fails(store):
    with pytest.raises(ZeroDivisionError):
        store.put(1, serializer=lambda _: 1 / 0)
    assert stored(store) == 0


@pytest.mark.parametrize(
    'data', [b'', b'nonsense', b'PK\nnonsense', b'NP\n\x93NUMPY\x01\x00', b'XX\n' + bytes(100_000)]
)
def test_data_that_cannot_be_deserialized(store, data):
    key = store.connector.put(data)
    with pytest.raises(SerializationError, match='Failed to deserialize') as caught:
        store.get(key)
    assert str(key) in str(caught.value)
    assert '"the store"' in str(caught.value)
    assert 'proxystore.serialize.deserialize' in str(caught.value)
    with pytest.raises(ProxyResolveError) as resolving:
        bool(store.proxy_from_key(key))
    assert isinstance(resolving.value.cause, SerializationError)
    assert store.exists(key)


def test_object_cut_short(store):
    key = store.put(np.arange(100_000))
    data = bytes(store.connector.get(key))
    cut = store.connector.put(data[: len(data) // 2])
    with pytest.raises(SerializationError, match=str(cut.__class__.__name__)) as caught:
        store.get(cut)
    assert isinstance(caught.value, ObjectCorruptedError)
    assert 'should have 800128 bytes, but 400064 are there' in str(caught.value.__cause__)


def test_missing_object_is_named(store):
    key = store.put([1])
    store.evict(key)
    proxy = store.proxy_from_key(key)
    with pytest.raises(ProxyResolveError) as caught:
        bool(proxy)
    cause = caught.value.cause
    assert isinstance(cause, ProxyResolveMissingKeyError)
    assert str(key) in str(cause)
    assert "'the store'" in str(cause)
    assert (cause.key, cause.store_name) == (key, 'the store')


def test_foreign_key_is_refused(store):
    foreign = FileKey('x') if isinstance(store.connector, LocalConnector) else LocalKey('x')
    for use in (store.get, store.exists, store.evict):
        with pytest.raises(ConnectorKeyError):
            use(foreign)


def test_use_after_close(store):
    key = store.put([1])
    proxy = store.proxy_from_key(key)
    store.close()
    store.close()
    for use in (
        lambda: store.put(1),
        lambda: store.put_batch([1]),
        lambda: store.get(key),
        lambda: store.exists(key),
        lambda: store.evict(key),
        lambda: store.proxy([1]),
        lambda: store.future(),
    ):
        with pytest.raises(ConnectorClosedError, match='closed'):
            use()
    # The proxy makes the store anew, in which its object is not.
    with pytest.raises(ProxyResolveError):
        bool(proxy)


def test_store_that_cannot_be_made():
    config = StoreConfig(name='nowhere', connector=ConnectorConfig(kind='no.such.Connector'))
    with pytest.raises(ValueError, match=r'no\.such\.Connector'):
        get_or_create_store(config)
    proxy = Store('x', LocalConnector()).proxy([1], populate_target=False)
    get_factory(proxy).store_config = config
    with pytest.raises(ProxyResolveError) as caught:
        bool(proxy)
    assert isinstance(caught.value.cause, ValueError)


def test_factory_that_cannot_be_pickled(store):
    proxy = store.proxy_from_key(store.put([1]), deserializer=lambda _: ['mine'])
    with pytest.raises((pickle.PicklingError, AttributeError), match='lambda'):
        pickle.dumps(proxy)
    with pytest.raises(SerializationError, match='"the store"'):
        store.put({'a': [threading.Lock(), proxy]})
    assert proxy == ['mine']
