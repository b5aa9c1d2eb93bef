"""Whatever is done to a proxy, it raises at worst."""

from __future__ import annotations

import contextlib
import operator
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxystore.proxy import Proxy, ProxyResolveError, extract, is_resolved, resolve

GARBAGE = [None, 5, 'text', [], int, object(), TypeError('garbage'), lambda: 1, lambda: 1 / 0]
SLOTS = (
    '__proxy_factory__',
    '__proxy_target__',
    '__proxy_default_class__',
    '__proxy_default_hash__',
)

OPERATIONS = [
    str,
    repr,
    hash,
    bool,
    len,
    iter,
    next,
    list,
    dir,
    int,
    float,
    complex,
    bytes,
    abs,
    round,
    memoryview,
    operator.neg,
    operator.index,
    lambda p: f'{p:>5}',
    lambda p: p + 1,
    lambda p: 1 + p,
    lambda p: p + p,
    lambda p: p == p,
    lambda p: p < 1,
    lambda p: pow(p, p, p),
    lambda p: operator.iadd(p, 1),
    lambda p: operator.ipow(p, 1),
    lambda p: p[0],
    lambda p: p.__setitem__(0, 1),
    lambda p: p.__delitem__(0),
    lambda p: 1 in p,
    lambda p: p(),
    lambda p: p.x,
    lambda p: setattr(p, 'x', 1),
    lambda p: delattr(p, 'x'),
    lambda p: p.__class__,
    lambda p: isinstance(p, int),
    lambda p: isinstance(5, p),
    lambda p: p.__reduce__(),
    lambda p: p.__reduce_ex__(2),
    lambda p: p.__proxy_wrapped__,
    lambda p: p.__await__(),
    lambda p: p.__aiter__(),
    lambda p: p.__anext__(),
    lambda p: p.__enter__(),
    lambda p: p.__exit__(None, None, None),
]


def survive(operation, proxy):
    with contextlib.suppress(Exception):
        try:
            operation(proxy)
        except SystemError as e:
            # The interpreter's word for native code that breaks its rules.
            pytest.fail(str(e))


@pytest.mark.parametrize('slot', SLOTS)
def test_deleted_slots(proxy_class, slot):
    for resolved in (False, True):
        for operation in OPERATIONS:
            proxy = proxy_class(lambda: 5)
            if resolved:
                resolve(proxy)
            if slot != '__proxy_target__' or resolved:
                object.__delattr__(proxy, slot)
            survive(operation, proxy)


@pytest.mark.parametrize('slot', SLOTS)
def test_slots_set_to_garbage(proxy_class, slot):
    for garbage in GARBAGE:
        for operation in OPERATIONS:
            proxy = proxy_class(lambda: [5])
            object.__setattr__(proxy, slot, garbage)
            survive(operation, proxy)


def test_an_uninitialized_proxy(proxy_class):
    for operation in OPERATIONS:
        survive(operation, proxy_class.__new__(proxy_class))


def test_a_proxy_of_itself(proxy_class):
    for operation in OPERATIONS:
        proxy = proxy_class(int)
        proxy.__proxy_wrapped__ = proxy
        survive(operation, proxy)
        del proxy.__proxy_wrapped__


def test_proxies_of_each_other(proxy_class):
    for operation in OPERATIONS:
        first, second = proxy_class(int), Proxy(int)
        first.__proxy_wrapped__ = second
        second.__proxy_wrapped__ = first
        with pytest.raises(RecursionError):
            len(first)
        survive(operation, first)
        del first.__proxy_wrapped__


def test_a_factory_that_returns_the_proxy(proxy_class):
    proxy = proxy_class(lambda: proxy)
    assert extract(proxy) is proxy
    with pytest.raises(RecursionError):
        len(proxy)
    del proxy.__proxy_wrapped__


class Hostile:
    """Raises from every special method."""

    def __getattribute__(self, name):
        raise ZeroDivisionError(name)


def _raise(self, *_, **__):
    raise ZeroDivisionError


SPECIAL = """
    abs add and bool divmod eq float floordiv ge gt hash index int invert le lshift lt mod mul ne
    neg or pos pow radd repr round rshift str sub truediv xor len getitem setitem delitem contains
    iter next call enter exit aenter aexit await aiter anext bytes complex fspath reversed format
    iadd ipow matmul dir trunc floor ceil reduce_ex setattr delattr
"""

for _name in SPECIAL.split():
    setattr(Hostile, f'__{_name}__', _raise)


def test_a_target_that_raises_from_everything(proxy_class):
    for operation in OPERATIONS:
        survive(operation, proxy_class(Hostile))
    with pytest.raises(ZeroDivisionError):
        proxy_class(Hostile) + 1
    with pytest.raises(ZeroDivisionError):
        proxy_class(Hostile).x  # noqa: B018


class Treacherous:
    """Replaces the target of its proxy from within every operation."""

    def __init__(self):
        self.proxy = None

    def _betray(self, *_):
        self.proxy.__proxy_wrapped__ = 'replaced'
        self.proxy.__proxy_factory__ = str
        return 1

    __len__ = __add__ = __radd__ = __getitem__ = __eq__ = __lt__ = __call__ = __bool__ = _betray
    __contains__ = __setitem__ = __index__ = __int__ = __hash__ = __iadd__ = _betray

    def __getattr__(self, name):
        return self._betray()

    def __str__(self):
        self._betray()
        return 'text'

    def __iter__(self):
        self._betray()
        return iter([])


def test_a_target_that_is_replaced_while_it_is_used(proxy_class):
    for operation in OPERATIONS:
        target = Treacherous()
        proxy = target.proxy = proxy_class(int, target=target)
        del target
        survive(operation, proxy)


def test_a_factory_that_replaces_itself(proxy_class):
    def factory():
        proxy.__proxy_factory__ = 5
        return 'value'

    proxy = proxy_class(factory)
    assert str(proxy) == 'value'
    del proxy.__proxy_wrapped__
    with pytest.raises(ProxyResolveError, match='not callable'):
        str(proxy)


def test_a_factory_that_deletes_everything(proxy_class):
    def factory():
        for slot in SLOTS:
            if slot != '__proxy_target__':
                object.__delattr__(proxy, slot)
        return 'value'

    proxy = proxy_class(factory)
    assert str(proxy) == 'value'


def test_initialized_again(proxy_class):
    proxy = proxy_class(int, target=[1], cache_defaults=True)
    proxy.__init__(lambda: 'other')
    assert not is_resolved(proxy)
    assert proxy.__proxy_default_class__ is None
    assert str(proxy) == 'other'
    with pytest.raises(TypeError):
        proxy.__init__(5)
    assert str(proxy) == 'other'


def test_every_special_method_overridden():
    names = [
        name for name in dir(Proxy) if name.startswith('__') and callable(getattr(Proxy, name))
    ]
    keep = ('__new__', '__init__', '__getattribute__', '__setattr__', '__delattr__', '__class__')
    keep += ('__class_getitem__', '__init_subclass__', '__subclasshook__')
    body = {name: _raise for name in names if name not in keep}
    overridden = type(Proxy)('Overridden', (Proxy,), {'__slots__': (), **body})
    for operation in OPERATIONS:
        survive(operation, overridden(int))


def test_recursion_through_factories_ends(proxy_class):
    def factory():
        return len(proxy_class(factory))

    with pytest.raises(ProxyResolveError):
        len(proxy_class(factory))


def test_an_exception_that_cannot_be_shown(proxy_class):
    class MuteError(Exception):
        def __repr__(self):
            raise ZeroDivisionError

        __str__ = __repr__

    def factory():
        raise MuteError

    with pytest.raises(ProxyResolveError) as caught:
        str(proxy_class(factory))
    assert isinstance(caught.value.cause, MuteError)


def test_threads_that_do_everything_to_the_same_proxies(proxy_class):
    proxies = [proxy_class(lambda: [1, 2, 3]) for _ in range(10)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    start = threading.Barrier(6)

    def hammer(seed):
        chance = random.Random(seed)
        start.wait()
        for _ in range(1500):
            proxy = chance.choice(proxies)
            action = chance.randrange(6)
            if action == 0:
                survive(lambda p: setattr(p, '__proxy_wrapped__', [1]), proxy)
            elif action == 1:
                survive(lambda p: delattr(p, '__proxy_wrapped__'), proxy)
            elif action == 2:
                slot = chance.choice(SLOTS[1:])
                object.__setattr__(proxy, slot, chance.choice(GARBAGE))
            else:
                operation = chance.choice(OPERATIONS)
                survive(operation, proxy)

    try:
        with ThreadPoolExecutor(6) as pool:
            for future in [pool.submit(hammer, seed) for seed in range(6)]:
                future.result()
    finally:
        sys.setswitchinterval(before)
    for proxy in proxies:
        proxy.__init__(lambda: 'whole')
        assert str(proxy) == 'whole'
