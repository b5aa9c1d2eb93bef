"""Cache of the objects used last."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from typing import Any, Generic, TypeVar, cast, overload

__all__ = ['LRUCache']

KeyT = TypeVar('KeyT')
ValueT = TypeVar('ValueT')
DefaultT = TypeVar('DefaultT')

_MISSING = object()


class LRUCache(Generic[KeyT, ValueT]):
    """Cache that drops what was not used for the longest time. For several threads.

    Args:
        maxsize: Number of values that are kept. With 0 none is.

    Attributes:
        maxsize: Number of values that are kept.
        hits: Number of calls of `get()` that found a value.
        misses: Number of calls of `get()` that did not.

    Raises:
        ValueError: If the size is negative.
    """

    def __init__(self, maxsize: int = 16) -> None:
        if maxsize < 0:
            msg = 'Cache size must by >= 0'
            raise ValueError(msg)
        self.maxsize = maxsize
        self.hits = 0
        self.misses = 0
        self._data: OrderedDict[KeyT, ValueT] = OrderedDict()
        # Reentrant: the collector may finalize an object that evicts another.
        self._lock = threading.RLock()
        _caches.add(self)

    def evict(self, key: KeyT) -> None:
        """Drop a value.

        Args:
            key: Key of the value. Nothing happens if it is not there.
        """
        with self._lock:
            # Whatever `__del__` the value has runs after the lock is released.
            value = self._data.pop(key, None)
        del value

    def exists(self, key: KeyT) -> bool:
        """Tell whether a value is there, without counting as a use of it.

        Args:
            key: Key of the value.
        """
        return key in self._data

    @overload
    def get(self, key: KeyT) -> ValueT | None: ...

    @overload
    def get(self, key: KeyT, default: DefaultT) -> ValueT | DefaultT: ...

    def get(self, key: KeyT, default: Any = None) -> Any:
        """Get a value.

        Args:
            key: Key of the value.
            default: What to return if it is not there.
        """
        data = self._data
        with self._lock:
            value = data.get(key, cast('ValueT', _MISSING))
            if value is not _MISSING:
                self.hits += 1
                # Not there any more if the collector ran and finalized what evicts it.
                with contextlib.suppress(KeyError):
                    data.move_to_end(key)
                return value
            self.misses += 1
        return default

    def set(self, key: KeyT, value: ValueT) -> None:
        """Keep a value, and drop the one not used for the longest time if there are too many.

        Args:
            key: Key of the value. A value that it already has is replaced.
            value: Value to keep.
        """
        if self.maxsize == 0:
            return
        data = self._data
        dropped: Any = None
        with self._lock:
            dropped = data.pop(key, None)
            data[key] = value
            if len(data) > self.maxsize:
                dropped = data.popitem(last=False)
        del dropped

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()


_caches: weakref.WeakSet[LRUCache[Any, Any]] = weakref.WeakSet()


def _renew_locks() -> None:
    # A thread that held a lock when this process was forked does not run here.
    for cache in _caches:
        cache._renew_lock()  # noqa: SLF001


os.register_at_fork(after_in_child=_renew_locks)
