"""Transparent, lazy object proxies.

A [`Proxy`][proxystore.proxy.Proxy] is made from a *factory*, a callable that takes no arguments.
The first use of the proxy calls the factory; from then on the proxy behaves as the object that the
factory returned, its *target*. A proxy pickles as its factory, so it is a cheap reference to an
object that only those who use it pay for.

The proxy's operators, attribute access and resolving are native code; see `docs/proxy.md` for what
is forwarded, what cannot be, and how threads share the first use.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from typing_extensions import TypeAliasType

from proxystore._native import (
    ProxyBase,
    adopt_proxy_class,
    delete_proxy_attribute,
    forget_proxy_names,
    set_proxy_attribute,
)

T = TypeVar('T')
T_co = TypeVar('T_co', covariant=True)

FactoryType: TypeAlias = Callable[[], T]
"""A factory of a proxy: called without arguments, returns the target."""

DefaultClassType: TypeAlias = type | None
"""What an unresolved proxy gives as its `__class__`; None resolves it."""

DefaultHashType: TypeAlias = Exception | int | None
"""What an unresolved proxy hashes to, or raises when hashed; None resolves it."""

CO_ITERABLE_COROUTINE: Final = inspect.CO_ITERABLE_COROUTINE
"""Flag of the code of generator functions whose generators can be awaited."""


class ProxyResolveError(Exception):
    """The factory of a proxy raised an exception.

    The proxy stays unresolved: its next use calls the factory again.

    Args:
        message: What happened.
        cause: The exception that the factory raised.

    Attributes:
        cause: The exception that the factory raised; also `__cause__`.
    """

    def __init__(self, message: str, cause: Exception) -> None:
        super().__init__(message)
        self.cause = cause

    def __reduce__(self) -> tuple[type[ProxyResolveError], tuple[str, Exception]]:
        return type(self), (str(self), self.cause)


class ProxyMetaType(type):
    """Metaclass of proxies: keeps instances in step with changes of their class.

    A proxy decides by name whether an attribute is its own or its target's. This metaclass tells it
    when the names that a class defines have changed.
    """

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        forget_proxy_names(cls)

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        forget_proxy_names(cls)


def as_metaclass(meta: Any, *bases: Any) -> Any:
    """Make a base class that gives its subclasses a metaclass.

    Args:
        meta: Metaclass.
        bases: Base classes of the class that is made.

    Returns:
        A class without attributes of its own, of type `meta`.
    """
    return meta('ProxyMetaClass', bases, {'__slots__': (), '__module__': __name__})


if TYPE_CHECKING:
    _Forwarding: TypeAlias = ProxyBase[T_co]
else:
    # Only checkers know the native class as a generic one.
    _Forwarding = GenericAlias(ProxyBase, (T_co,))


class Proxy(_Forwarding[T_co], Generic[T_co], metaclass=ProxyMetaType):
    """<Proxy Placeholder Docstring>"""  # noqa: D415

    # Instances have no dictionary; what the class shows below is where the slots are reached.
    __slots__ = ()

    __setattr__ = set_proxy_attribute
    __delattr__ = delete_proxy_attribute

    if TYPE_CHECKING:
        # The native lookup forwards without it; checkers and the mypy plugin look for it.
        def __getattr__(self, name: str, /) -> Any: ...


type.__setattr__(
    Proxy,
    '__slots__',
    (
        '__proxy_default_class__',
        '__proxy_default_hash__',
        '__proxy_factory__',
        '__proxy_target__',
    ),
)


def _proxy_trampoline(
    factory: FactoryType[T],
    default_class: DefaultClassType = None,
    default_hash: DefaultHashType = None,
) -> Proxy[T]:
    """Rebuild a proxy from its pickle.

    Args:
        factory: Factory of the proxy.
        default_class: Class of the target, if the sender knew it.
        default_hash: Hash of the target or the exception that hashing it raised, if the sender
            knew it.

    Returns:
        An unresolved proxy.
    """
    proxy: Proxy[T] = Proxy(factory)
    if default_class is not None:
        object.__setattr__(proxy, '__proxy_default_class__', default_class)
    if default_hash is not None:
        object.__setattr__(proxy, '__proxy_default_hash__', default_hash)
    return proxy


def _delegate(generator: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    return (yield from generator)


adopt_proxy_class(Proxy, ProxyResolveError, _proxy_trampoline, _delegate)

ProxyOr = TypeAliasType('ProxyOr', Proxy[T] | T, type_params=(T,))
"""A value, or a proxy of one."""


class ProxyLocker(Generic[T]):
    """Holds a proxy so that it cannot be resolved by accident.

    Frameworks that inspect their arguments would resolve a proxy among them. A locker shows nothing
    of its proxy until it is unlocked, and it pickles.

    Args:
        proxy: Proxy to hold.
    """

    def __init__(self, proxy: Proxy[T]) -> None:
        self._proxy = proxy

    def __getattribute__(self, name: str) -> Any:
        if name == '_proxy':
            message = 'Cannot access proxy attribute of a Locker'
            raise AttributeError(message)
        return super().__getattribute__(name)

    def unlock(self) -> Proxy[T]:
        """Take the proxy out.

        Returns:
            The proxy, resolved or not as it went in.
        """
        return cast('Proxy[T]', super().__getattribute__('_proxy'))


def extract(proxy: Proxy[T]) -> T:
    """Return the target of a proxy, resolving the proxy if need be.

    Args:
        proxy: Proxy.

    Returns:
        The object that the proxy stands for.

    Raises:
        AttributeError: If `proxy` is not a proxy.
        ProxyResolveError: If the factory raises an exception.
    """
    return cast('T', proxy.__proxy_wrapped__)


def get_factory(proxy: Proxy[T]) -> FactoryType[T]:
    """Return the factory of a proxy, without resolving the proxy.

    Args:
        proxy: Proxy.

    Returns:
        The callable that returns the target.

    Raises:
        AttributeError: If `proxy` is not a proxy.
    """
    return cast('FactoryType[T]', proxy.__proxy_factory__)


def is_resolved(proxy: Proxy[T]) -> bool:
    """Tell whether a proxy holds its target, without resolving it.

    Args:
        proxy: Proxy.

    Returns:
        Whether the factory has been called, or the target was given.

    Raises:
        AttributeError: If `proxy` is not a proxy.
    """
    return proxy.__proxy_resolved__


def resolve(proxy: Proxy[T]) -> None:
    """Resolve a proxy, if it is not resolved yet.

    Args:
        proxy: Proxy.

    Raises:
        AttributeError: If `proxy` is not a proxy.
        ProxyResolveError: If the factory raises an exception.
    """
    proxy.__proxy_wrapped__  # noqa: B018


async def aresolve(proxy: Proxy[T]) -> T:
    """Resolve a proxy, if it is not resolved yet, without keeping the loop waiting.

    Tasks that resolve a proxy of a store share what one of them, or
    `resolve_async()`, has begun. The factories of other proxies are called in a
    thread.

    Args:
        proxy: Proxy.

    Returns:
        The object that it stands for.

    Raises:
        AttributeError: If `proxy` is not a proxy.
        ProxyResolveError: If the factory raises an exception.
    """
    if not is_resolved(proxy):
        factory: Any = get_factory(proxy)
        aprefetch = getattr(factory, 'aprefetch', None)
        if aprefetch is None:
            from proxystore.connectors._asyncio import in_thread

            await in_thread(resolve, proxy)
        else:
            prefetch = await aprefetch()
            if not is_resolved(proxy):
                # A failure that another task was told of is this one's, too.
                factory.adopt(prefetch)
                resolve(proxy)
    return extract(proxy)
