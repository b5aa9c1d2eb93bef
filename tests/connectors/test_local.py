"""The connector that keeps objects in a dictionary of this process."""

from __future__ import annotations

import pickle
import uuid

import numpy as np
import pytest

from proxystore.connectors.exceptions import ConnectorClosedError, ConnectorKeyError
from proxystore.connectors.file import FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.connectors.protocols import Connector, DeferrableConnector
from proxystore.serialize import deserialize, serialize
from proxystore.store import Store


def test_is_a_deferrable_connector():
    connector = LocalConnector()
    assert isinstance(connector, Connector)
    assert isinstance(connector, DeferrableConnector)
    assert repr(connector) == 'LocalConnector()'


def test_put_get_exists_evict():
    with LocalConnector() as connector:
        key = connector.put(b'object')
        assert connector.get(key) == b'object'
        assert connector.exists(key)
        connector.evict(key)
        connector.evict(key)
        assert not connector.exists(key)
        assert connector.get(key) is None


def test_batches_keep_their_order():
    connector = LocalConnector()
    keys = connector.put_batch([b'1', b'2', b''])
    assert connector.get_batch([*reversed(keys), LocalKey('missing')]) == [b'', b'2', b'1', None]
    assert connector.put_batch([]) == []


def test_keys_are_random_uuids_that_pickle_and_hash():
    connector = LocalConnector()
    keys = {connector.put(b'x') for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert type(key) is LocalKey
        assert uuid.UUID(key.id).version == 4
        assert pickle.loads(pickle.dumps(key)) == key


def test_deferred_object_is_there_once_it_is_set():
    connector = LocalConnector()
    key = connector.new_key()
    assert not connector.exists(key)
    assert connector.get(key) is None
    connector.set(key, b'later')
    assert connector.get(key) == b'later'
    connector.set(key, b'replaced')
    assert connector.get(key) == b'replaced'


def test_objects_and_the_dictionary_are_kept_by_reference():
    objects: dict = {}
    first, second = LocalConnector(objects), LocalConnector(objects)
    obj = bytearray(b'abc')
    key = first.put(obj)
    assert second.get(key) is obj
    assert objects == {key: obj}
    first.close()
    assert objects == {key: obj}
    assert second.get(key) is obj


def test_config_holds_only_what_differs_from_the_defaults():
    assert LocalConnector().config() == {}
    objects: dict = {}
    connector = LocalConnector(objects, include_data_in_config=True)
    config = connector.config()
    assert config == {'include_data_in_config': True, 'store_dict': objects}
    assert config['store_dict'] is objects
    key = connector.put(b'x')
    assert LocalConnector.from_config(config).get(key) == b'x'
    assert LocalConnector.from_config({}).get(key) is None


def test_unknown_option_is_refused():
    with pytest.raises(TypeError, match='other'):
        LocalConnector.from_config({'other': 1})


@pytest.mark.parametrize(
    'use',
    [
        lambda c, k: c.put(b'x'),
        lambda c, k: c.put_batch([b'x']),
        lambda c, k: c.get(k),
        lambda c, k: c.get_batch([k]),
        lambda c, k: c.exists(k),
        lambda c, k: c.evict(k),
        lambda c, k: c.new_key(),
        lambda c, k: c.set(k, b'x'),
    ],
)
def test_use_after_close(use):
    connector = LocalConnector()
    key = connector.put(b'x')
    connector.close()
    connector.close()
    with pytest.raises(ConnectorClosedError, match=r'LocalConnector\(\) is closed'):
        use(connector, key)


@pytest.mark.parametrize('key', ['text', 7, None, ['list'], FileKey('name')])
def test_foreign_keys_are_refused(key):
    connector = LocalConnector()
    for use in (connector.get, connector.exists, connector.evict):
        with pytest.raises(ConnectorKeyError, match='is not a key of a LocalConnector'):
            use(key)
    with pytest.raises(ConnectorKeyError):
        connector.set(key, b'x')


def test_plain_tuple_is_equal_to_its_key():
    connector = LocalConnector()
    key = connector.put(b'x')
    assert connector.get(tuple(key)) == b'x'


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
def test_array_from_shared_memory_is_private_and_writable(kind):
    connector = LocalConnector()
    store = Store('local', connector, cache_size=0)
    data = kind(bytearray(serialize(np.arange(5))))
    key = connector.put(data)
    first, second = store.get(key), store.get(key)
    first[:] = 7
    assert second.tolist() == [0, 1, 2, 3, 4]
    assert deserialize(bytes(data)).tolist() == [0, 1, 2, 3, 4]
