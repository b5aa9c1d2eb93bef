"""Background tasks whose failure must not pass unseen."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ['SafeTaskExitError', 'exit_on_error', 'spawn_guarded_background_task']

logger = logging.getLogger(__name__)


class SafeTaskExitError(Exception):
    """Raised in a guarded background task to end it without ending the process."""


def exit_on_error(task: asyncio.Task[Any]) -> None:
    """End the process if a task failed. Made to be a done-callback.

    Args:
        task: Task that is done. Nothing happens if it succeeded, was
            cancelled or raised `SafeTaskExitError`.

    Raises:
        SystemExit: With code 1, if the task failed in any other way.
    """
    if task.cancelled():
        return
    error = task.exception()
    if error is None or isinstance(error, SafeTaskExitError):
        return
    logger.error(
        'Exception in background task (name="%s"): %r',
        task.get_name(),
        error,
        exc_info=error,
    )
    sys.exit(1)


def spawn_guarded_background_task(
    coro: Callable[..., Coroutine[Any, Any, None]],
    *args: Any,
    **kwargs: Any,
) -> asyncio.Task[Any]:
    """Run a coroutine in the background and end the process if it fails.

    A background task that fails is otherwise only noticed when somebody
    awaits it, if ever.

    Args:
        coro: Coroutine function.
        args: Positional arguments of the coroutine function.
        kwargs: Keyword arguments of the coroutine function.

    Returns:
        The task. Keep it: the event loop holds tasks weakly.

    Raises:
        RuntimeError: If no event loop runs in this thread.
    """
    task = asyncio.create_task(coro(*args, **kwargs))
    task.add_done_callback(exit_on_error)
    return task
