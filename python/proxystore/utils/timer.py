"""Stopwatch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ['Timer']


class Timer:
    """Stopwatch over the performance counter of the system.

    ```python
    with Timer() as timer:
        ...
    timer.elapsed_ms
    ```
    """

    def __init__(self) -> None:
        self._start_ns = 0
        self._elapsed_ns = 0
        self._running = False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds between the last start and stop.

        Raises:
            RuntimeError: If the timer is running.
        """
        if self._running:
            msg = 'Timer is still running!'
            raise RuntimeError(msg)
        return self._elapsed_ns

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds between the last start and stop.

        Raises:
            RuntimeError: If the timer is running.
        """
        return self.elapsed_ns / 1e6

    @property
    def elapsed_s(self) -> float:
        """Seconds between the last start and stop.

        Raises:
            RuntimeError: If the timer is running.
        """
        return self.elapsed_ns / 1e9

    def start(self) -> Self:
        """Start, from zero."""
        self._running = True
        self._start_ns = time.perf_counter_ns()
        return self

    def stop(self) -> Self:
        """Stop. Without effect if the timer does not run."""
        if self._running:
            self._elapsed_ns = time.perf_counter_ns() - self._start_ns
            self._running = False
        return self
