"""Functions on proxies that a store made."""

from __future__ import annotations

from typing import Any, TypeGuard, TypeVar, cast

from proxystore.proxy import Proxy, extract, get_factory, is_resolved, resolve
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


async def aresolve(proxy: Proxy[T]) -> T:
    """Resolve a proxy, if it is not resolved yet, without keeping the loop waiting.

    What `resolve_async()` or another task has begun is waited for, not begun
    again. The object of a proxy that no store made is got by a thread.

    Args:
        proxy: Proxy.

    Returns:
        The object that it stands for.

    Raises:
        AttributeError: If `proxy` is not a proxy.
        ProxyResolveError: If the object cannot be got.
    """
    if not is_resolved(proxy):
        made_by: Any = get_factory(proxy)
        if isinstance(made_by, StoreFactory):
            factory = cast('StoreFactory[Any, T]', made_by)
            prefetch = await factory.aprefetch()
            if not is_resolved(proxy):
                # A failure that another task was told of is this one's, too.
                factory.adopt(prefetch)
                resolve(proxy)
        else:
            from proxystore.connectors import _asyncio

            await _asyncio.in_thread(resolve, proxy)
    return extract(proxy)


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
