"""Functions on proxies that a store made."""

from __future__ import annotations

from typing import Any, TypeGuard, TypeVar, cast

from proxystore.proxy import Proxy, aresolve, get_factory, is_resolved
from proxystore.store.exceptions import ProxyStoreFactoryError
from proxystore.store.factory import StoreFactory
from proxystore.store.types import ConnectorKeyT

__all__ = [
    'ConnectorKeyT',
    'Proxy',
    'ProxyStoreFactoryError',
    'aresolve',
    'get_factory',
    'get_key',
    'is_resolved',
    'resolve_async',
]

T = TypeVar('T')


def get_key(proxy: Proxy[T]) -> ConnectorKeyT:
    """Return the key of the object of a proxy. Does not resolve it.

    Args:
        proxy: Proxy made by a store.

    Returns:
        The key of its object in the store's connector.

    Raises:
        ProxyStoreFactoryError: If no store made the proxy.
    """
    return store_factory(proxy).key


def resolve_async(proxy: Proxy[T]) -> None:
    """Begin to get the object of a proxy in the background.

    The first use of the proxy waits for it and, if that failed, raises the
    error.
    Nothing happens if the proxy is resolved.

    Args:
        proxy: Proxy made by a store.

    Raises:
        ProxyStoreFactoryError: If no store made the proxy.
    """
    factory = store_factory(proxy)
    if not is_resolved(proxy):
        factory.resolve_async()


def is_proxy(obj: Any) -> TypeGuard[Proxy[Any]]:
    """Tell whether an object is a proxy, of whatever class. Does not resolve it.

    Args:
        obj: Object in question.
    """
    return isinstance(obj, Proxy)


def store_factory(proxy: Proxy[T]) -> StoreFactory[Any, T]:
    """Return the factory of a proxy that a store made.

    Args:
        proxy: Proxy made by a store.

    Raises:
        ProxyStoreFactoryError: If no store made the proxy.
    """
    factory: Any = get_factory(proxy)
    if not isinstance(factory, StoreFactory):
        msg = (
            'The proxy must contain a factory with type StoreFactory. '
            f'{type(factory).__name__} is not supported.'
        )
        raise ProxyStoreFactoryError(msg)
    return cast('StoreFactory[Any, T]', factory)
