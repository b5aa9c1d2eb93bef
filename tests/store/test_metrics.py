"""Measurements of the operations of a store."""

from __future__ import annotations

import math
import pickle
import textwrap

import pytest

from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.proxy import get_factory, resolve
from proxystore.store import Store
from proxystore.store.metrics import Metrics, StoreMetrics, TimeStats
from proxystore.store.utils import resolve_async

PUT = {'store.put', 'store.put.connector', 'store.put.serialize'}
GET = {'store.get', 'store.get.connector', 'store.get.deserialize'}


@pytest.fixture
def store():
    with Store('store', LocalConnector(), metrics=True, register=True) as store:
        yield store


def counts(metrics):
    return {name: stats.count for name, stats in metrics.times.items()}


def test_off_by_default():
    assert Store('store', LocalConnector()).metrics is None


def test_put_get_exists_evict(store):
    key = store.put([1])
    size = len(store.connector.get(key))
    metrics = store.metrics.get_metrics(key)
    assert counts(metrics) == dict.fromkeys(PUT, 1)
    assert metrics.attributes == {'store.put.object_size': size}
    store.get(key)
    store.get(key)
    store.exists(key)
    store.cache.evict(key)
    store.exists(key)
    store.evict(key)
    assert store.get(key) is None
    metrics = store.metrics.get_metrics(key)
    assert metrics.attributes == {'store.put.object_size': size, 'store.get.object_size': size}
    assert metrics.counters == {'store.get.cache_hits': 1, 'store.get.cache_misses': 2}
    assert counts(metrics) == {
        **dict.fromkeys(PUT, 1),
        'store.get': 3,
        'store.get.connector': 2,
        'store.get.deserialize': 1,
        'store.exists': 2,
        'store.exists.connector': 1,
        'store.evict': 1,
        'store.evict.connector': 1,
    }


def test_batches_are_known_by_the_sequence_of_their_keys(store):
    keys = store.put_batch([1, [2]])
    size = sum(len(store.connector.get(key)) for key in keys)
    metrics = store.metrics.get_metrics(keys)
    assert metrics.attributes == {'store.put_batch.object_sizes': size}
    assert counts(metrics) == {
        'store.put_batch': 1,
        'store.put_batch.connector': 1,
        'store.put_batch.serialize': 1,
    }
    assert store.metrics.get_metrics(tuple(keys)) == metrics
    assert store.metrics.get_metrics(keys[::-1]) is None
    assert store.metrics.get_metrics(keys[0]) is None


def test_proxies_are_measured(store):
    proxy = store.proxy([1], populate_target=False)
    assert counts(store.metrics.get_metrics(proxy)) == dict.fromkeys({*PUT, 'store.proxy'}, 1)
    resolve(proxy)
    metrics = store.metrics.get_metrics(proxy)
    assert counts(metrics) == dict.fromkeys(
        {*PUT, *GET, 'store.proxy', 'factory.call', 'factory.resolve'}, 1
    )
    assert store.metrics.get_metrics(get_factory(proxy).key) == metrics
    proxies = store.proxy_batch([1, 2])
    assert counts(store.metrics.get_metrics(proxies)) == {
        'store.put_batch': 1,
        'store.put_batch.connector': 1,
        'store.put_batch.serialize': 1,
        'store.proxy_batch': 1,
    }
    owned = store.owned_proxy([1])
    assert counts(store.metrics.get_metrics(owned)) == dict.fromkeys({*PUT, 'store.proxy'}, 1)


def test_times_of_factories_are_milliseconds(store):
    proxy = store.proxy([1], populate_target=False)
    resolve_async(proxy)
    resolve(proxy)
    times = store.metrics.get_metrics(proxy).times
    assert times['factory.resolve'].count == times['factory.call'].count == 1
    for name in ('factory.resolve', 'factory.call'):
        # A nanosecond's worth of this field would be a million times as much.
        assert 0 < times[name].avg_time_ms < 60_000
    assert times['store.get'].avg_time_ms <= times['factory.resolve'].avg_time_ms


def test_futures_are_measured(store):
    future = store.future(polling_interval=0.001)
    key = future._factory.key
    assert counts(store.metrics.get_metrics(key)) == {
        'store.future': 1,
        'store.future.connector': 1,
    }
    future.set_result([1])
    future.result()
    metrics = store.metrics.get_metrics(key)
    assert set(metrics.times) == {
        'store.future',
        'store.future.connector',
        'store.set',
        'store.set.connector',
        'store.set.serialize',
        *GET,
        'factory.polling_resolve',
    }
    assert metrics.attributes['store.set.object_size'] == len(store.connector.get(key))
    assert 0 < metrics.times['factory.polling_resolve'].avg_time_ms < 60_000


def test_what_is_got_is_a_copy(store):
    key = store.put(1)
    metrics = store.metrics.get_metrics(key)
    metrics.times.clear()
    metrics.attributes['x'] = 1
    assert set(store.metrics.get_metrics(key).times) == PUT
    assert store.metrics.get_metrics(LocalKey('missing')) is None


def test_private_mapping_in_outside_use(store):
    store.put(1)
    (metrics,) = store.metrics._metrics.values()
    assert isinstance(metrics, Metrics)


def test_same_names_as_upstream(upstream, store):
    code = """
    from proxystore.connectors.local import LocalConnector
    from proxystore.proxy import resolve
    from proxystore.store import Store
    store = Store('store', LocalConnector(), metrics=True, register=True)
    key = store.put([1])
    store.get(key), store.get(key), store.exists(key), store.evict(key), store.exists(key)
    proxy = store.proxy([1], populate_target=False)
    resolve(proxy)
    keys = store.put_batch([1, 2])
    proxies = store.proxy_batch([1, 2])
    future = store.future()
    future.set_result(1)
    future.result()
    found = [
        store.metrics.get_metrics(of) for of in (key, proxy, keys, proxies, future._factory.key)
    ]
    store.close()
    result = [
        (sorted(m.attributes.items()), sorted(m.counters.items()),
         sorted((name, stats.count) for name, stats in m.times.items()))
        for m in found
    ]
    """
    store.close()
    namespace: dict = {}
    exec(textwrap.dedent(code), namespace)
    assert namespace['result'] == upstream.run(code)


def test_time_stats_add_up():
    stats = TimeStats()
    assert stats.as_dict() == {
        'count': 0,
        'avg_time_ms': 0,
        'min_time_ms': math.inf,
        'max_time_ms': 0,
        'last_time_ms': 0,
        'last_timestamp': 0,
    }
    stats.add_time(5)
    stats.add_time(2)
    assert stats.last_timestamp > 0
    stats.last_timestamp = 0
    assert stats == TimeStats(2, 3.5, 2, 5, 2, 0)


def test_times_are_aggregated_over_objects():
    metrics = StoreMetrics()
    metrics.add_time('t', ('a',), 5.0)
    metrics.add_time('t', ('a',), 7.0)
    metrics.add_time('t', [('b',), ('c',)], 1.0)
    metrics.add_time('u', ('b',), 2.0)
    total = metrics.aggregate_times()
    assert total['t'].count == 3
    assert total['t'].avg_time_ms == pytest.approx(13 / 3)
    assert (total['t'].min_time_ms, total['t'].max_time_ms) == (1, 7)
    assert total['t'].last_time_ms == 1
    assert total['u'].count == 1


def test_attributes_are_replaced_and_counters_added():
    metrics = StoreMetrics()
    for value in (1, 2):
        metrics.add_attribute('a', ('k',), value)
        metrics.add_counter('c', ('k',), value)
    found = metrics.get_metrics(('k',))
    assert found.as_dict() == {'attributes': {'a': 2}, 'counters': {'c': 3}, 'times': {}}
    assert pickle.loads(pickle.dumps(found.as_dict())) == found.as_dict()
