"""Threads that get objects before they are needed.

A few daemon threads serve the whole process. The exit of the interpreter waits for them only
briefly.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['Prefetch', 'prefetch']

T = TypeVar('T')

# Operations wait for a network or a disk, not for a processor.
_MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)

# Seconds for which the exit of the interpreter waits for the operations under
# way, so that none is cut off inside native code.
_EXIT_PATIENCE = 1.0


class Prefetch(Generic[T]):
    """Result that a thread of this process gets, or has got."""

    def __init__(self) -> None:
        self._future: Future[T] = Future()
        self._process = _generation

    @property
    def lost(self) -> bool:
        """Whether no thread of this process will get the result.

        After a fork only the parent's threads get it; at exit none begins to.
        """
        forked = self._process is not _generation and not self._future.done()
        return forked or self._future.cancelled()

    def cancel(self) -> None:
        """Give up, before a thread has begun: the caller who needs the result gets it."""
        self._future.cancel()

    def done(self) -> bool:
        """Whether the result is there, or the operation has failed."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result.

        Args:
            timeout: Seconds to wait. `None` is for ever.

        Raises:
            TimeoutError: If it is not there in time.
            Exception: What the operation raised.
        """
        return self._future.result(timeout)

    def run(self, function: Callable[[], T]) -> None:
        """Get the result in this thread.

        Args:
            function: Operation whose result it is.
        """
        try:
            self._future.set_result(function())
        except BaseException as error:  # the thread that waits raises it
            self._future.set_exception(error)


class _Pool:
    """Threads, started as they are needed, and what they have to do."""

    def __init__(self) -> None:
        self._work: deque[tuple[Prefetch[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._ended = False

    def submit(self, function: Callable[[], T]) -> Prefetch[T]:
        prefetch: Prefetch[T] = Prefetch()
        with self._changed:
            if not self._ended:
                self._work.append((prefetch, function))
                if self._idle < len(self._work) and len(self._threads) < _MAX_THREADS:
                    self._start_thread()
                self._changed.notify()
                return prefetch
        # Too late for a thread.
        prefetch.run(function)
        return prefetch

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name='proxystore-prefetch', daemon=True)
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        """Let the threads end, and wait a little for what they are doing."""
        with self._changed:
            self._ended = True
            for waiting, _ in self._work:
                waiting.cancel()
            self._work.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(_EXIT_PATIENCE / len(threads))

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._work or self._ended)
                self._idle -= 1
                if self._ended:
                    return
                prefetch, function = self._work.popleft()
            prefetch.run(function)
            # Not to keep the result alive until the next operation.
            del prefetch, function


_generation = object()
_pool = _Pool()


def prefetch(function: Callable[[], T]) -> Prefetch[T]:
    """Let a thread of the pool do something.

    Args:
        function: What to do.

    Returns:
        Its result, when it is there.
    """
    return _pool.submit(function)


def _begin_anew() -> None:
    # The threads did not survive the fork, and the lock may be held by one of them.
    global _generation, _pool
    _generation = object()
    _pool = _Pool()


def _end() -> None:
    _pool.end()


os.register_at_fork(after_in_child=_begin_anew)
atexit.register(_end)
