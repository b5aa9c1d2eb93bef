"""Who answers to a name: the proxy's class, or the target."""

from __future__ import annotations

import functools
import sys
from typing import Generic, TypeVar

import pytest

from proxystore.proxy import Proxy, ProxyMetaType, extract, is_resolved

T = TypeVar('T')


class Target:
    """A target with names that classes of proxies define too."""

    own_slot = 'of the target'
    late = 'of the target'

    def __init__(self) -> None:
        self.x = 1

    def own_method(self) -> str:
        return 'of the target'

    def method(self) -> str:
        return 'method'


class Own(Proxy):
    """A proxy class with names of its own."""

    __slots__ = ('__dunder_slot__', 'own_slot')

    constant = 'constant'

    def own_method(self) -> str:
        return 'of the class'

    @property
    def own_property(self) -> str:
        return 'property of ' + type(self).__name__

    @own_property.setter
    def own_property(self, value: str) -> None:
        self.own_slot = value

    @functools.cached_property
    def failing_cache(self) -> str:
        return 'needs a dictionary'

    @classmethod
    def class_method(cls) -> type:
        return cls

    @staticmethod
    def static_method() -> str:
        return 'static'


@pytest.fixture
def own():
    return Own(Target)


def test_names_of_a_subclass_are_its_own_and_do_not_resolve(own):
    own.own_slot = 'slot'
    own.__dunder_slot__ = 'dunder'
    assert own.own_slot == 'slot'
    assert own.__dunder_slot__ == 'dunder'
    assert own.constant == 'constant'
    assert own.own_method() == 'of the class'
    assert own.own_property == 'property of Own'
    own.own_property = 'set by the property'
    assert own.own_slot == 'set by the property'
    assert own.class_method() is Own
    assert own.static_method() == 'static'
    assert not is_resolved(own)
    del own.own_slot
    assert not is_resolved(own)


def test_other_names_are_the_targets(own):
    assert own.x == 1
    assert own.method() == 'method'
    own.y = 2
    assert extract(own).y == 2
    del own.y
    assert not hasattr(own, 'y')


def test_an_empty_slot_is_looked_for_in_the_target(own):
    assert own.own_slot == 'of the target'
    assert is_resolved(own)


def test_a_property_that_raises_attribute_error_is_looked_for_in_the_target():
    class Failing(Proxy):
        __slots__ = ()

        @property
        def late(self) -> str:
            raise AttributeError('mine')

        @property
        def early(self) -> str:
            raise AttributeError('mine')

        @property
        def broken(self) -> str:
            raise ValueError('mine')

    proxy = Failing(Target)
    assert proxy.late == 'of the target'
    with pytest.raises(AttributeError, match="'Target' object has no attribute 'early'"):
        proxy.early  # noqa: B018
    with pytest.raises(ValueError, match='mine'):
        proxy.broken  # noqa: B018


def test_names_that_are_made_at_run_time(own):
    name = ''.join(['own_', 'method'])
    assert getattr(own, name)() == 'of the class'
    assert getattr(own, ''.join(['me', 'thod']))() == 'method'

    class Text(str):
        __slots__ = ()

    assert getattr(own, Text('own_method'))() == 'of the class'
    assert getattr(own, Text('method'))() == 'method'
    with pytest.raises(TypeError, match='attribute name must be string'):
        getattr(own, 5)


def test_a_class_that_changes(own):
    assert own.late == 'of the target'
    Own.late = 'of the class'
    try:
        assert own.late == 'of the class'
        assert Own(Target).late == 'of the class'
        with pytest.raises(AttributeError, match='late'):
            own.late = 1
    finally:
        del Own.late
    assert own.late == 'of the target'


def test_a_base_class_that_changes():
    class Base(Proxy):
        __slots__ = ()

    class Derived(Base):
        __slots__ = ()

    proxy = Derived(Target)
    assert proxy.late == 'of the target'
    Base.late = 'of the base'
    assert proxy.late == 'of the base'
    assert Base(Target).late == 'of the base'
    assert Proxy(Target).late == 'of the target'
    del Base.late
    assert proxy.late == 'of the target'


def test_the_proxy_class_itself_may_change(own):
    proxy = Proxy(Target)
    assert proxy.late == 'of the target'
    Proxy.late = 'of every proxy'
    try:
        assert proxy.late == 'of every proxy'
        assert own.late == 'of every proxy'
    finally:
        del Proxy.late
    assert proxy.late == 'of the target'
    assert own.late == 'of the target'


def test_bases_that_change():
    class First(Proxy):
        __slots__ = ()
        late = 'first'

    class Second(Proxy):
        __slots__ = ()

    class Derived(First):
        __slots__ = ()

    proxy = Derived(Target)
    assert proxy.late == 'first'
    Derived.__bases__ = (Second,)
    assert proxy.late == 'of the target'


def test_a_mixin_that_changes():
    class Mixin:
        __slots__ = ()
        mixed = 'in'

    class Mixed(Mixin, Proxy):
        __slots__ = ()

    proxy = Mixed(Target)
    assert proxy.mixed == 'in'
    assert proxy.late == 'of the target'
    Mixin.late = 'of the mixin'
    assert proxy.late == 'of the mixin'
    del Mixin.late
    assert proxy.late == 'of the target'
    assert proxy.__class__ is Target
    assert proxy.__doc__ == Target.__doc__


def test_a_subclass_without_slots_has_a_dictionary_past_the_proxy():
    class Roomy(Proxy):
        pass

    proxy = Roomy(Target)
    proxy.x = 2
    assert extract(proxy).x == 2
    assert proxy.__dict__ is extract(proxy).__dict__
    object.__setattr__(proxy, 'x', 'of the proxy')
    assert proxy.x == 'of the proxy'
    assert extract(proxy).x == 2
    assert proxy.__doc__ == Target.__doc__


def test_a_proxy_has_no_dictionary():
    with pytest.raises(AttributeError):
        object.__setattr__(Proxy(Target), 'unknown', 1)
    with pytest.raises(AttributeError):
        object.__setattr__(Own(Target), 'unknown', 1)


def test_a_subclass_may_look_up_what_nobody_has():
    class Fallback(Proxy):
        __slots__ = ()

        def __getattr__(self, name: str) -> str:
            return 'fallback for ' + name

    proxy = Fallback(Target)
    assert proxy.x == 1
    assert proxy.unknown == 'fallback for unknown'


def test_a_subclass_may_look_up_everything():
    class Nosy(Proxy):
        __slots__ = ()
        seen: list[str] = []  # noqa: RUF012

        def __getattribute__(self, name: str) -> object:
            Nosy.seen.append(name)
            return super().__getattribute__(name)

        def __setattr__(self, name: str, value: object) -> None:
            Nosy.seen.append('set ' + name)
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            Nosy.seen.append('delete ' + name)
            super().__delattr__(name)

    proxy = Nosy(Target)
    assert proxy.x == 1
    proxy.x = 2
    del proxy.x
    assert Nosy.seen == ['x', 'set x', 'delete x']


def test_a_generic_subclass():
    class Typed(Proxy[T]):
        __slots__ = ()

    class Derived(Typed[int], Generic[T]):
        __slots__ = ()

    assert Typed[int](lambda: 5) == 5
    assert Derived[str](lambda: 5) == 5
    assert type(Typed) is ProxyMetaType


def test_a_metaclass_of_ones_own():
    class Meta(ProxyMetaType):
        def __call__(cls, *args, **kwargs):  # noqa: N805 the class is the instance here
            made = super().__call__(*args, **kwargs)
            created.append(type(made))
            return made

    class Made(Proxy, metaclass=Meta):
        __slots__ = ()

    created = []
    assert Made(Target).x == 1
    assert created == [Made]


def test_the_native_base_alone_makes_no_instances():
    base = Proxy.__mro__[1]
    assert base.__module__ == 'proxystore._native'
    with pytest.raises(TypeError):
        base(int)
    derived = type('Derived', (base,), {})
    with pytest.raises(TypeError):
        derived(int)
    with pytest.raises(TypeError, match='immutable'):
        base.attribute = 1


def test_a_forgotten_class_is_freed_with_its_names():
    import gc
    import weakref

    def make():
        class Short(Proxy):
            __slots__ = ()

            def own(self):
                return __class__

        assert Short(Target).x == 1
        return weakref.ref(Short)

    references = [make() for _ in range(10)]
    gc.collect()
    assert [reference() for reference in references] == [None] * 10


def test_another_class_at_the_same_address_has_names_of_its_own():
    import gc

    for turn in range(50):
        names = {'__slots__': (), f'name{turn}': turn}
        proxy = type(Proxy)('Short', (Proxy,), names)(Target)
        assert getattr(proxy, f'name{turn}') == turn
        assert not hasattr(proxy, f'name{turn - 1}')
        del proxy
        gc.collect()


def test_dir_is_the_targets():
    assert dir(Proxy(Target)) == dir(Target())


def test_special_names_of_the_native_base_are_the_targets_on_instances():
    for name in ('__floor__', '__complex__', '__instancecheck__', '__buffer__', '__array_ufunc__'):
        assert not hasattr(Proxy(lambda: 'text'), name)


def test_setters_check_their_arguments():
    proxy = Proxy(Target)
    with pytest.raises(TypeError, match='2 arguments'):
        proxy.__setattr__('x')
    with pytest.raises(TypeError, match='1 arguments'):
        proxy.__delattr__('x', 1)
    with pytest.raises(TypeError):
        Proxy.__setattr__(5, 'x', 1)
    proxy.__setattr__('x', 5)
    assert proxy.x == 5


def test_lookups_by_many_threads_while_the_class_changes():
    from concurrent.futures import ThreadPoolExecutor

    class Changing(Proxy):
        __slots__ = ()

    proxy = Changing(Target)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def look():
        return {proxy.late for _ in range(2000)} | {proxy.x}

    def change():
        for _ in range(200):
            Changing.late = 'of the class'
            del Changing.late
        return {1}

    try:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(look), pool.submit(look), pool.submit(look), pool.submit(change)]
            seen = set().union(*(future.result() for future in futures))
    finally:
        sys.setswitchinterval(before)
    assert seen <= {'of the class', 'of the target', 1}
