"""The connector that distributes objects over several others by policy."""

from __future__ import annotations

import pickle
import re
import socket

import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorKeyError,
)
from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.connectors.multi import MultiConnector, MultiConnectorError, MultiKey, Policy
from proxystore.store import Store, get_or_create_store
from proxystore.store.config import StoreConfig

ELSEWHERE = 'a host that nobody has'


def make(**policies):
    return MultiConnector({name: (LocalConnector(), policy) for name, policy in policies.items()})


@pytest.mark.parametrize(
    ('constraints', 'valid'),
    [
        ({}, True),
        ({'size_bytes': 1}, False),
        ({'size_bytes': 2}, True),
        ({'size_bytes': 10}, True),
        ({'size_bytes': 11}, False),
        ({'subset_tags': []}, True),
        ({'subset_tags': ['a']}, True),
        ({'subset_tags': ['a', 'c']}, False),
        ({'superset_tags': []}, False),
        ({'superset_tags': ['x']}, False),
        ({'superset_tags': ['x', 'y', 'z']}, True),
    ],
)
def test_policy(constraints, valid):
    policy = Policy(
        min_size_bytes=2, max_size_bytes=10, subset_tags=['a', 'b'], superset_tags=['x', 'y']
    )
    assert policy.is_valid(**constraints) is valid


def test_default_policy_takes_everything_without_subset_tags():
    assert Policy().is_valid(size_bytes=0, subset_tags=[], superset_tags=['any'])
    assert not Policy().is_valid(subset_tags=['any'])


@pytest.mark.parametrize(
    ('pattern', 'valid'),
    [
        (None, True),
        (socket.gethostname(), True),
        ('.*', True),
        (socket.gethostname()[:1], len(socket.gethostname()) == 1),
        (ELSEWHERE, False),
        ('', False),
        ([], False),
        ([ELSEWHERE, '.*'], True),
        ((ELSEWHERE,), False),
    ],
)
def test_policy_of_hosts(pattern, valid):
    assert Policy(host_pattern=pattern).is_valid_on_host() is valid


def test_pattern_from_an_iterator_can_be_used_again():
    policy = Policy(host_pattern=iter(['.*']))
    assert policy.is_valid_on_host()
    assert policy.is_valid_on_host()
    assert policy.as_dict()['host_pattern'] == ['.*']


def test_pattern_that_is_no_regular_expression():
    with pytest.raises(re.error):
        Policy(host_pattern='(').is_valid_on_host()


def test_policy_survives_as_a_dictionary():
    policy = Policy(1, ['a'], 2, 3, ['b'], ['c'])
    assert Policy(**policy.as_dict()) == policy
    assert Policy(**Policy().as_dict()) == Policy()


def test_highest_priority_that_takes_the_object_gets_it():
    connector = make(
        low=Policy(),
        small=Policy(priority=2, max_size_bytes=3),
        tagged=Policy(1, subset_tags=['t']),
    )
    assert connector.put(b'123').connector_name == 'small'
    assert connector.put(b'1234').connector_name == 'tagged'
    assert connector.put(b'1234', subset_tags=['t']).connector_name == 'tagged'
    assert connector.put([b'12', memoryview(b'34')]).connector_name == 'tagged'


def test_of_equal_priorities_the_first_gets_it():
    assert make(b=Policy(), a=Policy()).put(b'').connector_name == 'b'


def test_no_policy_takes_the_object():
    connector = make(a=Policy(max_size_bytes=2))
    for put in (lambda: connector.put(b'123'), lambda: connector.put_batch([b'1', b'123'])):
        with pytest.raises(MultiConnectorError, match='No connector policy was suitable') as caught:
            put()
        assert '3 bytes' in str(caught.value)
        assert "['a']" in str(caught.value)
    assert connector.connectors['a'].connector._store == {}
    with pytest.raises(MultiConnectorError, match="subset_tags=\\['x'\\]"):
        connector.put(b'', subset_tags=['x'])
    with pytest.raises(MultiConnectorError):
        MultiConnector({}).put(b'')


def test_operations_reach_the_connector_of_the_key():
    connector = make(a=Policy(1, max_size_bytes=3), b=Policy())
    keys = connector.put_batch([b'1', b'12345', b'2', b''])
    assert [key.connector_name for key in keys] == ['a', 'b', 'a', 'a']
    missing = MultiKey('b', LocalKey('missing'))
    assert connector.get_batch([keys[1], missing, keys[0]]) == [b'12345', None, b'1']
    assert connector.get(keys[2]) == b'2'
    assert connector.exists(keys[3])
    connector.evict(keys[3])
    assert not connector.exists(keys[3])
    assert connector.put_batch([]) == connector.get_batch([]) == []
    assert pickle.loads(pickle.dumps(keys)) == keys


def test_batch_that_fails_leaves_nothing_behind():
    class Full(LocalConnector):
        def put_batch(self, objs):
            raise OSError(28, 'full')

    first = LocalConnector()
    connector = MultiConnector(
        {'first': (first, Policy(1, max_size_bytes=3)), 'full': (Full(), Policy())}
    )
    with pytest.raises(OSError, match='full'):
        connector.put_batch([b'1', b'12345'])
    assert first._store == {}


@pytest.mark.parametrize('use', ['get', 'exists', 'evict'])
def test_key_of_no_connector(use):
    connector = make(a=Policy())
    with pytest.raises(MultiConnectorError, match=r'which created .* does not exist'):
        getattr(connector, use)(MultiKey('z', 1))
    for key in (5, 'text', ('a', LocalKey('x')), LocalKey('x')):
        with pytest.raises(ConnectorKeyError, match='is not a key of a MultiConnector'):
            getattr(connector, use)(key)
    with pytest.raises(ConnectorKeyError):
        connector.get_batch([LocalKey('x')])


def test_dormant_connectors_stay_in_the_configuration(store_dir):
    config = {
        'here': ('proxystore.connectors.local.LocalConnector', {}, Policy().as_dict()),
        'there': (
            'proxystore.connectors.file.FileConnector',
            {'store_dir': store_dir},
            Policy(host_pattern=ELSEWHERE).as_dict(),
        ),
    }
    connector = MultiConnector.from_config(config)
    assert list(connector.connectors) == ['here']
    before = dict(connector.dormant_connectors)
    assert connector.config() == config
    assert connector.dormant_connectors == before
    with pytest.raises(MultiConnectorError, match='is dormant'):
        connector.get(MultiKey('there', 1))
    assert MultiConnector.from_config(connector.config()).config() == config


def test_close_closes_the_connectors():
    connector = make(a=Policy(), b=Policy())
    key = connector.put(b'x')
    with connector:
        pass
    connector.close()
    with pytest.raises(ConnectorClosedError):
        connector.get(key)


@pytest.mark.parametrize(
    'entry',
    [
        5,
        'path',
        ('proxystore.connectors.local.LocalConnector', {}),
        ('proxystore.connectors.local.LocalConnector', {}, {'nope': 1}),
        ('proxystore.connectors.local.LocalConnector', {}, None),
    ],
)
def test_damaged_configuration_names_the_connector(entry):
    with pytest.raises(ConnectorConfigError, match='"broken"'):
        MultiConnector.from_config({'broken': entry})


def test_store_rebuilds_from_its_configuration(tmp_path, peer):
    directories = [str(tmp_path / name) for name in 'ab']
    connector = MultiConnector(
        {
            'small': (FileConnector(directories[0]), Policy(1, max_size_bytes=100)),
            'large': (FileConnector(directories[1]), Policy(host_pattern=['.*'])),
        }
    )
    with Store('multi', connector, register=True) as store:
        config = store.config()
        rebuilt = Store.from_config(config.model_copy(update={'auto_register': False}))
        assert rebuilt.connector.config() == connector.config()
        proxies = [store.proxy(obj, populate_target=False) for obj in ([1], list(range(1000)))]
        assert [p.__proxy_factory__.key.connector_name for p in proxies] == ['small', 'large']
        assert peer.run(
            """
            import pickle
            result = [sum(proxy) for proxy in pickle.loads(proxies)]
            """,
            proxies=pickle.dumps(proxies),
        ) == [1, sum(range(1000))]


def test_upstream_configuration_is_taken(tmp_path, upstream):
    data = upstream.run(
        """
        import pickle
        from proxystore.connectors.file import FileConnector
        from proxystore.connectors.multi import MultiConnector, Policy
        from proxystore.store import Store
        store = Store('theirs', MultiConnector({
            'file': (FileConnector(directory), Policy(priority=3)),
        }))
        result = pickle.dumps((store.config(), store.put([1, 2])))
        """,
        directory=str(tmp_path),
    )
    config, key = pickle.loads(data)
    store = get_or_create_store(config)
    assert store.get(key) == [1, 2]
    assert store.connector.connectors['file'].policy.priority == 3


def test_configuration_from_toml_has_lists(tmp_path):
    path = tmp_path / 'store.toml'
    path.write_text(
        'name = "multi"\n[connector]\nkind = "multi"\n[connector.options]\n'
        'a = ["proxystore.connectors.local.LocalConnector", {}, {priority = 2}]\n'
    )
    store = Store.from_config(StoreConfig.from_toml(path))
    assert store.connector.connectors['a'].policy == Policy(priority=2)
    assert store.get(store.put([1])) == [1]
