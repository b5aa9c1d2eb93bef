"""Cache of the most recently used objects."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import weakref
from typing import Any, Generic, TypeVar, overload

__all__ = ['LRUCache']

KeyT = TypeVar('KeyT')
ValueT = TypeVar('ValueT')
DefaultT = TypeVar('DefaultT')

# Out of date times that the heap may hold, beside one for each value.
_SLACK = 64


class _Entry(Generic[ValueT]):
    __slots__ = ('used', 'value')

    def __init__(self, value: ValueT, used: int) -> None:
        self.value = value
        # When the value was used last, on the clock of its cache.
        self.used = used


class LRUCache(Generic[KeyT, ValueT]):
    """Cache that drops the least recently used value. Threads may share it.

    Args:
        maxsize: Number of values that are kept. 0 keeps none.

    Attributes:
        maxsize: Number of values that are kept.
        hits: Number of calls of `get()` that found a value.
        misses: Number of calls of `get()` that did not.

    Raises:
        ValueError: If the size is negative.
    """

    # A use of a value only notes the time in its entry, without a lock. The
    # heap holds each key at a time at which it was used, not always the last:
    # whoever looks for the oldest corrects the times that have passed.

    def __init__(self, maxsize: int = 16) -> None:
        if maxsize < 0:
            msg = 'Cache size must by >= 0'
            raise ValueError(msg)
        self.maxsize = maxsize
        self.hits = 0
        self.misses = 0
        self._data: dict[KeyT, _Entry[ValueT]] = {}
        self._heap: list[tuple[int, KeyT]] = []
        self._clock = itertools.count().__next__
        # Reentrant: the collector may finalize an object that evicts another.
        self._lock = threading.RLock()
        _caches.add(self)

    def __len__(self) -> int:
        return len(self._data)

    def evict(self, key: KeyT) -> None:
        """Drop a value.

        Args:
            key: Key of the value. Nothing happens if it is not there.
        """
        self._data.pop(key, None)

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
        entry = self._data.get(key)
        if entry is None:
            self.misses += 1
            return default
        entry.used = self._clock()
        self.hits += 1
        return entry.value

    def set(self, key: KeyT, value: ValueT) -> None:
        """Keep a value, and drop the least recently used one if there are too many.

        Args:
            key: Key of the value, replacing the value that it has.
            value: Value to keep.
        """
        if self.maxsize == 0:
            return
        used = self._clock()
        # Dropped entries are freed, and what they hold finalized, without the lock.
        dropped: list[_Entry[ValueT] | None] = []
        with self._lock:
            dropped.append(self._data.get(key))
            self._data[key] = _Entry(value, used)
            heapq.heappush(self._heap, (used, key))
            while len(self._data) > self.maxsize:
                dropped.append(self._pop_oldest())
            if len(self._heap) > 2 * self.maxsize + _SLACK:
                self._heap = [(entry.used, key) for key, entry in list(self._data.items())]
                heapq.heapify(self._heap)

    def _pop_oldest(self) -> _Entry[ValueT] | None:
        while self._heap:
            used, key = self._heap[0]
            entry = self._data.get(key)
            if entry is not None and entry.used > used:
                heapq.heapreplace(self._heap, (entry.used, key))
                continue
            heapq.heappop(self._heap)
            if entry is not None:
                return self._data.pop(key, None)
        return None

    def renew_lock(self) -> None:
        """Forget who holds the lock. Called in a forked child, where nobody does."""
        self._lock = threading.RLock()


_caches: weakref.WeakSet[LRUCache[Any, Any]] = weakref.WeakSet()


def _renew_locks() -> None:
    # A thread that held a lock when this process was forked does not run here.
    for cache in _caches:
        cache.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)
