"""Objects that are got before they are needed, in one of three ways.

A native connector gets them on the runtime of the native core, and nobody waits meanwhile; a
thread gets those of other connectors; a task of a loop gets those that are not there yet.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from proxystore.utils._threads import Call, Pool

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from proxystore.connectors.native import Fetch

__all__ = ['FetchPrefetch', 'Prefetch', 'TaskPrefetch', 'ThreadPrefetch']

T = TypeVar('T')

_pool = Pool('proxystore-prefetch')

#: Seconds after which a thread that waits for a task looks whether its loop was closed.
_LOOK_AFTER_LOOP = 0.5


class Prefetch(Generic[T]):
    """Object that this process is getting, or has got.

    Tasks that wait for it share it. If all of them are cancelled before it
    is there, so is what gets it, unless somebody asked for it beside them.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._wanted = False

    @property
    def lost(self) -> bool:
        """Whether nobody in this process will get the object."""
        raise NotImplementedError

    @property
    def waits_for_this_thread(self) -> bool:
        """Whether the object cannot come while this thread waits for it."""
        return False

    def cancel(self) -> None:
        """Give up."""
        raise NotImplementedError

    def result(self) -> T:
        """Wait for the object.

        Raises:
            Exception: What went wrong.
        """
        raise NotImplementedError

    def keep(self) -> None:
        """Go on even if all tasks that wait for the object are cancelled."""
        self._wanted = True

    async def wait(self) -> None:
        """Wait until the object is there, or is known not to come."""
        self._waiting += 1
        try:
            await self._end()
        finally:
            self._waiting -= 1
            if not (self._waiting or self._wanted or self._has_ended()):
                self.cancel()

    def _end(self) -> asyncio.Future[None]:
        raise NotImplementedError

    def _has_ended(self) -> bool:
        raise NotImplementedError


class FetchPrefetch(Prefetch[T]):
    """Object whose bytes the native core gets.

    Args:
        fetch: What is under way.
        finish: Makes the object of its result. It is called by whoever asks
            for the object first.
    """

    def __init__(self, fetch: Fetch, finish: Callable[[Fetch], T]) -> None:
        super().__init__()
        self._fetch = fetch
        self._finish = finish
        self._outcome: Call[T] | None = None
        self._cancelled = False
        self._lock = threading.Lock()
        self._making: Call[T] | None = None

    @property
    def lost(self) -> bool:
        """Whether it was given up, or a parent of this process is getting it."""
        return self._cancelled or (self._outcome is None and self._fetch.lost)

    @property
    def waits_for_this_thread(self) -> bool:
        """Whether this thread is making the object, and touched its proxy meanwhile."""
        making = self._making
        return making is not None and making.runs_here

    def cancel(self) -> None:
        """Give up: the request is cancelled."""
        self._cancelled = not self._fetch.done()
        self._fetch.cancel()

    def result(self) -> T:
        """Wait for the bytes, and make the object of them, once."""
        if self._outcome is None:
            with self._lock:
                if self._outcome is None:
                    self._making = Call()
                    self._making.run(self._receive)
                    self._outcome = self._making
        return self._outcome.result()

    def _receive(self) -> T:
        return self._finish(self._fetch)

    def _end(self) -> asyncio.Future[None]:
        return self._fetch.wait()

    def _has_ended(self) -> bool:
        return self._cancelled or self._fetch.done()


class _CallPrefetch(Prefetch[T]):
    """Object that a call returns."""

    def __init__(self, call: Call[T]) -> None:
        super().__init__()
        self._call = call

    @property
    def lost(self) -> bool:
        """Whether nobody in this process will make the call."""
        return self._call.lost

    @property
    def waits_for_this_thread(self) -> bool:
        """Whether this thread makes the call, and touched the object's proxy meanwhile."""
        return self._call.runs_here

    def cancel(self) -> None:
        """Give up, unless a thread has begun."""
        self._call.cancel()

    def result(self) -> T:
        """Wait for the call."""
        return self._call.result()

    def _end(self) -> asyncio.Future[None]:
        from proxystore.connectors import _asyncio

        return _asyncio.end(self._call)

    def _has_ended(self) -> bool:
        return self._call.done()


class ThreadPrefetch(_CallPrefetch[T]):
    """Object that a thread gets.

    Args:
        function: Gets it.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__(_pool.submit(function))


class TaskPrefetch(_CallPrefetch[T]):
    """Object that a task of the running loop gets.

    Args:
        coroutine: Gets it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        import asyncio

        super().__init__(Call())
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(coroutine)
        self._task.add_done_callback(self._take_over)

    @property
    def waits_for_this_thread(self) -> bool:
        """Whether the loop of the task runs in this thread."""
        import asyncio

        return not self._call.done() and asyncio._get_running_loop() is self._loop  # noqa: SLF001

    @property
    def lost(self) -> bool:
        """Whether the task was cancelled, or will never go on."""
        return super().lost or (self._loop.is_closed() and not self._call.done())

    def result(self) -> T:
        """Wait for the task."""
        while not self.lost:
            with contextlib.suppress(TimeoutError):
                return self._call.result(_LOOK_AFTER_LOOP)
        return self._call.result(0)

    def cancel(self) -> None:
        """Cancel the task."""
        self._call.cancel()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)

    def _take_over(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._call.cancel()
        else:
            self._call.run(task.result)
