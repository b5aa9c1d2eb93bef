"""What extensions do to proxies, past the proxies' own attribute access."""

from __future__ import annotations

import warnings

import pytest

from proxystore.proxy import Proxy, is_resolved

SLOTS = (
    '__proxy_factory__',
    '__proxy_target__',
    '__proxy_default_class__',
    '__proxy_default_hash__',
)


class Referenced(Proxy):
    """Keeps state in slots of its own, as the reference types do."""

    __slots__ = ('__proxy_owner__', '__proxy_valid__')


@pytest.mark.parametrize('cls', [Proxy, Referenced])
def test_object_setattr_reaches_every_slot(cls):
    for name in SLOTS + (Referenced.__slots__ if cls is Referenced else ()):
        proxy = cls(int)
        value = object()
        object.__setattr__(proxy, name, value)
        assert object.__getattribute__(proxy, name) is value
        assert is_resolved(proxy) == (name == '__proxy_target__')
        object.__delattr__(proxy, name)
        assert object.__getattribute__(cls(int), '__proxy_factory__') is int


def test_no_class_of_proxies_has_a_native_setter():
    # `object.__setattr__` refuses objects of a type that defines the slot natively.
    for cls in Proxy.__mro__[1:-1]:
        assert '__setattr__' not in vars(cls)
        assert '__delattr__' not in vars(cls)
    assert type(vars(Proxy)['__setattr__']).__name__ == 'method_descriptor'


def test_the_dask_plugin_moves_a_proxy_without_resolving_it():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from proxystore_ex.plugins import distributed

    assert distributed._is_proxy(Proxy(lambda: pytest.fail('resolved')))
    assert not distributed._is_proxy(5)
