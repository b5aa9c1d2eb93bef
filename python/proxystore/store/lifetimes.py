"""Lifetimes: objects that are evicted together when something ends."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import uuid
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable

from proxystore.connectors.exceptions import ConnectorClosedError
from proxystore.proxy import Proxy, get_factory
from proxystore.store.exceptions import ProxyStoreFactoryError
from proxystore.store.factory import StoreFactory
from proxystore.store.types import ConnectorKeyT
from proxystore.store.utils import store_factory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from proxystore.store.base import Store

__all__ = [
    'ConnectorKeyT',
    'ContextLifetime',
    'LeaseLifetime',
    'Lifetime',
    'Proxy',
    'ProxyStoreFactoryError',
    'StaticLifetime',
    'StoreFactory',
    'get_factory',
    'register_lifetime_atexit',
]

logger = logging.getLogger(__name__)

T = TypeVar('T')
LifetimeT = TypeVar('LifetimeT', bound='Lifetime')

# Seconds after which a lease looks at the clock again: somebody may have set it.
_CLOCK_INTERVAL = 3600.0


@runtime_checkable
class Lifetime(Protocol):
    """What a class needs to be a lifetime."""

    def add_key(self, *keys: ConnectorKeyT, store: Store[Any] | None = None) -> None:
        """Bind objects to the lifetime.

        Args:
            keys: Keys of the objects.
            store: Store that has them, for lifetimes that serve several.
        """
        ...

    def add_proxy(self, *proxies: Proxy[Any]) -> None:
        """Bind the objects of proxies to the lifetime.

        Args:
            proxies: Proxies that a store made.

        Raises:
            ProxyStoreFactoryError: If no store made a proxy.
        """
        ...

    def close(self, *, close_stores: bool = False) -> None:
        """End the lifetime and evict its objects.

        Args:
            close_stores: Close the stores that had them.
        """
        ...

    def done(self) -> bool:
        """Tell whether the lifetime has ended."""
        ...


class ContextLifetime:
    """Lifetime of a block of code.

    ```python
    with ContextLifetime(store) as lifetime:
        key = store.put(obj, lifetime=lifetime)
    assert not store.exists(key)
    ```

    Args:
        store: Store of the objects.
        name: Name of the lifetime in logs. `None` is a random one.

    Attributes:
        store: Store of the objects.
        name: Name of the lifetime.
    """

    def __init__(self, store: Store[Any], *, name: str | None = None) -> None:
        self.store = store
        self.name = str(uuid.uuid4()) if name is None else name
        self._done = False
        self._keys: set[ConnectorKeyT] = set()
        # A lease ends in another thread than that which adds keys to it.
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'Lifetime(name={self.name}, store={self.store})'

    def add_key(self, *keys: ConnectorKeyT, store: Store[Any] | None = None) -> None:  # noqa: ARG002
        """Bind objects to the lifetime.

        Args:
            keys: Keys of the objects.
            store: Not used: the objects are those of the lifetime's store.

        Raises:
            RuntimeError: If the lifetime has ended.
        """
        with self._changed:
            _refuse_ended(self._done)
            self._keys.update(keys)

    def add_proxy(self, *proxies: Proxy[Any]) -> None:
        """Bind the objects of proxies to the lifetime.

        Args:
            proxies: Proxies that the lifetime's store made.

        Raises:
            ProxyStoreFactoryError: If no store made a proxy.
            RuntimeError: If the lifetime has ended.
        """
        _refuse_ended(self._done)
        self.add_key(*[store_factory(proxy).key for proxy in proxies])

    def close(self, *, close_stores: bool = False) -> None:
        """End the lifetime and evict its objects. Closing again does nothing.

        Args:
            close_stores: Close the store.

        Raises:
            ConnectorError: If an object cannot be evicted. The others are.
        """
        with self._changed:
            keys, self._keys = self._keys, set()
            self._done = True
            self._changed.notify_all()
        try:
            _evict(self.store, keys)
        finally:
            if close_stores:
                self.store.close()
        logger.info('Closed lifetime manager (name=%s)', self.name)

    def done(self) -> bool:
        """Tell whether the lifetime has ended."""
        return self._done


class LeaseLifetime(ContextLifetime):
    """Lifetime that ends at a certain time, which can be extended.

    The objects are evicted by a thread of this process, which does not keep
    the process from exiting: a lease that has not expired at exit leaves its
    objects, unless it was given to
    [`register_lifetime_atexit`][proxystore.store.lifetimes.register_lifetime_atexit].

    Args:
        store: Store of the objects.
        expiry: When the lifetime ends: a time, or a duration from now (a
            number is seconds). A time without a zone is local.
        name: Name of the lifetime in logs. `None` is a random one.

    Raises:
        TypeError: If the expiry is neither a datetime, a timedelta nor a number.
    """

    def __init__(
        self,
        store: Store[Any],
        expiry: datetime | timedelta | float,
        *,
        name: str | None = None,
    ) -> None:
        self._expiry = _end(expiry, time.time())
        super().__init__(store, name=name)
        self._timer = threading.Thread(
            target=self._expire, name=f'proxystore-lease-{self.name}', daemon=True
        )
        self._timer.start()

    def close(self, *, close_stores: bool = False) -> None:
        """End the lifetime now and evict its objects. Closing again does nothing.

        Args:
            close_stores: Close the store.

        Raises:
            ConnectorError: If an object cannot be evicted. The others are.
        """
        super().close(close_stores=close_stores)

    def extend(self, expiry: datetime | timedelta | float) -> None:
        """Move the end.

        Args:
            expiry: New end: a time, or a duration to add to the present end (a
                number is seconds).

        Raises:
            RuntimeError: If the lifetime has ended.
            TypeError: If the expiry is neither a datetime, a timedelta nor a number.
        """
        with self._changed:
            _refuse_ended(self._done)
            self._expiry = _end(expiry, self._expiry)
            self._changed.notify_all()

    def _expire(self) -> None:
        with self._changed:
            while not self._done:
                left = self._expiry - time.time()
                if left <= 0:
                    break
                self._changed.wait(min(left, _CLOCK_INTERVAL))
        if not self._done:
            try:
                self.close()
            except Exception:
                logger.exception('The lease %s expired, but not all could be evicted', self.name)


class StaticLifetime:
    """Lifetime of the process, a singleton.

    Its objects are evicted, and their stores closed, when the interpreter
    exits.

    Attributes:
        name: Name of the lifetime in logs.
    """

    name = 'static'

    _instance: StaticLifetime | None = None
    _lock = threading.RLock()

    _done: bool
    _keys: dict[Store[Any], set[ConnectorKeyT]]
    _callback: Callable[[], None]

    def __new__(cls) -> StaticLifetime:
        """Get the lifetime of the process."""
        with cls._lock:
            if cls._instance is None:
                self = super().__new__(cls)
                self._done = False
                self._keys = defaultdict(set)
                self._callback = register_lifetime_atexit(self)
                cls._instance = self
            return cls._instance

    @classmethod
    def _begin_anew(cls) -> None:
        """Forget, in a forked child, what its parent bound before the fork."""
        cls._lock = threading.RLock()
        self = cls._instance
        if self is not None:
            self._keys = defaultdict(set)
            # Nor are the stores that the child has inherited its own.
            self._callback = register_lifetime_atexit(self, close_stores=False)

    def add_key(self, *keys: ConnectorKeyT, store: Store[Any] | None = None) -> None:
        """Bind objects to the lifetime.

        Args:
            keys: Keys of the objects.
            store: Store that has them.

        Raises:
            RuntimeError: If the lifetime has ended.
            ValueError: If no store is given.
        """
        with self._lock:
            _refuse_ended(self._done)
            if store is None:
                msg = 'The StaticLifetime requires the store parameter.'
                raise ValueError(msg)
            self._keys[store].update(keys)

    def add_proxy(self, *proxies: Proxy[Any]) -> None:
        """Bind the objects of proxies to the lifetime.

        Args:
            proxies: Proxies that a store made.

        Raises:
            ProxyStoreFactoryError: If no store made a proxy.
            RuntimeError: If the lifetime has ended.
        """
        _refuse_ended(self._done)
        for factory in [store_factory(proxy) for proxy in proxies]:
            self.add_key(factory.key, store=factory.get_store())

    def close(self, *, close_stores: bool = False) -> None:
        """End the lifetime and evict its objects. Closing again does nothing.

        Args:
            close_stores: Close the stores that had them.

        Raises:
            ConnectorError: If an object cannot be evicted. The others are.
        """
        with self._lock:
            keys, self._keys = self._keys, defaultdict(set)
            self._done = True
        failed: Exception | None = None
        for store, of_store in keys.items():
            try:
                _evict(store, of_store)
                if close_stores:
                    store.close()
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed
        logger.info('Closed static lifetime manager')

    def done(self) -> bool:
        """Tell whether the lifetime has ended."""
        return self._done


os.register_at_fork(after_in_child=StaticLifetime._begin_anew)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def register_lifetime_atexit(lifetime: Lifetime, close_stores: bool = True) -> Callable[[], None]:
    """End a lifetime when the interpreter exits, if it has not ended before.

    In a forked child it is left alone: the objects are those of the parent.

    Args:
        lifetime: Lifetime to end.
        close_stores: Close the stores of its objects.

    Returns:
        The function that is called at exit, for `atexit.unregister()`.
    """
    process = os.getpid()

    def _lifetime_atexit_callback() -> None:
        if os.getpid() == process:
            lifetime.close(close_stores=close_stores)

    atexit.register(_lifetime_atexit_callback)
    return _lifetime_atexit_callback


def _end(expiry: datetime | timedelta | float, begin: float) -> float:
    """Seconds since the epoch of an end, relative ones counted from `begin`."""
    if isinstance(expiry, datetime):
        return expiry.timestamp()
    if isinstance(expiry, timedelta):
        return begin + expiry.total_seconds()
    if isinstance(expiry, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        return begin + expiry
    msg = f'The expiry must be a datetime, a timedelta or seconds, not {type(expiry)}.'
    raise TypeError(msg)


def _evict(store: Store[Any], keys: Iterable[ConnectorKeyT]) -> None:
    """Evict objects, also those behind one that cannot be evicted."""
    failed: Exception | None = None
    for key in keys:
        try:
            store.evict(key)
        except ConnectorClosedError:
            logger.debug('Store(name="%s") was closed before the lifetime ended', store.name)
            return
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _refuse_ended(done: bool) -> None:
    if done:
        msg = 'Lifetime has ended. Cannot use this method.'
        raise RuntimeError(msg)
