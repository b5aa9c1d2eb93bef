"""Objects that travel within their events although their topic has a store.

Such an object is serialized as its store would, and its event carries a proxy whose factory holds
the bytes: every version reads that, and hands out a proxy as it does of objects in the store.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeVar, cast

from proxystore.factory import LambdaFactory
from proxystore.proxy import Proxy, get_factory
from proxystore.store._serialization import size
from proxystore.store.utils import is_proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxystore.store.base import Store
    from proxystore.store.types import ConnectorKeyT

T = TypeVar('T')

# The attribute of a factory by which consumers know it for one that was made here.
_MARK = '_stream_inline'


def carry_or_put(
    store: Store[Any], objs: Sequence[T], threshold: int
) -> tuple[dict[int, Proxy[T]], list[ConnectorKeyT]]:
    """Put large objects into a store, and make proxies of small ones that carry them.

    Args:
        store: The store, whose serializer and deserializer are used for either.
        objs: The objects.
        threshold: Bytes up to which a serialized object is small.

    Returns:
        Proxies of the small objects by the position of the object, and the keys of the others in
        order.
    """
    started = perf_counter_ns()
    serialized = [store._serialize(obj) for obj in objs]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    carried: dict[int, Proxy[T]] = {}
    large: list[Any] = []
    verifies = store._serialization.verify  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for number, data in enumerate(serialized):
        if verifies or size(data) > threshold:
            large.append(data)
        else:
            carried[number] = _carry(store, data)
    if not large:
        return carried, []
    return carried, store._put_serialized(large, started)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def take_carried(obj: Any) -> Any:
    """Return the object that an event carries: of a proxy that was made here, its target."""
    if is_proxy(obj):
        factory: Any = get_factory(obj)
        if getattr(factory, _MARK, False):
            return factory()
    return obj


def _carry(store: Store[Any], data: Any) -> Proxy[Any]:
    # Several buffers, or one.
    data = b''.join(cast('list[bytes]', data)) if isinstance(data, list) else bytes(data)
    factory: LambdaFactory[Any] = LambdaFactory(store.deserializer, data)
    setattr(factory, _MARK, True)
    return Proxy(factory)
