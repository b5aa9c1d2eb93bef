"""What upstream's proxies do, and ours too.

Runs over our Proxy, over a subclass of it, and (see `test_upstream_meets_the_contract`) in
upstream's own environment over its Proxy.
"""

from __future__ import annotations

import collections.abc
import copy
import gc
import io
import operator
import pickle
import weakref
from typing import Any, TypeVar, get_args

import pytest

import proxystore.proxy
from proxystore.proxy import (
    CO_ITERABLE_COROUTINE,
    DefaultClassType,
    DefaultHashType,
    FactoryType,
    Proxy,
    ProxyLocker,
    ProxyMetaType,
    ProxyOr,
    ProxyResolveError,
    as_metaclass,
    extract,
    get_factory,
    is_resolved,
    resolve,
)

trampoline = proxystore.proxy._proxy_trampoline


class Target:
    """Docstring of the target."""

    annotated: int = 1

    def __init__(self) -> None:
        self.attribute = 'value'

    def method(self, *args: Any, **kwargs: Any) -> Any:
        return self, args, kwargs


def make_target() -> Target:
    return Target()


def unpicklable() -> Any:
    raise AssertionError('a pickled proxy is not resolved')


@pytest.fixture
def calls():
    return []


@pytest.fixture
def proxy(proxy_class, calls):
    def factory():
        calls.append(1)
        return Target()

    return proxy_class(factory)


# --- What resolves, and what does not -----------------------------------------------------------


def test_looking_at_a_proxy_does_not_resolve_it(proxy, proxy_class, calls):
    assert type(proxy) is proxy_class
    assert isinstance(proxy, Proxy)
    assert isinstance(proxy, proxy_class)
    assert issubclass(type(proxy), Proxy)
    assert callable(proxy)
    assert proxy is proxy
    assert repr(proxy)
    assert weakref.ref(proxy)() is proxy
    assert not is_resolved(proxy)
    assert proxy.__proxy_resolved__ is False
    assert get_factory(proxy) is proxy.__proxy_factory__
    copy.copy(proxy)
    proxy.__reduce__()
    proxy.__reduce_ex__(5)
    assert calls == []


@pytest.mark.parametrize(
    'use',
    [
        resolve,
        extract,
        str,
        bool,
        hash,
        dir,
        lambda p: p.attribute,
        lambda p: p.missing if hasattr(p, 'missing') else None,
        lambda p: p.__class__,
        lambda p: isinstance(p, Target),
        lambda p: isinstance(p, int),
        lambda p: p == 1,
        lambda p: setattr(p, 'attribute', 2),
        lambda p: delattr(p, 'attribute'),
        lambda p: p.__dict__,
        lambda p: p.__doc__,
        lambda p: p.__module__,
        lambda p: p.__annotations__,
        lambda p: p.__weakref__,
        lambda p: p.__proxy_wrapped__,
    ],
)
def test_using_a_proxy_resolves_it_once(proxy, calls, use):
    use(proxy)
    assert is_resolved(proxy)
    assert proxy.__proxy_resolved__ is True
    use(Proxy(make_target))
    proxy.attribute = 1
    assert calls == [1]


def test_the_target_is_the_object_that_the_factory_made(proxy_class):
    target = Target()
    proxy = proxy_class(lambda: target)
    assert extract(proxy) is target
    assert proxy.__proxy_wrapped__ is target
    assert proxy.__proxy_target__ is target
    assert proxy.method(1, two=2) == (target, (1,), {'two': 2})


def test_none_may_be_a_target(proxy_class):
    proxy = proxy_class(lambda: None)
    assert extract(proxy) is None
    assert is_resolved(proxy)
    assert not proxy


# --- Construction -------------------------------------------------------------------------------


@pytest.mark.parametrize('factory', [None, 1, 'text', []])
def test_a_factory_must_be_callable(proxy_class, factory):
    with pytest.raises(TypeError, match=r'^Factory must be callable\.$'):
        proxy_class(factory)


@pytest.mark.parametrize(
    ('args', 'kwargs'),
    [((), {}), ((int, 1), {}), ((int,), {'unknown': 1}), ((int,), {'factory': int})],
)
def test_the_constructor_takes_a_factory_and_two_options(proxy_class, args, kwargs):
    with pytest.raises(TypeError):
        proxy_class(*args, **kwargs)


def test_the_factory_may_be_named(proxy_class):
    assert proxy_class(factory=int) == 0


def test_a_target_may_be_given(proxy_class):
    target = Target()
    proxy = proxy_class(unpicklable, target=target)
    assert is_resolved(proxy)
    assert extract(proxy) is target
    assert proxy.__proxy_default_class__ is None
    assert proxy.__proxy_default_hash__ is None


def test_none_as_the_given_target_means_none_was_given(proxy_class):
    assert not is_resolved(proxy_class(unpicklable, target=None))


def test_a_false_target_counts_as_given(proxy_class):
    assert is_resolved(proxy_class(unpicklable, target=0))


def test_the_defaults_are_taken_from_the_given_target(proxy_class):
    proxy = proxy_class(make_target, cache_defaults=True, target='text')
    assert proxy.__proxy_default_class__ is str
    assert proxy.__proxy_default_hash__ == hash('text')
    unhashable = proxy_class(make_target, cache_defaults=True, target=[])
    assert unhashable.__proxy_default_class__ is list
    assert isinstance(unhashable.__proxy_default_hash__, TypeError)


def test_there_are_no_defaults_without_a_target(proxy_class):
    proxy = proxy_class(make_target, cache_defaults=True)
    assert proxy.__proxy_default_class__ is None
    assert proxy.__proxy_default_hash__ is None


def test_an_error_of_hashing_other_than_a_type_error_is_raised(proxy_class):
    class Unhashable:
        def __hash__(self) -> int:
            raise ValueError('no hash')

    with pytest.raises(ValueError, match='no hash'):
        proxy_class(make_target, cache_defaults=True, target=Unhashable())


def test_defaults_answer_while_unresolved():
    proxy = trampoline(unpicklable, dict, 7)
    assert proxy.__class__ is dict
    assert isinstance(proxy, dict)
    assert isinstance(proxy, collections.abc.Mapping)
    assert not isinstance(proxy, list)
    assert hash(proxy) == 7
    assert not is_resolved(proxy)


def test_a_default_hash_may_be_an_error():
    error = TypeError("unhashable type: 'list'")
    proxy = trampoline(unpicklable, list, error)
    for _ in range(2):
        with pytest.raises(TypeError) as caught:
            hash(proxy)
        assert caught.value is error
    assert not is_resolved(proxy)


def test_defaults_are_forgotten_once_resolved():
    proxy = trampoline(lambda: 'text', dict, 7)
    assert proxy == 'text'
    assert proxy.__class__ is str
    assert hash(proxy) == hash('text')
    del proxy.__proxy_wrapped__
    assert proxy.__class__ is dict
    assert hash(proxy) == 7


# --- The class and its instances ----------------------------------------------------------------


def test_the_class_has_attributes_of_its_own():
    assert Proxy.__module__ == 'proxystore.proxy'
    assert Proxy.__name__ == 'Proxy'
    assert Proxy.__qualname__ == 'Proxy'
    assert Proxy.__doc__ == '<Proxy Placeholder Docstring>'
    assert type(Proxy) is ProxyMetaType
    assert issubclass(ProxyMetaType, type)
    assert set(Proxy.__slots__) == {
        '__proxy_default_class__',
        '__proxy_default_hash__',
        '__proxy_factory__',
        '__proxy_target__',
    }


def test_instances_show_the_attributes_of_the_target(proxy_class):
    proxy = proxy_class(make_target)
    assert proxy.__module__ == Target.__module__
    assert proxy.__doc__ == 'Docstring of the target.'
    assert proxy.__annotations__ == {'annotated': int} or proxy.__annotations__ == {
        'annotated': 'int'
    }
    assert proxy.__dict__ == {'attribute': 'value'}
    assert proxy.__weakref__ is None
    function = proxy_class(lambda: make_target)
    assert function.__name__ == 'make_target'
    assert function.__qualname__ == 'make_target'


@pytest.mark.parametrize('name', ['attribute', 'new', '__name__', '__module__', '__doc__'])
def test_attributes_are_set_on_the_target(proxy, name):
    setattr(proxy, name, 'changed')
    assert getattr(extract(proxy), name) == 'changed'
    assert getattr(proxy, name) == 'changed'


def test_the_class_and_annotations_of_the_target_may_be_set(proxy):
    class Other(Target):
        pass

    proxy.__class__ = Other
    assert type(extract(proxy)) is Other
    assert isinstance(proxy, Other)
    proxy.__annotations__ = {'other': str}
    assert extract(proxy).__annotations__ == {'other': str}


def test_attributes_are_deleted_from_the_target(proxy):
    del proxy.attribute
    assert not hasattr(extract(proxy), 'attribute')
    with pytest.raises(AttributeError, match='attribute'):
        del proxy.attribute


def test_a_missing_attribute_is_the_targets_complaint(proxy):
    with pytest.raises(AttributeError, match="'Target' object has no attribute 'missing'"):
        proxy.missing  # noqa: B018


def test_a_generic_alias(proxy_class):
    assert get_args(Proxy[int]) == (int,)
    alias = Proxy[Target]
    assert alias.__origin__ is Proxy
    assert type(alias(make_target)) is Proxy


def test_the_slots_are_reached_past_the_class(proxy, proxy_class):
    names = ('__proxy_factory__', '__proxy_default_class__', '__proxy_default_hash__')
    for name in names:
        object.__getattribute__(proxy, name)
        object.__setattr__(proxy, name, int)
        assert object.__getattribute__(proxy, name) is int
        assert getattr(proxy, name) is int
    assert not is_resolved(proxy)
    with pytest.raises(AttributeError, match='__proxy_target__'):
        object.__getattribute__(proxy, '__proxy_target__')
    object.__setattr__(proxy, '__proxy_target__', 'target')
    assert is_resolved(proxy)
    assert str(proxy) == 'target'
    object.__delattr__(proxy, '__proxy_target__')
    assert not is_resolved(proxy)


def test_the_target_slot_of_an_unresolved_proxy_is_looked_for_in_the_target(proxy):
    with pytest.raises(AttributeError, match="'Target' object has no attribute"):
        proxy.__proxy_target__  # noqa: B018
    assert is_resolved(proxy)


def test_the_factory_may_be_replaced(proxy_class):
    proxy = proxy_class(unpicklable)
    proxy.__proxy_factory__ = lambda: 'other'
    assert get_factory(proxy)() == 'other'
    assert str(proxy) == 'other'


def test_the_wrapped_object_may_be_set_and_deleted(proxy, calls):
    proxy.__proxy_wrapped__ = 'preset'
    assert is_resolved(proxy)
    assert str(proxy) == 'preset'
    del proxy.__proxy_wrapped__
    assert not is_resolved(proxy)
    with pytest.raises(AttributeError, match='__proxy_target__'):
        del proxy.__proxy_wrapped__
    assert calls == []
    assert proxy.attribute == 'value'


def test_resolved_is_read_only(proxy):
    with pytest.raises(AttributeError):
        proxy.__proxy_resolved__ = True
    assert not is_resolved(proxy)


# --- Failing factories --------------------------------------------------------------------------


def test_an_error_of_the_factory(proxy_class):
    error = ValueError('boom')

    def factory():
        raise error

    proxy = proxy_class(factory)
    with pytest.raises(ProxyResolveError) as caught:
        proxy + 1
    assert caught.value.cause is error
    assert caught.value.__cause__ is error
    assert not is_resolved(proxy)


def test_a_proxy_without_a_factory(proxy_class):
    proxy = proxy_class.__new__(proxy_class)
    with pytest.raises(ProxyResolveError, match='__proxy_factory__ is missing') as caught:
        str(proxy)
    assert isinstance(caught.value.cause, AttributeError)


def test_an_interrupt_in_the_factory_is_not_wrapped(proxy_class):
    def factory():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve(proxy_class(factory))


def test_the_error_of_resolving():
    error = ProxyResolveError('message', ValueError('cause'))
    assert isinstance(error, Exception)
    assert str(error) == 'message'
    assert isinstance(error.cause, ValueError)


@pytest.mark.parametrize('function', [extract, resolve, is_resolved, get_factory])
def test_the_functions_refuse_what_is_no_proxy(function):
    with pytest.raises(AttributeError):
        function(5)


# --- Text ---------------------------------------------------------------------------------------


def test_repr_tells_the_state(proxy_class):
    proxy = proxy_class(int)
    name = proxy_class.__name__
    assert repr(proxy) == f'<{name} at {id(proxy):#x} with factory {int!r}>'
    resolve(proxy)
    target = extract(proxy)
    assert repr(proxy) == (
        f'<{name} at {id(proxy):#x} wrapping {target!r} at {id(target):#x} with factory {int!r}>'
    )


def test_str_and_format_are_of_the_target(proxy_class):
    proxy = proxy_class(lambda: 42)
    assert str(proxy) == '42'
    assert f'{proxy}' == '42'
    assert f'{proxy!s}' == '42'
    assert '%s %d' % (proxy, proxy) == '42 42'  # noqa: UP031


# --- Operators ----------------------------------------------------------------------------------


def test_binary_operators_return_bare_results(proxy_class):
    proxy = proxy_class(lambda: 7)
    for result in (proxy + 1, 1 + proxy, proxy + proxy, -proxy, abs(proxy), proxy**2):
        assert type(result) is int


def test_operators_in_place_change_the_target_and_return_the_proxy(proxy_class):
    proxy = same = proxy_class(lambda: [1])
    target = extract(proxy)
    proxy += [2]
    assert proxy is same
    assert extract(proxy) is target
    assert target == [1, 2]
    number = same = proxy_class(lambda: 5)
    number += 1
    number *= 7
    number -= 2
    number //= 3
    number **= 2
    number %= 100
    number <<= 2
    number >>= 1
    number |= 1
    number &= 0b1111
    number ^= 2
    assert number is same
    assert extract(number) == (((((((5 + 1) * 7 - 2) // 3) ** 2 % 100) << 2) >> 1 | 1) & 0b1111) ^ 2
    number /= 4
    assert type(extract(number)) is float


def test_reflected_operators(proxy_class):
    proxy = proxy_class(lambda: 3)
    assert [10 + proxy, 10 - proxy, 10 * proxy, 10 / proxy, 10 // proxy, 10 % proxy] == [
        13,
        7,
        30,
        10 / 3,
        3,
        1,
    ]
    assert [2**proxy, 1 << proxy, 16 >> proxy, 6 & proxy, 4 | proxy, 1 ^ proxy] == [
        8,
        8,
        2,
        2,
        7,
        2,
    ]
    assert divmod(10, proxy) == (3, 1)
    assert 'a' + proxy_class(lambda: 'b') == 'ab'
    assert [1] + proxy_class(lambda: [2]) == [1, 2]  # noqa: RUF005


def test_comparisons(proxy_class):
    proxy = proxy_class(lambda: 5)
    assert (proxy == 5, proxy != 5, proxy < 6, proxy <= 5, proxy > 4, proxy >= 6) == (
        True,
        False,
        True,
        True,
        True,
        False,
    )
    assert proxy == 5
    assert proxy == proxy_class(lambda: 5)
    with pytest.raises(TypeError, match="'<' not supported between instances of 'int' and 'str'"):
        proxy < 'a'  # noqa: B015


def test_a_wrong_operand_is_the_targets_complaint(proxy_class):
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+: 'int' and 'str'"):
        proxy_class(lambda: 5) + 'a'


def test_numbers(proxy_class):
    assert int(proxy_class(lambda: '15')) == 15
    assert float(proxy_class(lambda: '1.5')) == 1.5
    assert round(proxy_class(lambda: 2.6)) == 3
    assert operator.index(proxy_class(lambda: 3)) == 3
    assert pow(proxy_class(lambda: 5), 2, 7) == 4
    assert divmod(proxy_class(lambda: 7), 2) == (3, 1)
    assert ~proxy_class(lambda: 3) == -4
    assert +proxy_class(lambda: -3) == -3
    assert bytes(proxy_class(lambda: 3)) == b'\0\0\0'


def test_containers(proxy_class):
    proxy = proxy_class(lambda: [1, 2, 3])
    assert len(proxy) == 3
    assert proxy[0] == 1
    assert proxy[-1] == 3
    assert proxy[1:] == [2, 3]
    assert 2 in proxy
    assert 5 not in proxy
    assert list(proxy) == [1, 2, 3]
    assert list(reversed(proxy)) == [3, 2, 1]
    proxy[0] = 'a'
    del proxy[1]
    assert extract(proxy) == ['a', 3]
    proxy[:] = []
    assert not proxy
    mapping = proxy_class(lambda: {'a': 1})
    mapping['b'] = 2
    assert dict(mapping) == {'a': 1, 'b': 2}
    assert {**mapping} == {'a': 1, 'b': 2}
    assert mapping | {'c': 3} == {'a': 1, 'b': 2, 'c': 3}


def test_iterators(proxy_class):
    proxy = proxy_class(lambda: iter([1, 2]))
    assert next(proxy) == 1
    assert list(proxy) == [2]
    with pytest.raises(StopIteration):
        next(proxy)
    with pytest.raises(TypeError, match="'list' object is not an iterator"):
        next(proxy_class(list))
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        iter(proxy_class(int))


def test_calls(proxy_class):
    proxy = proxy_class(lambda: lambda *args, **kwargs: (args, kwargs))
    assert proxy() == ((), {})
    assert proxy(1, a=2) == ((1,), {'a': 2})
    with pytest.raises(TypeError, match="'int' object is not callable"):
        proxy_class(int)()


def test_context_managers(proxy_class):
    stream = io.StringIO()
    with proxy_class(lambda: stream) as entered:
        assert entered is stream
    assert stream.closed


def test_paths(proxy_class, tmp_path):
    import os

    assert os.fspath(proxy_class(lambda: tmp_path)) == str(tmp_path)
    assert os.fspath(proxy_class(lambda: 'text')) == 'text'
    with pytest.raises(TypeError):
        os.fspath(proxy_class(int))


def test_classes_as_targets(proxy_class):
    proxy = proxy_class(lambda: Target)
    assert isinstance(proxy(), Target)
    assert proxy.__name__ == 'Target'


def test_a_proxy_of_a_proxy(proxy_class):
    proxy = proxy_class(lambda: proxy_class(lambda: [1]))
    assert proxy == [1]
    assert proxy[0] == 1
    assert len(proxy) == 1
    assert type(extract(proxy)) is proxy_class


# --- Copies and pickles -------------------------------------------------------------------------


def test_reduce_names_the_trampoline_and_plain_parts(proxy_class):
    proxy = proxy_class(make_target)
    expected = (trampoline, (make_target, None, None))
    assert proxy.__reduce__() == expected
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert proxy.__reduce_ex__(protocol) == expected
    assert trampoline.__module__ == 'proxystore.proxy'
    assert trampoline.__qualname__ == '_proxy_trampoline'
    known = proxy_class(make_target, cache_defaults=True, target='text')
    assert known.__reduce__() == (trampoline, (make_target, str, hash('text')))


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_target_does_not_travel(proxy_class, protocol):
    proxy = proxy_class(make_target, cache_defaults=True, target='text')
    clone = pickle.loads(pickle.dumps(proxy, protocol))
    assert type(clone) is Proxy
    assert not is_resolved(clone)
    assert clone.__class__ is str
    assert hash(clone) == hash('text')
    assert clone.attribute == 'value'


def test_an_error_of_hashing_travels(proxy_class):
    proxy = proxy_class(make_target, cache_defaults=True, target=[])
    clone = pickle.loads(pickle.dumps(proxy))
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        hash(clone)
    assert not is_resolved(clone)


@pytest.mark.parametrize('copy_of', [copy.copy, copy.deepcopy])
def test_copies_are_unresolved_proxies(proxy_class, copy_of):
    proxy = proxy_class(make_target, target=Target())
    clone = copy_of(proxy)
    assert type(clone) is Proxy
    assert clone is not proxy
    assert not is_resolved(clone)
    assert get_factory(clone) is make_target


def test_an_unpicklable_factory_is_an_error(proxy_class):
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(proxy_class(lambda: 1))


# --- The rest of the module ---------------------------------------------------------------------


def test_a_locker_hides_its_proxy(proxy, calls):
    locker = ProxyLocker(proxy)
    with pytest.raises(AttributeError, match='Cannot access proxy attribute of a Locker'):
        locker._proxy  # noqa: B018
    with pytest.raises(AttributeError):
        locker.attribute  # noqa: B018
    assert locker.unlock() is proxy
    assert calls == []


def test_a_locker_pickles(proxy_class):
    locker = pickle.loads(pickle.dumps(ProxyLocker(proxy_class(make_target))))
    assert type(locker) is ProxyLocker
    assert not is_resolved(locker.unlock())


def test_constants_and_types():
    assert CO_ITERABLE_COROUTINE == 0x100
    assert FactoryType[int] == collections.abc.Callable[[], int]
    assert DefaultClassType == type | None
    assert DefaultHashType == Exception | int | None
    assert ProxyOr.__name__ == 'ProxyOr'
    assert len(get_args(ProxyOr.__value__)) == 2
    assert isinstance(ProxyOr.__type_params__[0], TypeVar)


def test_as_metaclass():
    class Meta(type):
        pass

    class Base:
        pass

    made = as_metaclass(Meta, Base)
    assert type(made) is Meta
    assert made.__mro__ == (made, Base, object)

    class Derived(as_metaclass(Meta)):  # type: ignore[misc]
        pass

    assert type(Derived) is Meta


# From Python 3.12 on, asking for a Sequence asks for a ByteString, which is deprecated.
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_abstract_classes_that_every_proxy_belongs_to(proxy_class):
    proxy = proxy_class(lambda: 5)
    members = {
        name
        for name in collections.abc.__all__
        if isinstance(proxy, getattr(collections.abc, name))
        and name not in ('Buffer', 'ByteString')
    }
    assert members == {
        'AsyncIterable',
        'AsyncIterator',
        'Awaitable',
        'Callable',
        'Collection',
        'Container',
        'Hashable',
        'Iterable',
        'Iterator',
        'Reversible',
        'Sized',
    }


def test_a_cycle_is_collected(proxy_class):
    target = Target()
    target.proxy = proxy_class(target.method)
    resolve(target.proxy)
    gone = weakref.ref(target.proxy), weakref.ref(target)
    del target
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
