"""Proxies travel as their factories, to and from upstream too."""

from __future__ import annotations

import copyreg
import io
import pickle

import cloudpickle
import pytest

from proxystore.proxy import Proxy, ProxyLocker, extract, is_resolved

RESOLVE = """
import pickle
from proxystore.proxy import Proxy, ProxyLocker, is_resolved

proxy = pickle.loads(data)
if type(proxy) is ProxyLocker:
    proxy = proxy.unlock()
assert type(proxy) is Proxy
assert not is_resolved(proxy)
known = object.__getattribute__(proxy, '__proxy_default_class__')
hashed = object.__getattribute__(proxy, '__proxy_default_hash__')
result = (
    getattr(known, '__name__', None),
    hashed if isinstance(hashed, (int, type(None))) else repr(hashed),
    list(proxy),
)
"""

MAKE = """
import pickle
from proxystore.proxy import Proxy, ProxyLocker

kwargs = dict(cache_defaults=True, target=eval(target)) if target else {}
proxy = Proxy(list, **kwargs)
result = pickle.dumps(ProxyLocker(proxy) if locked else proxy, protocol)
"""

TARGETS = [None, '"text"', '[]', '(1, 2)']
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.mark.parametrize('locked', [False, True])
@pytest.mark.parametrize('target', TARGETS)
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_ours_open_in_the_original(upstream, proxy_class, target, protocol, locked):
    kwargs = {'cache_defaults': True, 'target': eval(target)} if target else {}
    proxy = proxy_class(list, **kwargs)
    data = pickle.dumps(ProxyLocker(proxy) if locked else proxy, protocol)
    assert upstream.run(RESOLVE, data=data) == expected(target, proxy)


@pytest.mark.parametrize('locked', [False, True])
@pytest.mark.parametrize('target', TARGETS)
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_the_originals_open_here(upstream, target, protocol, locked):
    data = upstream.run(MAKE, target=target, protocol=protocol, locked=locked)
    proxy = pickle.loads(data)
    if locked:
        assert type(proxy) is ProxyLocker
        proxy = proxy.unlock()
    assert type(proxy) is Proxy
    assert not is_resolved(proxy)
    known = proxy.__proxy_default_class__
    if target:
        assert known is type(eval(target))
        assert isinstance(proxy, known)
    assert proxy == []


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_pickles_are_byte_for_byte_the_originals(upstream, proxy_class, protocol):
    theirs = upstream.run(MAKE, target=None, protocol=protocol, locked=False)
    assert pickle.dumps(proxy_class(list), protocol) == theirs


def expected(target, proxy):
    if target is None:
        return (None, None, [])
    hashed = proxy.__proxy_default_hash__
    return (type(eval(target)).__name__, hashed if isinstance(hashed, int) else repr(hashed), [])


def test_pickling_by_python_code(proxy_class):
    buffer = io.BytesIO()
    pickle._Pickler(buffer, 5).dump([proxy_class(list)])
    (clone,) = pickle._Unpickler(io.BytesIO(buffer.getvalue())).load()
    assert type(clone) is Proxy
    assert clone == []


def test_a_pickler_that_reduces_by_itself(proxy_class):
    # Some task systems return __reduce__() from their picklers.
    class Pickler(pickle.Pickler):
        def reducer_override(self, value):
            return value.__reduce__() if isinstance(value, Proxy) else NotImplemented

    buffer = io.BytesIO()
    proxy = proxy_class(list)
    Pickler(buffer).dump(proxy)
    assert not is_resolved(proxy)
    assert pickle.loads(buffer.getvalue()) == []


def test_a_dispatch_table(proxy_class):
    class Pickler(pickle.Pickler):
        dispatch_table = copyreg.dispatch_table.copy()

    Pickler.dispatch_table[proxy_class] = lambda proxy: (str, ('seen',))
    buffer = io.BytesIO()
    Pickler(buffer).dump(proxy_class(list))
    assert pickle.loads(buffer.getvalue()) == 'seen'


def test_cloudpickle_takes_local_factories(proxy_class):
    local = [1, 2]
    proxy = proxy_class(lambda: local)
    clone = pickle.loads(cloudpickle.dumps(proxy))
    assert not is_resolved(clone)
    assert extract(clone) == [1, 2]
    assert extract(clone) is not local


def test_a_proxy_without_a_factory_does_not_pickle(proxy_class):
    proxy = proxy_class(list)
    del proxy.__proxy_factory__
    with pytest.raises(AttributeError, match='__proxy_factory__'):
        pickle.dumps(proxy)


class Reduced(Proxy):
    """Pickles in a way of its own."""

    __slots__ = ()

    def __reduce__(self):
        return rebuild, (self.__proxy_factory__,)


def rebuild(factory):
    return Reduced(factory)


def test_a_subclass_may_reduce_to_itself():
    clone = pickle.loads(pickle.dumps(Reduced(list)))
    assert type(clone) is Reduced
    assert clone == []


def test_shared_proxies_stay_shared(proxy_class):
    proxy = proxy_class(list)
    first, second = pickle.loads(pickle.dumps([proxy, proxy]))
    assert first is second


def test_a_pickle_holds_no_target(proxy_class):
    proxy = proxy_class(list, target=['x' * 10_000])
    assert len(pickle.dumps(proxy)) < 200


def test_cloudpickle_takes_local_subclasses():
    class Local(Proxy):
        __slots__ = ('own',)

        def __reduce__(self):
            return type(self), (self.__proxy_factory__,)

        def method(self):
            return 'method', super().__len__()

    clone = pickle.loads(cloudpickle.dumps(Local(lambda: [1, 2])))
    clone.own = 'own'
    assert clone.method() == ('method', 2)
    assert clone.own == 'own'
    assert clone == [1, 2]
