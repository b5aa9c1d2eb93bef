"""Proxies of all kinds of objects, used as those objects are, and the stores that make them.

Run as: proxies.py DIRECTORY
"""
# ruff: noqa: RUF005, T201

from __future__ import annotations

import collections
import copy
import json
import math
import operator
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxystore.connectors.file import FileConnector
from proxystore.connectors.local import LocalConnector
from proxystore.connectors.multi import MultiConnector, MultiConnectorError, Policy
from proxystore.factory import Factory, LambdaFactory, SimpleFactory
from proxystore.proxy import (
    Proxy,
    ProxyLocker,
    ProxyResolveError,
    extract,
    get_factory,
    is_resolved,
    resolve,
)
from proxystore.serialize import SerializationError
from proxystore.store import (
    Store,
    get_or_create_store,
    get_store,
    register_store,
    store_registration,
    unregister_store,
)
from proxystore.store.exceptions import NonProxiableTypeError, StoreExistsError


@dataclass
class Point:
    x: int
    y: int = 0

    def __matmul__(self, other: Point) -> int:
        return self.x * other.x + self.y * other.y

    def __enter__(self) -> str:
        return 'entered'

    def __exit__(self, *exc: object) -> None:
        print('left', exc[0])


class Slow(Factory[list[int]]):
    def __init__(self) -> None:
        pass

    def resolve(self) -> list[int]:
        print('resolving')
        return [3, 1, 2]


def attempt(what: str, call: Any) -> None:
    try:
        print(what, '->', call())
    except Exception as e:
        print(what, '!!', type(e).__name__, '|', type(e.__cause__).__name__)


def use_proxies() -> None:
    p = Proxy(Slow())
    print(type(p) is Proxy, is_resolved(p), isinstance(p, Proxy))
    print(sorted(p), len(p), p[0], p[1:], 2 in p, p + [9], p * 2, list(reversed(p)))
    p.append(4)
    p += [5]
    p[0] = 0
    del p[1]
    print(p, type(p) is Proxy, p == [0, 2, 4, 5], bool(p), p != [], repr(extract(p)))
    print(isinstance(p, list), p.__class__ is list, [*p], json.dumps(list(p)))
    n = Proxy(SimpleFactory(7))
    print(n + 1, 1 + n, n - 1, n * 2, n / 2, n // 2, n % 4, -n, abs(n), n**2, 2**n, n << 1, ~n)
    print(divmod(n, 2), divmod(20, n), int(n), float(n), n & 3, n | 8, n ^ 1, n < 8, n >= 7)
    print(math.sqrt(Proxy(SimpleFactory(16.0))), round(Proxy(SimpleFactory(2.5))), hash(n))
    print(operator.index(n), range(10)[n], complex(n), f'{n}', str(n), bytes(n))
    s = Proxy(SimpleFactory('text'))
    print(s.upper(), s + 'x', 'x' + s, s in {'text'}, {s: 1}['text'], len(s), 'ex' in s, s[::-1])
    d = Proxy(SimpleFactory(collections.OrderedDict(a=1)))
    d['b'] = 2
    print(list(d.items()), {**d}, dict(d), d.get('c', 3), 'a' in d, [*d])
    pt = Proxy(SimpleFactory(Point(1, 2)))
    pt.x = 5
    print(pt, pt.x, pt @ Point(1, 1), pt == Point(5, 2), pt.__dict__, vars(extract(pt)))
    del pt.y
    attempt('deleted', lambda: 'y' in vars(extract(pt)))
    with Proxy(SimpleFactory(Point(1))) as entered:
        print(entered)
    f = Proxy(SimpleFactory(max))
    print(f(1, 2), f.__name__, callable(f))
    it = Proxy(SimpleFactory(iter([1, 2])))
    print(next(it), list(it))
    a = Proxy(SimpleFactory(np.arange(6).reshape(2, 3)))
    print(a.sum(), a.T.shape, np.asarray(a).tolist(), (a + a).tolist(), np.sin(a).shape, a[1, 2])
    a[0] = 9
    print(extract(a).tolist(), np.concatenate([a, a]).shape, isinstance(a, np.ndarray))
    frame = Proxy(SimpleFactory(pd.DataFrame({'a': [1, 2]})))
    print(frame['a'].sum(), frame.shape, len(frame), pd.concat([frame, frame]).shape)
    attempt('bad factory', lambda: Proxy(3))
    attempt('raising', lambda: len(Proxy(LambdaFactory(operator.truediv, 1, 0))))
    attempt('no factory', lambda: len(Proxy.__new__(Proxy)))
    locked = ProxyLocker(Proxy(Slow()))
    attempt('locked', lambda: locked._proxy)
    print(is_resolved(locked.unlock()))
    defaults = Proxy(Slow(), cache_defaults=True, target=[1])
    twin = copy.copy(defaults)
    print(is_resolved(defaults), is_resolved(twin), isinstance(twin, list), is_resolved(twin))
    attempt('hash', lambda: hash(twin))
    resolve(twin)
    again = pickle.loads(pickle.dumps(twin))
    print(type(again) is Proxy, is_resolved(again), again == [3, 1, 2], len(again))
    print(isinstance(ProxyResolveError('m', ValueError()), Exception))


def use_stores(directory: str) -> None:
    store = Store('a', FileConnector(directory), cache_size=2)
    register_store(store)
    attempt('twice', lambda: register_store(store))
    register_store(store, exist_ok=True)
    attempt('name taken', lambda: Store('a', LocalConnector(), register=True))
    for value in (1, 'ü', b'\0', [1, {'a': (None, True)}], np.arange(3), {1, 2}, Point(1), 2.5):
        key = store.put(value)
        got = store.get(key)
        print(type(key).__name__, type(got).__name__, np.array_equal(got, value), store.exists(key))
        store.evict(key)
        print(store.exists(key), store.get(key, default='nothing'), store.is_cached(key))
    keys = store.put_batch([1, 2, 3])
    print([store.get(key) for key in keys], [store.is_cached(key) for key in keys])
    attempt('None', lambda: store.proxy(None))
    attempt('bool', lambda: store.proxy(True))
    print(store.proxy(None, skip_nonproxiable=True), store.locked_proxy(True))
    print([type(x).__name__ for x in store.proxy_batch([1, None, 'a'], skip_nonproxiable=True)])
    p = store.proxy([1], populate_target=False)
    print(get_store(p) is store, type(get_factory(p)).__name__, is_resolved(p), p)
    attempt('not bytes', lambda: store.put(1, serializer=lambda x: x))
    attempt('bad bytes', lambda: store.get(store.put(1, serializer=lambda _: b'?')))
    future = store.future(polling_interval=0.01)
    print(future.done(), type(future.proxy()).__name__)
    future.set_result('later')
    print(future.done(), future.result(), str(future.proxy()))
    config = store.config()
    print(config.name, config.cache_size, config.connector.get_connector_type().__name__)
    print(get_or_create_store(config) is store)
    print(issubclass(StoreExistsError, Exception), issubclass(NonProxiableTypeError, Exception))
    print(issubclass(SerializationError, Exception))
    store.close()
    unregister_store(store)
    print(get_store('a'), Path(directory).exists())


def use_connectors() -> None:
    connector = MultiConnector(
        {
            'small': (LocalConnector(), Policy(max_size_bytes=100, priority=1)),
            'tagged': (LocalConnector(), Policy(subset_tags=['gpu', 'fast'], priority=2)),
            'any': (LocalConnector(), Policy()),
        }
    )
    with store_registration(Store('multi', connector)):
        store = get_store('multi')
        for value, tags in ((b'x', {}), (b'x' * 200, {}), (b'x' * 200, {'subset_tags': ['gpu']})):
            key = store.put(value, **tags)
            print(key.connector_name, store.get(key) == value, store.exists(key))
        attempt('no policy', lambda: store.put(b'x', subset_tags=['none']))
        print(issubclass(MultiConnectorError, Exception))
    print(get_store('multi'))
    connector.close()


if __name__ == '__main__':
    use_proxies()
    use_stores(sys.argv[1])
    use_connectors()
