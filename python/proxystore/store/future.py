"""Futures: objects that are set after their keys are made."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from proxystore.proxy import Proxy
from proxystore.store.config import without_unknown_fields
from proxystore.store.factory import PollingStoreFactory
from proxystore.store.types import ConnectorT, SerializerT

__all__ = ['Future', 'PollingStoreFactory', 'Proxy', 'SerializerT']

T = TypeVar('T')

_STATE_FIELDS = ('_factory', '_serializer')


class Future(Generic[T]):
    """Object of a store that is set later. Made by `Store.future()`.

    Futures and their proxies can be sent to other processes: one sets the
    object, others wait for it.

    Args:
        factory: Factory that waits for the object.
        serializer: Serializer to use instead of the store's.
    """

    def __init__(
        self,
        factory: PollingStoreFactory[ConnectorT, T],
        *,
        serializer: SerializerT | None = None,
    ) -> None:
        self._factory = factory
        self._serializer = serializer

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(without_unknown_fields(type(self), state, _STATE_FIELDS))

    def done(self) -> bool:
        """Tell whether the object is there."""
        return self._factory.get_store().exists(self._factory.key)

    def proxy(self) -> Proxy[T]:
        """Make a proxy that waits for the object when it is first used."""
        return Proxy(self._factory)

    def result(self) -> T:
        """Wait for the object.

        Raises:
            ProxyResolveMissingKeyError: If it is not there in time.
        """
        return self._factory.resolve()

    def set_result(self, obj: T) -> None:
        """Set the object.

        Args:
            obj: Object to put. It replaces one set before.

        Raises:
            SerializationError: If the object cannot be serialized.
            NotImplementedError: If the connector cannot defer objects.
        """
        store = self._factory.get_store()
        store._set(  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            self._factory.key, obj, serializer=self._serializer
        )
