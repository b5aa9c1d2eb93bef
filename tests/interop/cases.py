"""Objects that travel between processes as pickles, written once for either implementation.

A case is two snippets. `make` finds the path of an empty directory in `dir` and leaves an object in
`obj`. `describe` finds the unpickled object in `obj` and leaves what there is to say about it, as
plain data, in `result`: the two implementations must say the same.
"""

from __future__ import annotations

import dataclasses
import textwrap


@dataclasses.dataclass(frozen=True)
class Case:
    """One object.

    Attributes:
        name: What it is.
        make: Snippet that makes it.
        describe: Snippet that describes it.
        upstream_opens: Whether upstream can open and describe it at all, from whomever it comes.
    """

    name: str
    make: str
    describe: str
    upstream_opens: bool = True

    @property
    def maker(self) -> str:
        """Source that leaves the pickled object in `result`."""
        return '\n'.join(
            (_IMPORTS, _STORE, textwrap.dedent(self.make), 'result = pickle.dumps(obj, protocol)')
        )

    @property
    def opener(self) -> str:
        """Source that finds the pickled object in `data` and leaves the description in `result`."""
        return '\n'.join((_IMPORTS, 'obj = pickle.loads(data)', textwrap.dedent(self.describe)))


_IMPORTS = """
import operator, os, pickle, sys, warnings
warnings.simplefilter('ignore')
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.connectors.multi import MultiConnector, MultiKey, Policy
from proxystore.factory import LambdaFactory, SimpleFactory
from proxystore.proxy import (
    Proxy, ProxyLocker, extract, get_factory, is_resolved, resolve)
from proxystore.store import Store, get_store
from proxystore.store.config import ConnectorConfig, StoreConfig
from proxystore.store.factory import PollingStoreFactory, StoreFactory
from proxystore.store.ref import OwnedProxy, RefProxy, borrow, clone, mut_borrow
from proxystore.stream.events import (
    EndOfStreamEvent, EventBatch, NewObjectEvent, NewObjectKeyEvent,
    bytes_to_event, event_to_bytes)

def files():
    return sorted(name.endswith('.ready') for name in os.listdir(dir))

def fields(config):
    # An option may be left out if it has its default.
    found = config.model_dump()
    defaults = {'clear': True, 'buffering': -1, 'include_data_in_config': False}
    options = found['connector']['options'] if 'connector' in found else found['options']
    for name, value in defaults.items():
        if options.get(name) == value:
            del options[name]
    return found
"""

_STORE = """
store = Store('shared', FileConnector(dir, clear=False), cache_size=0)
local = Store('local', LocalConnector(include_data_in_config=True))
multi = Store('multi', MultiConnector({
    'small': (FileConnector(dir + '/small', clear=False), Policy(max_size_bytes=100)),
    'large': (FileConnector(dir + '/large', clear=False), Policy(min_size_bytes=101)),
}))
"""

_VALUE = "{'a': [1, 2.5, None], 'ü': b'x' * 300}"

_PROXY = """
before = is_resolved(obj)
value = extract(obj)
result = (type(obj).__name__, before, is_resolved(obj), value, type(value).__name__)
"""

_CONFIG = """
result = (type(obj).__name__, fields(obj))
"""

_CONFIG_OPENS = """
with Store.from_config(obj) as store:
    key = store.put([1, 2])
    result = (type(obj).__name__, store.name, type(store.connector).__name__, store.get(key),
              type(key).__name__, fields(obj) == fields(store.config()))
"""

CASES = [
    # Proxies of a store.
    Case('proxy', f'obj = store.proxy({_VALUE}, populate_target=False)', _PROXY),
    Case('proxy_of_array', 'import numpy; obj = store.proxy(numpy.arange(10))',
         'result = (type(obj).__name__, obj.sum().item(), obj.dtype.str)'),
    Case('proxy_populated', f'obj = store.proxy({_VALUE})', _PROXY),
    Case(
        'proxy_defaults',
        'obj = store.proxy((2, 1))',
        """
        before = is_resolved(obj)
        result = (before, obj.__class__.__name__, isinstance(obj, tuple),
                  hash(obj) == hash((2, 1)), is_resolved(obj), obj + ())
        """,
    ),
    Case(
        'proxy_unhashable',
        'obj = store.proxy([1])',
        """
        try:
            said = hash(obj)
        except TypeError as e:
            said = str(e)
        result = (said, is_resolved(obj), list(obj))
        """,
    ),
    Case(
        'proxy_evict',
        'obj = store.proxy([1], evict=True, populate_target=False)',
        'before = files(); result = (list(obj), before, files())',
    ),
    Case(
        'proxy_deserializer',
        """
        obj = store.proxy([1], serializer=pickle.dumps, deserializer=pickle.loads,
                          populate_target=False)
        """,
        'result = (list(obj), get_factory(obj).deserializer is pickle.loads)',
    ),
    Case(
        'proxy_missing',
        'obj = store.proxy([1], populate_target=False); store.evict(get_factory(obj).key)',
        """
        try:
            len(obj)
        except Exception as e:
            cause = e.__cause__
            result = (type(e).__name__, type(cause).__name__, e.cause is cause,
                      cause.store_name, cause.store_type.__name__, type(cause.key).__name__,
                      is_resolved(obj))
        """,
    ),
    Case('proxy_from_key', 'obj = store.proxy_from_key(store.put([1, 2]))', _PROXY),
    Case(
        'proxy_batch',
        'obj = store.proxy_batch([1, "two", [3]], populate_target=False)',
        'result = (type(obj).__name__, [extract(p) for p in obj])',
    ),
    Case('proxy_of_proxy', 'obj = store.proxy([store.proxy([1], populate_target=False)])',
         'result = (type(obj).__name__, type(obj[0]).__name__, list(obj[0]))'),
    Case(
        'proxies_in_containers',
        'p = store.proxy([1]); obj = {"a": [p, p], "b": (store.proxy("x"),)}',
        'result = (obj["a"][0] is obj["a"][1], list(obj["a"][0]), str(obj["b"][0]))',
    ),
    Case('proxy_local', f'obj = local.proxy({_VALUE}, populate_target=False)', _PROXY),
    Case('proxy_multi', 'obj = [multi.proxy(b"x" * n, populate_target=False) for n in (1, 1000)]',
         'result = [extract(p) for p in obj]', upstream_opens=False),
    Case(
        'locked_proxy',
        'obj = store.locked_proxy([1], populate_target=False)',
        'p = obj.unlock(); result = (type(obj).__name__, type(p).__name__, list(p))',
    ),
    Case(
        'registration',
        "obj = Store('registered', FileConnector(dir, clear=False), register=True).proxy([1])",
        """
        list(obj)
        store = get_store('registered')
        result = (type(store).__name__, store.name, store is get_store(obj), store.cache.maxsize,
                  store.cache.exists(get_factory(obj).key))
        """,
    ),
    # Proxies without a store.
    Case('simple_factory', 'obj = Proxy(SimpleFactory([1, 2]))', _PROXY),
    Case('lambda_factory', 'obj = Proxy(LambdaFactory(operator.add, 1, 2))', _PROXY),
    Case('lambda_factory_kwargs', 'obj = Proxy(LambdaFactory(dict, [(1, 2)], x=3))', _PROXY),
    Case('any_callable', 'obj = Proxy(dict)', _PROXY),
    Case('locker', 'obj = ProxyLocker(Proxy(SimpleFactory(1)))', 'result = extract(obj.unlock())'),
    # Factories.
    Case('factory', 'obj = SimpleFactory([1])', 'result = (obj(), obj.resolve())'),
    Case(
        'store_factory',
        'obj = StoreFactory(store.put([1]), store.config(), evict=True)',
        """
        result = (type(obj).__name__, type(obj.key).__name__, fields(obj.store_config),
                  obj.evict, obj.deserializer, obj.get_store().name, obj(), files())
        """,
    ),
    Case(
        'store_factory_resolve_async',
        'obj = StoreFactory(store.put([1]), store.config())',
        'obj.resolve_async(); result = (obj(), obj())',
    ),
    Case(
        'polling_factory',
        """
        obj = PollingStoreFactory(
            store.put([1]), store.config(), polling_interval=0.5, polling_backoff_factor=2,
            polling_interval_limit=4, polling_timeout=8)
        """,
        """
        result = (type(obj).__name__, obj.evict, obj(), {
            name: value for name, value in vars(obj).items() if name.startswith('_polling')})
        """,
    ),
    Case(
        'polling_factory_times_out',
        """
        obj = PollingStoreFactory(
            store.connector.new_key(), store.config(), polling_interval=0.001,
            polling_timeout=0.01)
        """,
        """
        try:
            obj()
        except Exception as e:
            result = (type(e).__name__, e.store_name)
        """,
    ),
    # Keys.
    Case('file_key', "obj = FileKey('name')",
         'result = (repr(obj), obj == FileKey("name"), hash(obj) == hash(("name",)))'),
    Case('local_key', "obj = LocalKey('name')", 'result = (repr(obj), obj == LocalKey("name"))'),
    Case('multi_key', "obj = MultiKey('small', FileKey('name'))",
         'result = (repr(obj), obj == MultiKey("small", FileKey("name")), len({obj, obj}))'),
    # Configurations.
    Case('config', 'obj = store.config()', _CONFIG),
    Case('config_opens', 'obj = store.config()', _CONFIG_OPENS),
    Case('config_defaults', "obj = StoreConfig(name='x', connector=ConnectorConfig(kind='local'))",
         _CONFIG),
    Case(
        'config_everything',
        """
        obj = Store('x', FileConnector(dir, clear=False, buffering=0), serializer=pickle.dumps,
                    deserializer=pickle.loads, cache_size=3, metrics=True, populate_target=False,
                    register=True).config()
        """,
        """
        found = fields(obj)
        result = (found.pop('serializer') is pickle.dumps,
                  found.pop('deserializer') is pickle.loads, found)
        """,
    ),
    Case('config_local', "local.put([1]); obj = Store('x', LocalConnector()).config()", _CONFIG),
    Case('config_local_opens', 'obj = local.config()', _CONFIG_OPENS),
    Case('config_local_data', 'key = local.put([1]); obj = (key, local.config())',
         'result = Store.from_config(obj[1]).get(obj[0])'),
    Case(
        'config_multi_opens',
        'obj = multi.config()',
        '''
        with Store.from_config(obj) as store:
            keys = [store.put(b'x' * n) for n in (1, 1000)]
            result = ([key.connector_name for key in keys], [len(store.get(key)) for key in keys],
                      [type(key.connector_key).__name__ for key in keys])
        ''',
        upstream_opens=False,
    ),
    Case('connector_config', "obj = ConnectorConfig(kind='file', options={'store_dir': dir})",
         'result = (fields(obj), obj.get_connector_type().__name__)'),
    # Futures.
    Case(
        'future_unset',
        'obj = store.future(polling_interval=0.01)',
        """
        before = obj.done()
        p = obj.proxy()
        obj.set_result([1, 2])
        result = (type(obj).__name__, before, obj.done(), obj.result(), list(p))
        """,
    ),
    Case(
        'future_set',
        'obj = store.future(evict=True, polling_interval=0.01); obj.set_result([1, 2])',
        'result = (obj.done(), list(obj.proxy()), obj.done())',
    ),
    Case(
        'future_proxy',
        'f = store.future(polling_interval=0.01); obj = f.proxy(); f.set_result([1, 2])',
        _PROXY,
    ),
    # Ownership. The owner is kept alive in the process that made it, or it would evict its object.
    Case(
        'owned',
        'obj = store.owned_proxy([1, 2], populate_target=False)',
        """
        before = files()
        result = (type(obj).__name__, list(obj), before)
        del obj
        result += (files(),)
        """,
    ),
    Case('owned_populated', 'obj = store.owned_proxy([1, 2])',
         'result = (type(obj).__name__, isinstance(obj, list), is_resolved(obj), list(obj))'),
    Case(
        'owned_borrows_and_clones',
        'obj = store.owned_proxy([1, 2])',
        """
        ref = borrow(obj)
        other = clone(obj)
        result = (type(ref).__name__, list(ref), type(other).__name__, list(other), files())
        del ref, other
        """,
    ),
    Case('ref', 'sys.kept = store.owned_proxy([1, 2]); obj = borrow(sys.kept)',
         'result = (type(obj).__name__, list(obj)); del obj; result += (files(),)'),
    Case('ref_mut', 'sys.kept = store.owned_proxy([1, 2]); obj = mut_borrow(sys.kept)',
         'obj.append(3); result = (type(obj).__name__, list(obj)); del obj; result += (files(),)'),
    # Streams.
    Case(
        'stream_events',
        """
        key = store.put([1])
        obj = [event_to_bytes(event) for event in (
            EndOfStreamEvent('t'),
            NewObjectEvent('t', [1], {'m': 1}),
            NewObjectKeyEvent.from_key(
                key, evict=True, metadata={}, store_config=store.config(), topic='t'),
            EventBatch('t', [NewObjectEvent('t', [1], {}), EndOfStreamEvent('t')]),
        )]
        """,
        """
        events = [bytes_to_event(event) for event in obj]
        shown = events[:2] + events[3:]
        key = events[2]
        result = ([repr(event) for event in shown], type(key).__name__, key.evict, key.metadata,
                  fields(key.store_config), type(key.get_key()).__name__,
                  Store.from_config(key.store_config).get(key.get_key()))
        """,
    ),
    Case(
        'stream_events_pickled',
        "obj = [EndOfStreamEvent('t'), EventBatch('t', [NewObjectEvent('t', [1], {})])]",
        'result = repr(obj)',
    ),
    # Bits and pieces.
    Case(
        'policies',
        "obj = (Policy(2, host_pattern=['a', 'b'], subset_tags=['x']), Policy().as_dict())",
        'result = (repr(obj), obj[0].as_dict())',
    ),
    Case(
        'metrics',
        """
        from proxystore.store.metrics import Metrics, TimeStats
        obj = Metrics({'a': 1}, {'b': 2}, {'c': TimeStats(2, 1.5, 1, 2, 2, 9.5)})
        """,
        'result = (repr(obj), obj.as_dict())',
    ),
    Case(
        'metrics_of_a_store',
        """
        measured = Store('m', LocalConnector(), metrics=True)
        key = measured.put([1])
        obj = measured.metrics.get_metrics(key)
        """,
        'result = (sorted(obj.times), sorted(obj.attributes), sorted(obj.counters))',
    ),
    Case(
        'exceptions',
        """
        from proxystore.connectors.multi import MultiConnectorError
        from proxystore.serialize import SerializationError
        from proxystore.store.exceptions import *
        from proxystore.store.ref import (
            MutableBorrowError, ReferenceInvalidError, ReferenceNotOwnedError)
        from proxystore.stream.exceptions import TopicClosedError
        obj = [kind('message') for kind in (
            MultiConnectorError, SerializationError, StoreError, StoreExistsError,
            NonProxiableTypeError, ProxyStoreFactoryError, MutableBorrowError,
            ReferenceInvalidError, ReferenceNotOwnedError, TopicClosedError)]
        """,
        'result = [repr(e) for e in obj]',
    ),
    Case(
        'choices_of_the_executor',
        """
        from proxystore.store.executor import ProxyAlways, ProxyNever, ProxyType
        obj = [ProxyAlways(), ProxyNever(), ProxyType(list, str)]
        """,
        'result = [[choice([]), choice("a"), choice(1)] for choice in obj]',
    ),
]  # fmt: skip

by_name = {case.name: case for case in CASES}
