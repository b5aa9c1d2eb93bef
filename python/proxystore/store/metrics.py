"""Measurements of the operations of a store."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from proxystore.proxy import Proxy
from proxystore.store.types import ConnectorKeyT
from proxystore.store.utils import get_key, is_proxy

__all__ = ['ConnectorKeyT', 'Metrics', 'Proxy', 'StoreMetrics', 'TimeStats', 'get_key']

#: Key of an object, or keys of the objects of one batch.
KeyT = ConnectorKeyT | Sequence[ConnectorKeyT]
ProxyT = TypeVar('ProxyT', bound=Proxy[Any])


@dataclasses.dataclass
class TimeStats:
    """Times of one operation.

    Attributes:
        count: Number of times.
        avg_time_ms: Their mean, in milliseconds.
        min_time_ms: The shortest, in milliseconds.
        max_time_ms: The longest, in milliseconds.
        last_time_ms: The last, in milliseconds.
        last_timestamp: When the last was added, in seconds since the epoch.
    """

    count: int = 0
    avg_time_ms: float = 0
    min_time_ms: float = math.inf
    max_time_ms: float = 0
    last_time_ms: float = 0
    last_timestamp: float = 0

    def __add__(self, other: TimeStats) -> TimeStats:
        last = self if self.last_timestamp > other.last_timestamp else other
        return TimeStats(
            count=self.count + other.count,
            avg_time_ms=_mean(self.avg_time_ms, self.count, other.avg_time_ms, other.count),
            min_time_ms=min(self.min_time_ms, other.min_time_ms),
            max_time_ms=max(self.max_time_ms, other.max_time_ms),
            last_time_ms=last.last_time_ms,
            last_timestamp=last.last_timestamp,
        )

    def add_time(self, time_ms: float) -> None:
        """Add a time.

        Args:
            time_ms: Milliseconds.
        """
        self.avg_time_ms = _mean(self.avg_time_ms, self.count, time_ms, 1)
        self.count += 1
        self.min_time_ms = min(self.min_time_ms, time_ms)
        self.max_time_ms = max(self.max_time_ms, time_ms)
        self.last_time_ms = time_ms
        self.last_timestamp = time.time()

    def as_dict(self) -> dict[str, Any]:
        """Return the times as a dictionary."""
        return dataclasses.asdict(self)


@dataclasses.dataclass
class Metrics:
    """Measurements of the operations on one object, or on one batch of objects.

    Attributes:
        attributes: Properties of the object, such as its size.
        counters: How often something happened.
        times: Times of the operations.
    """

    attributes: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    counters: dict[str, int] = dataclasses.field(default_factory=lambda: defaultdict[str, int](int))
    times: dict[str, TimeStats] = dataclasses.field(
        default_factory=lambda: defaultdict[str, TimeStats](TimeStats)
    )

    def as_dict(self) -> dict[str, Any]:
        """Return the measurements as a dictionary of dictionaries."""
        return {
            'attributes': dict(self.attributes),
            'counters': dict(self.counters),
            'times': {name: stats.as_dict() for name, stats in self.times.items()},
        }


class StoreMetrics:
    """Measurements of the operations of a store, by key.

    A batch is measured under the sequence of its keys: `(a, b)` is neither
    `a` nor `b` nor `(b, a)`, but the same as `[a, b]`.
    """

    def __init__(self) -> None:
        self._metrics: dict[int, Metrics] = defaultdict(Metrics)

    def add_attribute(self, name: str, key: KeyT, value: Any) -> None:
        """Set a property of an object.

        Args:
            name: Name of the property.
            key: Key of the object, or keys of the batch.
            value: Its value, which replaces an earlier one.
        """
        self._metrics[_hash_key(key)].attributes[name] = value

    def add_counter(self, name: str, key: KeyT, value: int) -> None:
        """Count something about an object.

        Args:
            name: Name of the counter.
            key: Key of the object, or keys of the batch.
            value: Number to add to the counter.
        """
        self._metrics[_hash_key(key)].counters[name] += value

    def add_time(self, name: str, key: KeyT, time_ms: float) -> None:
        """Add the time of an operation on an object.

        Args:
            name: Name of the operation.
            key: Key of the object, or keys of the batch.
            time_ms: Milliseconds.
        """
        self._metrics[_hash_key(key)].times[name].add_time(time_ms)

    def aggregate_times(self) -> dict[str, TimeStats]:
        """Combine the times of all objects.

        Returns:
            Times by the name of the operation.
        """
        total: dict[str, TimeStats] = defaultdict(TimeStats)
        for metrics in list(self._metrics.values()):
            for name, stats in list(metrics.times.items()):
                total[name] += stats
        return total

    def get_metrics(self, key_or_proxy: KeyT | ProxyT | Sequence[ProxyT]) -> Metrics | None:
        """Get the measurements of an object or a batch.

        Args:
            key_or_proxy: Key or proxy of the object, or keys or proxies of
                the batch.

        Returns:
            A copy of the measurements, or `None` if there are none.
        """
        key: Any = key_or_proxy
        if is_proxy(key):
            key = get_key(key)
        elif isinstance(key, list | tuple):
            items = cast('Sequence[Any]', key)
            if any(map(is_proxy, items)):
                key = tuple([get_key(item) if is_proxy(item) else item for item in items])
        found = self._metrics.get(_hash_key(key))
        return None if found is None else copy.deepcopy(found)


def _hash_key(key: Any) -> int:
    return hash((*key,) if isinstance(key, list) else key)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _mean(mean1: float, count1: int, mean2: float, count2: int) -> float:
    count = count1 + count2
    return (mean1 * count1 + mean2 * count2) / count if count else 0
