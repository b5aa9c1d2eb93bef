"""What our proxies forward, and upstream's do not."""

from __future__ import annotations

import asyncio
import bisect
import copy
import decimal
import functools
import math
import operator
import pickle
import subprocess
import sys
import types
import weakref
from typing import Generic, TypeVar

import pytest

from proxystore.proxy import Proxy, ProxyResolveError, extract, get_factory, is_resolved

T = TypeVar('T')


def test_format_takes_a_specification(proxy_class):
    assert f'{proxy_class(lambda: 3.14159):>8.2f}' == '    3.14'
    assert format(proxy_class(lambda: 255), '#x') == '0xff'
    assert '{:^5}'.format(proxy_class(lambda: 'a')) == '  a  '
    with pytest.raises(ValueError, match='Unknown format code'):
        format(proxy_class(lambda: 'text'), 'd')


def test_round_takes_digits(proxy_class):
    proxy = proxy_class(lambda: 2.718)
    assert round(proxy, 2) == 2.72
    assert round(proxy, ndigits=1) == 2.7
    assert round(proxy, None) == 3
    assert type(round(proxy)) is int
    assert round(proxy_class(lambda: decimal.Decimal('1.25')), 1) == decimal.Decimal('1.2')
    with pytest.raises(TypeError, match='__round__'):
        round(proxy_class(lambda: 'text'))


def test_math_rounds(proxy_class):
    proxy = proxy_class(lambda: -2.5)
    assert (math.trunc(proxy), math.floor(proxy), math.ceil(proxy)) == (-2, -3, -2)
    assert math.sqrt(proxy_class(lambda: 4)) == 2
    with pytest.raises(TypeError, match='__trunc__'):
        math.trunc(proxy_class(lambda: 'text'))


def test_index_is_strict(proxy_class):
    assert [10, 20, 30][proxy_class(lambda: 1)] == 20
    assert list(range(proxy_class(lambda: 3))) == [0, 1, 2]
    assert hex(proxy_class(lambda: 255)) == '0xff'
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        operator.index(proxy_class(lambda: 2.5))


def test_complex(proxy_class):
    assert complex(proxy_class(lambda: 1 + 2j)) == 1 + 2j
    assert complex(proxy_class(lambda: 3)) == 3 + 0j
    assert complex(proxy_class(lambda: '1+2j')) == 1 + 2j


def test_all_operands_of_pow_may_be_proxies(proxy_class):
    five, two, seven = (proxy_class(lambda n=n: n) for n in (5, 2, 7))
    assert pow(5, two, 7) == pow(5, 2, seven) == pow(five, two, seven) == 4


def test_buffers(proxy_class):
    target = bytearray(b'abc')
    proxy = proxy_class(lambda: target)
    view = memoryview(proxy)
    assert view.obj is target
    view[0] = ord('x')
    assert target == b'xbc'
    with pytest.raises(BufferError):
        target.append(1)
    view.release()
    target.append(1)
    assert bytes(proxy) == b'xbc\x01'
    assert b'-'.join([proxy, b'd']) == b'xbc\x01-d'
    with pytest.raises(TypeError, match="a bytes-like object is required, not 'int'"):
        memoryview(proxy_class(lambda: 5))


def test_readonly_buffers_stay_so(proxy_class):
    view = memoryview(proxy_class(lambda: b'abc'))
    assert view.readonly
    with pytest.raises(TypeError, match='read-write'), open('/dev/null', 'rb') as file:
        file.readinto(proxy_class(lambda: b'abc'))


def test_files_write_and_read_into_proxies(proxy_class, tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(proxy_class(lambda: b'content'))
    target = bytearray(7)
    with path.open('rb') as file:
        assert file.readinto(proxy_class(lambda: target)) == 7
    assert target == b'content'


def test_sequences_in_c(proxy_class):
    proxy = proxy_class(lambda: [1, 3, 5])
    assert bisect.bisect(proxy, 3) == 2
    bisect.insort(proxy, 2)
    assert extract(proxy) == [1, 2, 3, 5]
    assert operator.indexOf(proxy, 3) == 2
    assert operator.countOf(proxy, 5) == 1


def test_isinstance_of_a_proxy_of_a_class(proxy_class):
    proxy = proxy_class(lambda: int)
    assert isinstance(5, proxy)
    assert not isinstance('5', proxy)
    assert issubclass(bool, proxy)
    assert not issubclass(str, proxy)
    with pytest.raises(TypeError):
        isinstance(5, proxy_class(lambda: 5))


def test_dispatch_by_class_sees_the_target(proxy_class):
    @functools.singledispatch
    def kind(value):
        return 'other'

    kind.register(int)(lambda value: 'int')
    assert kind(proxy_class(lambda: 5)) == 'int'
    assert kind(proxy_class(lambda: 'text')) == 'other'


# --- Patterns -----------------------------------------------------------------------------------


class Point:
    __match_args__ = ('x', 'y')

    def __init__(self, x, y):
        self.x = x
        self.y = y


class Colour:
    RED = 'red'


def kind_of(value):
    match value:
        case Point(0, y):
            return 'on the axis', y
        case Point(x=x):
            return 'point', x
        case Colour.RED:
            return 'red', None
        case 7:
            return 'seven', None
        case int(number):
            return 'int', number
        case [*_]:
            return 'sequence', None
        case {}:
            return 'mapping', None
    return 'other', None


def test_class_value_and_literal_patterns_match(proxy_class):
    assert kind_of(proxy_class(lambda: Point(0, 2))) == ('on the axis', 2)
    assert kind_of(proxy_class(lambda: Point(1, 2))) == ('point', 1)
    assert kind_of(proxy_class(lambda: 'red')) == ('red', None)
    assert kind_of(proxy_class(lambda: 7)) == ('seven', None)
    assert kind_of(proxy_class(lambda: 8)) == ('int', 8)


def test_sequence_and_mapping_patterns_take_the_extracted_target(proxy_class):
    assert kind_of(proxy_class(lambda: [1])) == ('other', None)
    assert kind_of(extract(proxy_class(lambda: [1]))) == ('sequence', None)
    assert kind_of(extract(proxy_class(dict))) == ('mapping', None)


# --- Asynchronous protocols ---------------------------------------------------------------------


def test_coroutines_and_futures_are_awaited(proxy_class):
    async def coroutine():
        await asyncio.sleep(0)
        return 'done'

    @types.coroutine
    def generator():
        yield from asyncio.sleep(0).__await__()
        return 'generated'

    async def main():
        future = asyncio.get_running_loop().create_future()
        future.set_result('future')
        return [
            await proxy_class(coroutine),
            await proxy_class(generator),
            await proxy_class(lambda: future),
            await proxy_class(lambda: proxy_class(coroutine)),
        ]

    assert asyncio.run(main()) == ['done', 'generated', 'future', 'done']


def test_what_cannot_be_awaited(proxy_class):
    async def main(target):
        await proxy_class(lambda: target)

    for target in (5, iter([])):
        with pytest.raises(TypeError, match="can't be used in 'await' expression"):
            asyncio.run(main(target))


def test_asynchronous_iteration(proxy_class):
    async def numbers():
        yield 1
        yield 2

    async def main():
        first = [number async for number in proxy_class(numbers)]
        iterator = proxy_class(numbers)
        second = [await anext(iterator), await anext(iterator), await anext(iterator, 'end')]
        return first, second

    assert asyncio.run(main()) == ([1, 2], [1, 2, 'end'])

    async def not_iterable():
        async for _ in proxy_class(lambda: 5):
            pass

    with pytest.raises(TypeError, match='__aiter__'):
        asyncio.run(not_iterable())


def test_asynchronous_context_managers(proxy_class):
    lock = None

    async def main():
        nonlocal lock
        lock = asyncio.Lock()
        async with proxy_class(lambda: lock):
            return lock.locked()

    assert asyncio.run(main())
    assert not lock.locked()


def test_what_is_no_context_manager(proxy_class):
    with (
        pytest.raises(
            TypeError, match="'int' object does not support the context manager protocol"
        ),
        proxy_class(lambda: 5),
    ):
        pass

    async def main():
        async with proxy_class(lambda: 5):
            pass

    with pytest.raises(TypeError, match='does not support the asynchronous context manager'):
        asyncio.run(main())


def test_an_attribute_error_inside_enter_is_passed_on(proxy_class):
    class Manager:
        def __enter__(self):
            return self.missing

        def __exit__(self, *_):
            pass

    with pytest.raises(AttributeError, match='missing'), proxy_class(Manager):
        pass


def test_yield_from_keeps_the_returned_value(proxy_class):
    def generator():
        yield 1
        return 'returned'

    def outer():
        return (yield from proxy_class(generator))

    iterator = outer()
    assert next(iterator) == 1
    with pytest.raises(StopIteration) as caught:
        next(iterator)
    assert caught.value.value == 'returned'
    proxy = proxy_class(generator)
    next(proxy)
    with pytest.raises(StopIteration) as caught:
        next(proxy)
    assert caught.value.value == 'returned'


# --- Construction, copies, errors ---------------------------------------------------------------


def test_a_generic_alias_does_not_resolve_what_it_makes(proxy_class):
    class Derived(proxy_class, Generic[T]):
        __slots__ = ()

    assert not is_resolved(Proxy[int](lambda: 1))
    assert not is_resolved(Derived[int](lambda: 1))


class Picky:
    """A target and factory that notes whether it was copied."""

    def __init__(self):
        self.copied = False

    def __call__(self):
        return self

    def __deepcopy__(self, memo):
        clone = Picky()
        clone.copied = True
        return clone


def test_deepcopy_copies_the_factory_and_does_not_resolve(proxy_class):
    proxy = proxy_class(Picky())
    clone = copy.deepcopy([proxy, proxy])
    assert not is_resolved(proxy)
    assert clone[0] is clone[1]
    assert type(clone[0]) is Proxy
    assert get_factory(clone[0]).copied


def test_the_error_of_resolving_pickles():
    error = pickle.loads(pickle.dumps(ProxyResolveError('message', ValueError('cause'))))
    assert str(error) == 'message'
    assert isinstance(error.cause, ValueError)


def test_the_error_of_resolving_shows_the_cause(proxy_class):
    def factory():
        raise ValueError('boom')

    with pytest.raises(ProxyResolveError, match=r"ValueError\('boom'\)"):
        str(proxy_class(factory))


def test_weak_references_with_callbacks(proxy_class):
    gone = []
    proxy = proxy_class(int)
    reference = weakref.ref(proxy, gone.append)
    assert weakref.getweakrefcount(proxy) == 1
    assert {proxy: 1} == dict(weakref.WeakKeyDictionary({proxy: 1}))
    del proxy
    assert gone == [reference]


def test_importing_proxies_imports_nothing_heavy():
    # Proxies are imported in every worker: nothing heavy may come along.
    program = (
        'import sys; import proxystore.proxy; '
        "heavy = {'numpy', 'pandas', 'polars', 'pydantic', 'asyncio'} & set(sys.modules); "
        'sys.exit(repr(heavy) if heavy else 0)'
    )
    subprocess.run([sys.executable, '-c', program], check=True, timeout=60)
