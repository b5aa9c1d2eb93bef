"""What extensions do to proxies, past the proxies' own attribute access."""

from __future__ import annotations

import pytest

from proxystore.proxy import Proxy, is_resolved
from tests.support.interpreter import run_program

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


def test_the_dask_plugin_knows_a_proxy_without_resolving_it():
    # In a process of its own: dask changes how exceptions pickle.
    run_program(
        """
        import warnings
        warnings.simplefilter('ignore')
        from proxystore.proxy import _proxy_trampoline, is_resolved
        from proxystore_ex.plugins.distributed import _is_proxy

        proxy = _proxy_trampoline(list, dict, None)
        assert _is_proxy(proxy)
        assert not _is_proxy(5)
        assert not is_resolved(proxy)
        """
    )
