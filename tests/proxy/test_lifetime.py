"""References, the collector, and the end of proxies."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from proxystore.proxy import Proxy, extract, is_resolved, resolve
from tests.support.interpreter import run_program


class Thing:
    """Something that weak references can watch."""


def test_a_proxy_holds_its_factory_target_and_defaults(proxy_class):
    factory, target = Thing(), Thing()
    factory.__class__ = type('Factory', (Thing,), {'__call__': lambda _: target})
    watches = [weakref.ref(factory), weakref.ref(target)]
    proxy = proxy_class(factory, target=target)
    factory = target = None
    assert all(watch() is not None for watch in watches)
    del proxy
    gc.collect()
    assert [watch() for watch in watches] == [None, None]


def test_references_are_balanced(proxy_class):
    target = [1, 2, 3]
    key, value = object(), object()

    def factory():
        return target

    def use():
        proxy = proxy_class(factory, cache_defaults=True, target=target)
        del proxy.__proxy_wrapped__
        proxy.append(value)
        proxy.pop()
        for operation in (
            len,
            bool,
            str,
            repr,
            iter,
            list,
            dir,
            lambda p: p * 2,
            lambda p: 2 * p,
            lambda p: p == p,
            lambda p: p < [2],
            lambda p: p[0],
            lambda p: key in p,
            lambda p: p.__class__,
            lambda p: isinstance(p, list),
            lambda p: p.__reduce__(),
            lambda p: p.__reduce_ex__(4),
            lambda p: p.__setitem__(0, 1),
            lambda p: p.__proxy_factory__,
        ):
            operation(proxy)
        proxy += []
        for operation in (hash, next, float, lambda p: p.missing, lambda p: p(), memoryview):
            with pytest.raises((TypeError, AttributeError)):
                operation(proxy)

    watched = [target, factory, key, value, None, list, TypeError, type(target), proxy_class]
    use()
    gc.collect()
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(1000):
        use()
    gc.collect()
    after = [sys.getrefcount(thing) for thing in watched]
    # Others move the counts of what everybody uses, but not by one for each use.
    assert all(abs(a - b) < 500 for a, b in zip(after, before, strict=True))
    assert after[:4] == before[:4]


def test_blocks_of_memory_do_not_pile_up(proxy_class):
    def churn():
        for number in range(1000):
            proxy = proxy_class(lambda number=number: [number])
            resolve(proxy)
            assert proxy[0] == number
            hash(proxy_class(int))

    churn()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(5):
        churn()
    gc.collect()
    assert sys.getallocatedblocks() - before < 500


@pytest.mark.parametrize('through', ['factory', 'target', 'class', 'hash'])
def test_cycles_are_collected(proxy_class, through):
    thing = type('Cyclic', (Thing,), {'__call__': lambda self: self})()
    watch = weakref.ref(thing)
    proxy = proxy_class(thing if through == 'factory' else int)
    if through == 'target':
        proxy.__proxy_wrapped__ = thing
    elif through == 'class':
        proxy.__proxy_default_class__ = thing
    elif through == 'hash':
        proxy.__proxy_default_hash__ = thing
    thing.proxy = proxy
    watch_proxy = weakref.ref(proxy)
    assert proxy in gc.get_referrers(thing) or any(r is proxy for r in gc.get_referrers(thing))
    del thing, proxy
    gc.collect()
    assert watch() is None
    assert watch_proxy() is None


def test_a_finalizer_in_a_cycle_may_use_the_proxy(proxy_class):
    seen = []

    class Final:
        def __del__(self):
            seen.append(self.proxy == 'target')

    final = Final()
    final.proxy = proxy_class(final.__init__, target='target')
    del final
    gc.collect()
    assert seen == [True]


def test_a_subclass_may_have_a_finalizer():
    seen = []

    class Final(Proxy):
        __slots__ = ()

        def __del__(self):
            seen.append(is_resolved(self))

    Final(int)
    assert seen == [False]
    resurrected = []

    class Phoenix(Proxy):
        __slots__ = ()

        def __del__(self):
            resurrected.append(self)

    Phoenix(lambda: 'again')
    assert str(resurrected[0]) == 'again'


def test_a_weak_reference_callback_sees_a_dead_proxy(proxy_class):
    seen = []
    proxy = proxy_class(int)
    watch = weakref.ref(proxy, lambda reference: seen.append(reference()))
    del proxy
    assert seen == [None]
    assert watch() is None


def test_a_weak_method_of_the_target(proxy_class):
    proxy = proxy_class(Thing)
    assert weakref.ref(extract(proxy))() is extract(proxy)


@pytest.mark.parametrize('kind', ['targets', 'factories', 'mixed'])
def test_a_long_chain_is_destroyed_without_recursion(proxy_class, kind):
    chain = proxy_class(int)
    for number in range(100_000):
        if kind == 'targets':
            chain = proxy_class(int, target=chain)
        elif kind == 'factories':
            chain = proxy_class(chain)
        else:
            chain = (
                [proxy_class(int, target=chain)] if number % 2 else proxy_class(lambda c=chain: c)
            )
    del chain


def test_a_long_chain_in_a_cycle_is_collected(proxy_class):
    first = chain = proxy_class(int)
    for _ in range(20_000):
        chain = proxy_class(int, target=chain)
    first.__proxy_wrapped__ = chain
    del first, chain
    gc.collect()


def test_using_a_long_chain_is_a_recursion_error(proxy_class):
    chain = proxy_class(lambda: [1])
    for _ in range(50_000):
        chain = proxy_class(int, target=chain)
    for use in (
        len,
        str,
        repr,
        hash,
        list,
        dir,
        bool,
        memoryview,
        lambda p: p + 1,
        lambda p: 1 + p,
        lambda p: p == 1,
        lambda p: p.x,
        lambda p: p(),
        lambda p: p[0],
        lambda p: format(p, ''),
        lambda p: p.__class__,
        lambda p: isinstance(p, int),
    ):
        with pytest.raises(RecursionError):
            use(chain)


def test_proxies_that_live_until_the_interpreter_ends():
    done = run_program(
        """
        import atexit, weakref
        from proxystore.proxy import Proxy

        class Target:
            def __del__(self):
                print('target')

        class Final(Proxy):
            def __del__(self):
                print('proxy', len(inner))

        inner = Proxy(lambda: [1, 2])
        kept = Final(Target)
        kept.__class__
        atexit.register(lambda: print('exit', len(inner)))
        """
    )
    assert done.stdout.split('\n')[0] == 'exit 2'
    assert done.stderr == ''
