"""Which of several connectors an object goes to."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator

from typing_extensions import TypedDict

from proxystore.utils.environment import hostname

__all__ = ['Policy', 'PolicyDict']


class PolicyDict(TypedDict):
    """A [`Policy`][proxystore.connectors.multi.Policy] as a dictionary."""

    priority: int
    host_pattern: list[str] | str | None
    min_size_bytes: int
    max_size_bytes: int
    subset_tags: list[str]
    superset_tags: list[str]


@dataclasses.dataclass
class Policy:
    """Which objects a connector accepts.

    Attributes:
        priority: Of several connectors that take an object, the one with the
            highest priority gets it; of those, the one named first.
        host_pattern: Regular expressions, of which one must match the whole
            name of a host where the connector can be used. `None` is any
            host.
        min_size_bytes: Size of the smallest object, in bytes.
        max_size_bytes: Size of the largest object, in bytes.
        subset_tags: Tags that must include all tags which `put()` is given
            as `subset_tags`.
        superset_tags: Tags that must all be among those which `put()` is
            given as `superset_tags`.
    """

    priority: int = 0
    host_pattern: Iterable[str] | str | None = None
    min_size_bytes: int = 0
    max_size_bytes: int = sys.maxsize
    subset_tags: list[str] = dataclasses.field(default_factory=list[str])
    superset_tags: list[str] = dataclasses.field(default_factory=list[str])

    def __post_init__(self) -> None:
        if isinstance(self.host_pattern, Iterator):
            # To be read more than once.
            self.host_pattern = list(self.host_pattern)

    def as_dict(self) -> PolicyDict:
        """Return the policy as a dictionary from which `Policy(**policy)` makes it again."""
        pattern = self.host_pattern
        return PolicyDict(
            priority=self.priority,
            host_pattern=pattern if pattern is None or isinstance(pattern, str) else list(pattern),
            min_size_bytes=self.min_size_bytes,
            max_size_bytes=self.max_size_bytes,
            subset_tags=self.subset_tags,
            superset_tags=self.superset_tags,
        )

    def is_valid(
        self,
        *,
        size_bytes: int | None = None,
        subset_tags: Iterable[str] | None = None,
        superset_tags: Iterable[str] | None = None,
    ) -> bool:
        """Tell whether the connector takes an object.

        Args:
            size_bytes: Bytes of the object. `None` is not compared.
            subset_tags: Tags to be a subset of the policy's. `None` is not
                compared.
            superset_tags: Tags to be a superset of the policy's. `None` is
                not compared.
        """
        if size_bytes is not None and not (
            self.min_size_bytes <= size_bytes <= self.max_size_bytes
        ):
            return False
        if subset_tags is not None and not set(subset_tags) <= set(self.subset_tags):
            return False
        return superset_tags is None or set(superset_tags) >= set(self.superset_tags)

    def is_valid_on_host(self) -> bool:
        """Tell whether the connector can be used on this host.

        Raises:
            re.error: If a pattern is no regular expression.
        """
        if self.host_pattern is None:
            return True
        patterns = [self.host_pattern] if isinstance(self.host_pattern, str) else self.host_pattern
        host = hostname()
        return any(re.fullmatch(pattern, host) for pattern in patterns)


# Pickles, and configurations that name classes, know both by where ProxyStore 1.1.0 has them.
Policy.__module__ = PolicyDict.__module__ = 'proxystore.connectors.multi'
