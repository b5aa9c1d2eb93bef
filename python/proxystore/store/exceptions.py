"""Errors that stores raise.

```
StoreError
├── ProxyStoreFactoryError      a proxy was not made by a store
└── StoreExistsError            the name of a store is taken
NonProxiableTypeError           objects of this type cannot be proxied
ProxyResolveMissingKeyError     the object of a proxy is not there
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxystore.store.base import Store
    from proxystore.store.types import ConnectorKeyT

__all__ = [
    'NonProxiableTypeError',
    'ProxyResolveMissingKeyError',
    'ProxyStoreFactoryError',
    'StoreError',
    'StoreExistsError',
]


class StoreError(Exception):
    """Base of the errors of stores."""


class StoreExistsError(StoreError):
    """A store of this name is registered already."""


class ProxyStoreFactoryError(StoreError):
    """The factory of a proxy is not a `StoreFactory`: no store has its object."""


class ProxyResolveMissingKeyError(Exception):
    """The object of a proxy is not in its store.

    Args:
        key: Key of the object.
        store_type: Class of the store.
        store_name: Name of the store.
    """

    def __init__(
        self,
        key: ConnectorKeyT,
        store_type: type[Store[Any]],
        store_name: str,
    ) -> None:
        self.key = key
        self.store_type = store_type
        self.store_name = store_name
        super().__init__(
            f"Cannot resolve target object with key='{key}' from "
            f"{store_type.__name__}(name='{store_name}') because there is no object associated "
            'with the key. This can often occur when the target object is evicted from the store '
            'while proxies of the target still exist.'
        )

    def __reduce__(self) -> tuple[type[ProxyResolveMissingKeyError], tuple[Any, ...]]:
        return type(self), (self.key, self.store_type, self.store_name)


class NonProxiableTypeError(Exception):
    """Objects of this type cannot be proxied: `None` and `bool`.

    Programs compare them by identity (`x is None`), which no proxy can imitate.
    """
