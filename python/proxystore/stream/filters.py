"""Filters: callables that decide by an object's metadata whether to drop it from a stream."""

from __future__ import annotations

import random
from typing import Any


class NullFilter:
    """A filter that drops nothing."""

    def __call__(self, metadata: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return `False`."""
        return False


class SamplingFilter:
    """A filter that drops objects at random.

    Args:
        p: Probability, 0 to 1, that an object is dropped.

    Raises:
        ValueError: If `p` is not in [0, 1].
    """

    def __init__(self, p: float) -> None:
        if not 0 <= p <= 1:
            msg = f'Filter probability p must be in [0, 1]. Got p={p}.'
            raise ValueError(msg)
        self._p = p

    def __call__(self, metadata: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return `True` with probability `p`."""
        return random.random() < self._p
