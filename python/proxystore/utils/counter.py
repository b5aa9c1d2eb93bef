"""Counter for several threads."""

from __future__ import annotations

import threading

__all__ = ['AtomicCounter']


class AtomicCounter:
    """Counter that never gives the same number to two threads.

    Args:
        size: Numbers that it can give. `None` is no limit.
    """

    def __init__(self, size: int | None = None) -> None:
        self._size = size
        self._value = 0
        self._lock = threading.Lock()

    def increment(self) -> int:
        """Count one further.

        Returns:
            The count before the call: 0 at the first.

        Raises:
            ValueError: If all `size` numbers have been given.
        """
        with self._lock:
            value = self._value
            if self._size is not None and value >= self._size:
                msg = f'Max counter size exceeded ({self._size}).'
                raise ValueError(msg)
            self._value = value + 1
        return value
