"""Stores, and the registry of the stores of this process by name."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from proxystore.connectors.protocols import Connector as Connector
from proxystore.proxy import Proxy as Proxy  # noqa: TC001
from proxystore.proxy import get_factory as get_factory
from proxystore.store.base import Store
from proxystore.store.config import StoreConfig
from proxystore.store.exceptions import ProxyStoreFactoryError as ProxyStoreFactoryError
from proxystore.store.exceptions import StoreExistsError as StoreExistsError
from proxystore.store.factory import StoreFactory
from proxystore.store.utils import is_proxy, store_factory

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    'Store',
    'StoreConfig',
    'StoreFactory',
    'get_store',
    'register_store',
    'store_registration',
    'unregister_store',
]

logger = logging.getLogger(__name__)

T = TypeVar('T')

_stores: dict[str, Store[Any]] = {}
_stores_lock = threading.RLock()
# One for each name of which a store is being made, so that it is made once.
_making: dict[str, threading.RLock] = {}


def get_store(val: str | Proxy[T]) -> Store[Any] | None:
    """Get a registered store.

    Args:
        val: Name of the store, or a proxy that it made. The store of a proxy
            is made and registered if there is none of its name.

    Returns:
        The store, or `None` if there is none of this name.

    Raises:
        ProxyStoreFactoryError: If no store made the proxy.
    """
    if is_proxy(val):
        return store_factory(val).get_store()
    return _stores.get(cast('str', val))


def get_or_create_store(store_config: StoreConfig, *, register: bool = True) -> Store[Any]:
    """Get the registered store of a configuration's name, or make it.

    Args:
        store_config: Configuration to make the store from if there is none of
            its name. Several threads that come at once are given the same.
        register: Register the store if it is made.

    Raises:
        ValueError: If there is no such connector, or an option is wrong.
    """
    name = store_config.name
    store = _stores.get(name)
    if store is not None:
        return store
    with _stores_lock:
        making = _making.setdefault(name, threading.RLock())
    try:
        with making:
            store = _stores.get(name)
            if store is not None:
                return store
            try:
                store = Store.from_config(store_config)
            except StoreExistsError:
                # Registers itself, but somebody was faster.
                store = _stores[name]
            if not register:
                return store
            with _stores_lock:
                return _stores.setdefault(name, store)
    finally:
        with _stores_lock:
            _making.pop(name, None)


def register_store(store: Store[Any], exist_ok: bool = False) -> None:
    """Register a store under its name, so that the proxies of this process find it.

    Args:
        store: Store to register.
        exist_ok: Replace a store of this name.

    Raises:
        StoreExistsError: If the name is taken and `exist_ok` is not set.
    """
    with _stores_lock:
        if store.name in _stores and not exist_ok:
            msg = f'A store named "{store.name}" already exists.'
            raise StoreExistsError(msg)
        _stores[store.name] = store
    logger.info('Registered a store named "%s"', store.name)


@contextlib.contextmanager
def store_registration(*stores: Store[Any], exist_ok: bool = False) -> Generator[None, None, None]:
    """Register stores while a block of code runs.

    They are unregistered at the end of the block, however it ends. Stores
    that they replaced are registered again.

    Args:
        stores: Stores to register. All of them are, or none.
        exist_ok: Replace stores of the same names.

    Raises:
        StoreExistsError: If a name is taken and `exist_ok` is not set.
    """
    replaced: list[tuple[Store[Any], Store[Any] | None]] = []
    try:
        for store in stores:
            before = _stores.get(store.name)
            register_store(store, exist_ok=exist_ok)
            replaced.append((store, before))
        yield
    finally:
        with _stores_lock:
            for store, before in reversed(replaced):
                # Somebody may have registered another one in the meantime.
                if _stores.get(store.name) is store:
                    del _stores[store.name]
                    if before is not None and before is not store:
                        _stores[store.name] = before


def unregister_store(name_or_store: str | Store[Any]) -> None:
    """Take a store out of the registry. It stays open.

    Args:
        name_or_store: Store, or its name. Nothing happens if there is none of
            this name.
    """
    name = name_or_store if isinstance(name_or_store, str) else name_or_store.name
    with _stores_lock:
        found = _stores.pop(name, None)
    if found is not None:
        logger.info('Unregistered a store named %s', name)


def forget_store(store: Store[Any]) -> None:
    """Take a store out of the registry if it is this very one that is registered.

    Args:
        store: Store that is about to be closed.
    """
    with _stores_lock:
        if _stores.get(store.name) is store:
            del _stores[store.name]


def _renew_locks() -> None:
    # A thread that held a lock when this process was forked does not run here.
    global _stores_lock
    _stores_lock = threading.RLock()
    _making.clear()


os.register_at_fork(after_in_child=_renew_locks)
