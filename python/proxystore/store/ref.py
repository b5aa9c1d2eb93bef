"""Proxies with the rules of ownership: one owner, many readers or one writer.

An `OwnedProxy` owns its object: when the proxy is deleted, the object is
evicted. An owner can lend either any number of `RefProxy`, to read, or one
`RefMutProxy`, which may `update()` the object.

Pickling a reference moves it to the receiver: the sender can no longer use
it.
"""

from __future__ import annotations

import copy
import os
import threading
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypeVar, cast

from proxystore.proxy import Proxy, is_resolved
from proxystore.store._owners import Finalizer, evict
from proxystore.store.exceptions import ProxyResolveMissingKeyError, ProxyStoreFactoryError
from proxystore.store.factory import StoreFactory
from proxystore.store.types import SerializerT
from proxystore.store.utils import store_factory

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    'BaseRefProxy',
    'BaseRefProxyError',
    'DefaultClassType',
    'DefaultHashType',
    'FactoryType',
    'MutableBorrowError',
    'OwnedProxy',
    'Proxy',
    'ProxyStoreFactoryError',
    'RefMutProxy',
    'RefProxy',
    'ReferenceInvalidError',
    'ReferenceNotOwnedError',
    'SerializerT',
    'StoreFactory',
    'borrow',
    'clone',
    'into_owned',
    'is_resolved',
    'mut_borrow',
    'update',
]

T = TypeVar('T')
RefT = TypeVar('RefT', bound='BaseRefProxy[Any]')

DefaultClassType = type | None
DefaultHashType = Exception | int | None
FactoryType = StoreFactory[Any, T]

# Attributes of a proxy are those of its target, its own are reached like this.
_get = object.__getattribute__
_set = object.__setattr__
_delete = object.__delattr__

# Guards the counts of borrows. Reentrant: the collector may delete a reference
# while another is made.
_counts = threading.RLock()


class BaseRefProxyError(Exception):
    """Base of the errors of references."""


class MutableBorrowError(BaseRefProxyError):
    """The object is borrowed in a way that excludes this: one writer, or any number of readers."""


class ReferenceNotOwnedError(BaseRefProxyError):
    """The operation needs the owner of the object, or a writer, and the proxy is neither."""


class ReferenceInvalidError(BaseRefProxyError):
    """The reference was sent to another process, or its scope has ended."""

    # Raised by the use of the proxy as it is, not as the cause of a `ProxyResolveError`.
    __proxy_about_itself__ = True


class BaseRefProxy(Proxy[T]):
    """Base of the references.

    Args:
        factory: Factory that a store made.
        cache_defaults: Send the class and the hash of the target along, so
            that the proxy need not be resolved to answer these.
        target: Object that the proxy holds from the start.
    """

    __slots__ = ('__proxy_valid__',)

    def __init__(
        self,
        factory: FactoryType[T],
        *,
        cache_defaults: bool = False,
        target: T | None = None,
    ) -> None:
        _set(self, '__proxy_valid__', True)
        super().__init__(factory, cache_defaults=cache_defaults, target=target)

    def __copy__(self) -> NoReturn:
        msg = (
            'Copy is not implemented for reference proxy types to avoid incidental misuse of the '
            'API. Use clone() instead.'
        )
        raise NotImplementedError(msg)

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        msg = (
            'Deep copy is not implemented for reference proxy types to avoid incidental misuse of '
            'the API. Use clone() instead.'
        )
        raise NotImplementedError(msg)

    def __reduce__(self) -> Any:
        """Give the reference away: it can be used where it is unpickled, and no longer here."""
        _invalidate(self)
        factory = cast('_Invalidated[T]', _get(self, '__proxy_factory__'))
        return (
            _proxy_trampoline,
            (_kind(self), factory.factory, factory.default_class, factory.default_hash),
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return _get(self, '__reduce__')()


class OwnedProxy(BaseRefProxy[T]):
    """Proxy that owns its object: the object is evicted when the proxy is deleted.

    Args:
        factory: Factory that a store made.
        cache_defaults: Send the class and the hash of the target along, so
            that the proxy need not be resolved to answer these.
        target: Object that the proxy holds from the start.
    """

    __slots__ = ('__proxy_finalizer__', '__proxy_ref_count__', '__proxy_ref_mut_count__')

    def __init__(
        self,
        factory: FactoryType[T],
        *,
        cache_defaults: bool = False,
        target: T | None = None,
    ) -> None:
        _set(self, '__proxy_ref_count__', 0)
        _set(self, '__proxy_ref_mut_count__', 0)
        super().__init__(factory, cache_defaults=cache_defaults, target=target)
        _set(self, '__proxy_finalizer__', Finalizer(self))

    def __del__(self) -> None:
        finalizer: Finalizer | None = _slot(self, '__proxy_finalizer__')
        if finalizer is None or not finalizer.responsible or not _get(self, '__proxy_valid__'):
            return
        refs: int = _get(self, '__proxy_ref_count__')
        mut_refs: int = _get(self, '__proxy_ref_mut_count__')
        if refs or mut_refs:
            if finalizer.owner() is None:
                # The collector has found the owner and its borrows together, and begins with
                # the owner: the last borrow evicts the object.
                finalizer.outlived = True
                return
            msg = (
                'Cannot safely delete OwnedProxy because there still exists '
                f'{refs} RefProxy and {mut_refs} RefMutProxy.'
            )
            raise RuntimeError(msg)
        finalizer.done()
        evict(_get(self, '__proxy_factory__'))


class _BorrowedProxy(BaseRefProxy[T]):
    """What the two kinds of borrowed references have in common."""

    __slots__ = ('__proxy_finalizer__', '__proxy_owner__')

    def __init__(
        self,
        factory: FactoryType[T],
        *,
        cache_defaults: bool = False,
        owner: OwnedProxy[T] | None = None,
        target: T | None = None,
    ) -> None:
        _set(self, '__proxy_owner__', owner)
        _set(self, '__proxy_finalizer__', None)
        super().__init__(factory, cache_defaults=cache_defaults, target=target)

    def __del__(self) -> None:
        _return_to_owner(self)


class RefProxy(_BorrowedProxy[T]):
    """Reference borrowed for reading.

    Args:
        factory: Factory that a store made.
        cache_defaults: Send the class and the hash of the target along, so
            that the proxy need not be resolved to answer these.
        owner: Proxy that owns the object, if it is in this process.
        target: Object that the proxy holds from the start.
    """

    __slots__ = ()


class RefMutProxy(_BorrowedProxy[T]):
    """Reference borrowed for writing.

    Args:
        factory: Factory that a store made.
        cache_defaults: Send the class and the hash of the target along, so
            that the proxy need not be resolved to answer these.
        owner: Proxy that owns the object, if it is in this process.
        target: Object that the proxy holds from the start.
    """

    __slots__ = ()


def borrow(proxy: OwnedProxy[T], *, populate_target: bool = True) -> RefProxy[T]:
    """Borrow an object for reading.

    Args:
        proxy: Owner of the object.
        populate_target: Let the reference hold the object if the owner does.

    Returns:
        A reference. Others may be borrowed at the same time.

    Raises:
        MutableBorrowError: If the object is borrowed for writing.
        ReferenceInvalidError: If the owner was sent to another process.
        ReferenceNotOwnedError: If the proxy is not an owner.
    """
    if not issubclass(type(proxy), OwnedProxy):
        msg = 'Only owned references can be borrowed.'
        raise ReferenceNotOwnedError(msg)
    with _counts:
        if _get(proxy, '__proxy_ref_mut_count__') > 0:
            msg = 'Proxy was already borrowed as mutable.'
            raise MutableBorrowError(msg)
        _require_valid(proxy)
        reference: RefProxy[T] = RefProxy(_get(proxy, '__proxy_factory__'), owner=proxy)
        _set(proxy, '__proxy_ref_count__', _get(proxy, '__proxy_ref_count__') + 1)
    _copy_target(proxy, reference, populate_target)
    return reference


def mut_borrow(proxy: OwnedProxy[T], *, populate_target: bool = True) -> RefMutProxy[T]:
    """Borrow an object for writing.

    Args:
        proxy: Owner of the object.
        populate_target: Let the reference hold the object if the owner does.

    Returns:
        A reference. While it exists the object cannot be borrowed again.

    Raises:
        MutableBorrowError: If the object is borrowed already.
        ReferenceInvalidError: If the owner was sent to another process.
        ReferenceNotOwnedError: If the proxy is not an owner.
    """
    if not issubclass(type(proxy), OwnedProxy):
        msg = 'Only owned references can be borrowed.'
        raise ReferenceNotOwnedError(msg)
    with _counts:
        if _get(proxy, '__proxy_ref_mut_count__') > 0:
            msg = 'Proxy was already borrowed as mutable.'
            raise MutableBorrowError(msg)
        if _get(proxy, '__proxy_ref_count__') > 0:
            msg = 'Proxy was already borrowed as immutable.'
            raise MutableBorrowError(msg)
        _require_valid(proxy)
        reference: RefMutProxy[T] = RefMutProxy(_get(proxy, '__proxy_factory__'), owner=proxy)
        _set(proxy, '__proxy_ref_mut_count__', 1)
    _copy_target(proxy, reference, populate_target)
    return reference


def clone(proxy: OwnedProxy[T]) -> OwnedProxy[T]:
    """Copy an object and own the copy.

    Args:
        proxy: Owner of the object.

    Returns:
        Owner of the copy, under a key of its own. It holds a deep copy of the
        object if `proxy` holds the object.

    Raises:
        ProxyResolveMissingKeyError: If the object is not in the store.
        ReferenceInvalidError: If the owner was sent to another process.
        ReferenceNotOwnedError: If the proxy is not an owner.
    """
    if not issubclass(type(proxy), OwnedProxy):
        msg = 'Only owned references can be cloned.'
        raise ReferenceNotOwnedError(msg)
    _require_valid(proxy)
    factory: StoreFactory[Any, T] = _get(proxy, '__proxy_factory__')
    store = factory.get_store()
    data = store.connector.get(factory.key)
    if data is None:
        raise ProxyResolveMissingKeyError(factory.key, type(store), store.name)
    copied: OwnedProxy[T] = OwnedProxy(
        StoreFactory(
            store.connector.put(data),
            factory.store_config,
            evict=factory.evict,
            deserializer=factory.deserializer,
        )
    )
    _copy_target(proxy, copied, populate_target=False)
    if is_resolved(proxy):
        _set(copied, '__proxy_target__', copy.deepcopy(_get(proxy, '__proxy_target__')))
    return copied


def into_owned(proxy: Proxy[T], *, populate_target: bool = True) -> OwnedProxy[T]:
    """Make an owner of a proxy.

    The proxy can be used as long as the owner exists. Resolving it no longer
    evicts the object.

    Args:
        proxy: Proxy that a store made.
        populate_target: Let the owner hold the object if the proxy does.

    Returns:
        Owner of the proxy's object.

    Raises:
        ProxyStoreFactoryError: If no store made the proxy.
        ValueError: If the proxy is a reference already.
    """
    if not issubclass(type(proxy), Proxy) or issubclass(type(proxy), BaseRefProxy):
        msg = 'Only a base proxy can be converted into an owned proxy.'
        raise ValueError(msg)  # noqa: TRY004
    factory = store_factory(proxy)
    factory.evict = False
    owner: OwnedProxy[T] = OwnedProxy(factory)
    _copy_target(proxy, owner, populate_target)
    return owner


def update(proxy: OwnedProxy[T] | RefMutProxy[T], *, serializer: SerializerT | None = None) -> None:
    """Replace the object in the store by the reference's, which has been changed.

    Nothing happens if the reference is not resolved: it cannot have changed.

    Args:
        proxy: Owner that has lent nothing, or a reference borrowed for
            writing.
        serializer: Serializer to use instead of the store's.

    Raises:
        MutableBorrowError: If the object is borrowed.
        NotImplementedError: If the connector cannot replace objects.
        ReferenceInvalidError: If the reference was sent to another process,
            or its scope has ended.
        ReferenceNotOwnedError: If the reference is for reading only.
    """
    kind = type(proxy)
    if not issubclass(kind, OwnedProxy | RefMutProxy):
        msg = 'Reference is an immutable borrow.'
        raise ReferenceNotOwnedError(msg)
    if issubclass(kind, OwnedProxy) and (
        _get(proxy, '__proxy_ref_count__') > 0 or _get(proxy, '__proxy_ref_mut_count__') > 0
    ):
        msg = 'OwnedProxy has been borrowed. Cannot mutate.'
        raise MutableBorrowError(msg)
    _require_valid(proxy)
    if is_resolved(proxy):
        factory: StoreFactory[Any, T] = _get(proxy, '__proxy_factory__')
        store = factory.get_store()
        store._set(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            factory.key, _get(proxy, '__proxy_target__'), serializer=serializer
        )


def is_borrow(obj: Any) -> bool:
    """Tell whether an object is a borrowed reference. Does not resolve it.

    Args:
        obj: Object in question.
    """
    return issubclass(type(obj), _BorrowedProxy)


def end_borrow(reference: RefProxy[Any] | RefMutProxy[Any]) -> None:
    """Invalidate a borrowed reference and give the object back to its owner.

    Args:
        reference: Borrowed reference. Nothing happens if it has ended.
    """
    _invalidate(reference)
    _return_to_owner(reference)


class _Invalidated(StoreFactory[Any, T]):
    """Factory of a reference that can no longer be used. Remembers what it needs to be sent."""

    def __init__(
        self,
        factory: StoreFactory[Any, T],
        default_class: DefaultClassType,
        default_hash: DefaultHashType,
    ) -> None:
        self.__dict__.update(getattr(factory, '__dict__', {}))
        self.factory = factory
        self.default_class = default_class
        self.default_hash = default_hash

    def __call__(self) -> NoReturn:
        msg = (
            'Reference has been invalidated. This is likely because it was pickled and '
            'transferred to a different process.'
        )
        raise ReferenceInvalidError(msg)

    def __reduce__(self) -> Any:
        return self.factory.__reduce_ex__(4)


def _proxy_trampoline(
    kind: str,
    factory: FactoryType[T],
    default_class: DefaultClassType = None,
    default_hash: DefaultHashType = None,
) -> BaseRefProxy[T]:
    """Make a reference where it is unpickled. Part of the format of pickles."""
    kinds: dict[str, Callable[[FactoryType[T]], BaseRefProxy[T]]] = {
        'OwnedProxy': OwnedProxy,
        'RefProxy': RefProxy,
        'RefMutProxy': RefMutProxy,
    }
    if kind not in kinds:
        msg = f'Unknown kind of reference "{kind}": it is none of {", ".join(kinds)}.'
        raise ValueError(msg)
    proxy = kinds[kind](factory)
    _set(proxy, '__proxy_default_class__', default_class)
    _set(proxy, '__proxy_default_hash__', default_hash)
    return proxy


def _copy_target(source: Proxy[T], reference: BaseRefProxy[T], populate_target: bool) -> None:
    """Let a reference hold what another proxy holds, and know what it knows of the target."""
    for name in ('__proxy_default_class__', '__proxy_default_hash__'):
        _set(reference, name, _slot(source, name))
    if populate_target and is_resolved(source):
        _set(reference, '__proxy_target__', _get(source, '__proxy_target__'))


def _invalidate(reference: BaseRefProxy[Any]) -> None:
    """Make every further use of a reference raise."""
    if isinstance(_slot(reference, '__proxy_factory__'), _Invalidated):
        return
    _set(reference, '__proxy_valid__', False)
    _set(
        reference,
        '__proxy_factory__',
        _Invalidated(
            _get(reference, '__proxy_factory__'),
            _slot(reference, '__proxy_default_class__'),
            _slot(reference, '__proxy_default_hash__'),
        ),
    )
    for name in ('__proxy_target__', '__proxy_default_class__', '__proxy_default_hash__'):
        if _slot(reference, name) is not None:
            _delete(reference, name)


def _kind(reference: BaseRefProxy[Any]) -> str:
    """Name by which other versions know the class of a reference, or that of its base."""
    for kind in (OwnedProxy, RefProxy, RefMutProxy):
        if issubclass(type(reference), kind):
            return str(type.__getattribute__(kind, '__name__'))
    msg = f'A {type(reference).__name__} cannot be pickled.'
    raise TypeError(msg)


def _require_valid(reference: BaseRefProxy[Any]) -> None:
    if not _get(reference, '__proxy_valid__'):
        _invalidate(reference)
        _get(reference, '__proxy_factory__')()


def _return_to_owner(reference: BaseRefProxy[Any]) -> None:
    """Take a borrow out of its owner's count, once."""
    with _counts:
        owner: OwnedProxy[Any] | None = _slot(reference, '__proxy_owner__')
        if owner is None:
            return
        _set(reference, '__proxy_owner__', None)
        name = (
            '__proxy_ref_mut_count__'
            if issubclass(type(reference), RefMutProxy)
            else '__proxy_ref_count__'
        )
        _set(owner, name, max(0, _get(owner, name) - 1))
    finalizer: Finalizer | None = _slot(owner, '__proxy_finalizer__')
    if finalizer is not None and finalizer.outlived:
        cast('Any', OwnedProxy).__del__(owner)


def _slot(proxy: Proxy[Any], name: str) -> Any:
    """Value of a slot, or `None` if it is empty."""
    try:
        return _get(proxy, name)
    except AttributeError:
        return None


def _renew_lock() -> None:
    # A thread that held the lock when this process was forked does not run here.
    global _counts
    _counts = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)
