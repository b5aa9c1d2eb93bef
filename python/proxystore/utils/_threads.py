"""Threads that do what would keep their callers waiting.

A few daemon threads for each purpose serve the whole process. The exit of the interpreter waits
for them only briefly.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ['MAX_THREADS', 'Call', 'Pool']

T = TypeVar('T')

#: Most threads of a pool. They wait for a network or a disk, not for a processor.
MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)

# Seconds for which the exit of the interpreter waits for the operations under
# way, so that none is cut off inside native code.
_EXIT_PATIENCE = 1.0


class Call(Generic[T]):
    """Call that a thread of this process makes, or has made."""

    def __init__(self) -> None:
        self._future: Future[T] = Future()
        self._process = _generation
        self._thread: int | None = None

    @property
    def runs_here(self) -> bool:
        """Whether this very thread is making the call."""
        return self._thread == threading.get_ident()

    @property
    def lost(self) -> bool:
        """Whether no thread of this process will make the call.

        After a fork only the parent's threads make it; at exit none begins to.
        """
        forked = self._process is not _generation and not self._future.done()
        return forked or self._future.cancelled()

    def cancel(self) -> None:
        """Give up, unless a thread has begun."""
        self._future.cancel()

    def cancelled(self) -> bool:
        """Whether it was given up before a thread began."""
        return self._future.cancelled()

    def done(self) -> bool:
        """Whether the result is there, or the call has failed."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result.

        Args:
            timeout: Seconds to wait. `None` is for ever.

        Raises:
            TimeoutError: If it is not there in time.
            Exception: What the call raised.
        """
        return self._future.result(timeout)

    def exception(self) -> BaseException | None:
        """Wait for the end of the call, and return what it raised."""
        return self._future.exception()

    def add_done_callback(self, function: Callable[[Call[T]], object]) -> None:
        """Have a function called, with this call, when it has ended.

        Args:
            function: Called by the thread that made the call, or here and now
                if it has ended.
        """
        self._future.add_done_callback(lambda _: function(self))

    def run(self, function: Callable[[], T]) -> None:
        """Make the call in this thread, unless it was given up.

        Args:
            function: What to call.
        """
        if not self._future.set_running_or_notify_cancel():
            return
        self._thread = threading.get_ident()
        try:
            result = function()
        except BaseException as error:  # whoever waits raises it
            self._thread = None
            self._future.set_exception(error)
        else:
            self._thread = None
            self._future.set_result(result)


class Pool:
    """Threads, started as they are needed, and what they have to do.

    Args:
        name: Name of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begin()
        _pools.add(self)

    def submit(self, function: Callable[[], T]) -> Call[T]:
        """Let a thread do something.

        Args:
            function: What to do.

        Returns:
            Its result, when it is there.
        """
        call: Call[T] = Call()
        with self._changed:
            if not self._ended:
                self._work.append((call, function))
                if self._idle < len(self._work) and len(self._threads) < MAX_THREADS:
                    self._start_thread()
                self._changed.notify()
                return call
        # Too late for a thread.
        call.run(function)
        return call

    def end(self) -> None:
        """Let the threads end, and wait a little for what they are doing."""
        with self._changed:
            self._ended = True
            waiting = list(self._work)
            self._work.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        for call, _ in waiting:
            call.cancel()
        for thread in threads:
            thread.join(_EXIT_PATIENCE / len(threads))

    def begin_anew(self) -> None:
        """Forget what a forked child does not have: threads, and locks that they held."""
        self._begin()

    def _begin(self) -> None:
        self._work: deque[tuple[Call[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._ended = False

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._work or self._ended)
                self._idle -= 1
                if self._ended:
                    return
                call, function = self._work.popleft()
            call.run(function)
            # Not to keep the result alive until the next operation.
            del call, function


_generation = object()
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _begin_anew() -> None:
    global _generation
    _generation = object()
    for pool in _pools:
        pool.begin_anew()


def _end() -> None:
    for pool in _pools:
        pool.end()


os.register_at_fork(after_in_child=_begin_anew)
atexit.register(_end)
