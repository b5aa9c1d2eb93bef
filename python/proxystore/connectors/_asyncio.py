"""Futures of what connectors do while a loop of asyncio has other things to do.

Imported by whoever makes the first asynchronous call, and not before: programs
without a loop do not pay for asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from proxystore.connectors.native import cancel_operation
from proxystore.utils._threads import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxystore.utils._threads import Call

__all__ = ['Operation', 'at_once', 'call', 'end', 'failed', 'in_thread', 'ready', 'start', 'then']

T = TypeVar('T')

_pool = Pool('proxystore-connector')


class Operation(asyncio.Future[T]):
    """Future of an operation that the native core carries out.

    Cancelling it cancels the operation: a request is taken back, and an
    object whose key nobody will know is removed again.

    Attributes:
        step: What the outcome goes through before the future has it.
    """

    step: Callable[[Exception | None, Any], Any] | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the future and its operation.

        Args:
            msg: Message of the `CancelledError`.

        Returns:
            Whether it was not done yet.
        """
        cancelled = super().cancel(msg=msg)
        if cancelled:
            self._stop()
        return cancelled

    def _stop(self) -> None:
        cancel_operation(self)


class ThreadOperation(Operation[T]):
    """Future of an operation that a thread carries out.

    Cancelling it keeps the thread from beginning. One that has begun goes on,
    and what it gives is undone.
    """

    call: Call[T] | None = None
    #: What undoes the operation, given its value.
    undo: Callable[[T], object] | None = None

    def _stop(self) -> None:
        if self.call is not None:
            self.call.cancel()

    def deliver(self, call: Call[T]) -> None:
        """Take the outcome to the loop. Called by the thread.

        Args:
            call: The call, which has ended.
        """
        try:
            self.get_loop().call_soon_threadsafe(self.settle, call)
        except RuntimeError:
            # The loop is closed.
            self._take_back(call)

    def settle(self, call: Call[T]) -> None:
        """Give the future its outcome.

        Args:
            call: The call, which has ended.
        """
        self.call = None
        if self.done():
            if self.undo is not None:
                _pool.submit(partial(self._take_back, call))
            return
        error = call.exception()
        try:
            value: Any
            if self.step is None or (error is not None and not isinstance(error, Exception)):
                value = call.result()
            else:
                value = self.step(error, None if error is not None else call.result())
        except BaseException as raised:
            self.set_exception(_acceptable(raised))
            if not isinstance(raised, Exception):
                raise
        else:
            self.set_result(value)

    def _take_back(self, call: Call[T]) -> None:
        if self.undo is not None and not call.cancelled() and call.exception() is None:
            # There is nobody left to be told that it could not be undone.
            with contextlib.suppress(Exception):
                self.undo(call.result())


def ready(value: T) -> asyncio.Future[T]:
    """Return a future that is done.

    Args:
        value: Its result.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def failed(error: Exception) -> asyncio.Future[Any]:
    """Return a future that has failed.

    Args:
        error: What awaiting it raises; a `RuntimeError` if it is a
            `StopIteration`, which no future takes.
    """
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(_acceptable(error))
    return future


def at_once(function: Callable[..., T], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
    """Call a function that waits for nothing.

    Args:
        function: The function.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        A future that is done, with what the function returned or raised.
    """
    try:
        value = function(*args, **kwargs)
    except Exception as error:
        return failed(error)
    return ready(value)


def in_thread(
    function: Callable[..., T],
    *args: Any,
    undo: Callable[[T], object] | None = None,
    **kwargs: Any,
) -> asyncio.Future[T]:
    """Call a function in a thread.

    Args:
        function: The function. It runs in a copy of the caller's context.
        args: Its arguments.
        undo: What undoes the function, given what it returned, if nobody
            waits for that any more.
        kwargs: Its keyword arguments.

    Returns:
        A future of what it returns or raises.
    """
    future: ThreadOperation[T] = ThreadOperation(loop=asyncio.get_running_loop())
    future.undo = undo
    run = partial(copy_context().run, function, *args, **kwargs)
    call: Call[T] = _pool.submit(run)
    future.call = call
    call.add_done_callback(future.deliver)
    return future


def start(connector: Any, operation: str, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
    """Begin an operation of a connector.

    Args:
        connector: The connector. One without asynchronous methods does it in
            a thread.
        operation: Name of the asynchronous method: `aget`, for example.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        A future of what the method returns.
    """
    method = getattr(connector, operation, None)
    if method is not None:
        try:
            future: asyncio.Future[Any] = asyncio.ensure_future(method(*args, **kwargs))
        except Exception as error:
            return failed(error)
        return future
    return call(connector, operation[1:], *args, **kwargs)


def call(connector: Any, operation: str, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
    """Call a method of a connector in a thread.

    Args:
        connector: The connector.
        operation: Name of the method: `get`, for example.
        args: Its arguments.
        kwargs: Its keyword arguments.

    Returns:
        A future of what the method returns. What was put for nobody is
        evicted again.
    """
    undo = _undo(connector, operation)
    return in_thread(getattr(connector, operation), *args, undo=undo, **kwargs)


def end(call: Call[Any]) -> asyncio.Future[None]:
    """Wait for a call that some thread makes.

    Args:
        call: The call.

    Returns:
        A future that is done when the call has ended, in whatever way.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def tell(_: Call[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle)

    call.add_done_callback(tell)
    return future


def then(awaitable: Awaitable[Any], step: Callable[[Exception | None, Any], Any]) -> Any:
    """Let an outcome go through a further step.

    Args:
        awaitable: What gives the outcome. Nobody else may wait for it.
        step: Given the error or `None`, and the value or `None`, it returns or
            raises what shall become of it. It runs in the caller's context.

    Returns:
        A future of what the step returns.
    """
    if isinstance(awaitable, Operation) and not awaitable.done():
        run: Any = copy_context().run
        own = partial(run, step)
        first = awaitable.step
        awaitable.step = own if first is None else partial(_both, first, own)
        return awaitable
    if not asyncio.isfuture(awaitable) or not awaitable.done():
        return asyncio.ensure_future(_follow(awaitable, step))
    if awaitable.cancelled():
        return awaitable
    error = awaitable.exception()
    if error is not None and not isinstance(error, Exception):
        return awaitable
    return at_once(step, error, None if error is not None else awaitable.result())


def _acceptable(error: BaseException) -> BaseException:
    """Return an error as a future takes it."""
    if not isinstance(error, StopIteration):
        return error
    failure = RuntimeError('the operation raised StopIteration')
    failure.__cause__ = error
    return failure


async def _follow(awaitable: Awaitable[Any], step: Callable[[Exception | None, Any], Any]) -> Any:
    try:
        value = await awaitable
    except Exception as error:
        return step(error, None)
    return step(None, value)


def _both(
    first: Callable[[Exception | None, Any], Any],
    second: Callable[[Exception | None, Any], Any],
    error: Exception | None,
    value: Any,
) -> Any:
    try:
        value = first(error, value)
    except Exception as raised:
        return second(raised, None)
    return second(None, value)


def _undo(connector: Any, operation: str) -> Callable[[Any], object] | None:
    """Return what undoes an operation, if that has to be."""
    if operation == 'put':
        return cast('Callable[[Any], object]', connector.evict)
    if operation == 'put_batch':
        return lambda keys: [connector.evict(key) for key in keys]
    return None
