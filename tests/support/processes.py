"""Children of this process by every start method, with a hard time limit."""

from __future__ import annotations

import multiprocessing
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

START_METHODS = ('fork', 'spawn', 'forkserver')


class ChildError(Exception):
    """The function raised, or the child died; the text says what is known."""


def run_in_child(
    method: str, function: Callable[..., Any], *args: Any, timeout: float = 120
) -> Any:
    """Calls a function in a child process and returns its (picklable) result.

    Args:
        method: 'fork', 'spawn' or 'forkserver'.
        function: For all but fork, one that can be imported by name.
        args: Its arguments.
        timeout: Seconds after which the child is killed.

    Raises:
        ChildError: If the function raised, the child died, or time ran out.
    """
    context = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(sender, function, args))
    child.start()
    sender.close()
    try:
        if not receiver.poll(timeout):
            msg = f'no answer within {timeout} s'
            raise ChildError(msg)
        succeeded, result = receiver.recv()
    except EOFError:
        child.join(timeout)
        msg = f'died with exit code {child.exitcode}'
        raise ChildError(msg) from None
    finally:
        receiver.close()
        child.join(timeout if child.exitcode is None else 0)
        if child.is_alive():
            child.kill()
            child.join()
    if not succeeded:
        raise ChildError(result)
    if child.exitcode != 0:
        msg = f'answered, then ended with exit code {child.exitcode}'
        raise ChildError(msg)
    child.close()
    return result


def _call(sender: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        answer = (True, function(*args))
    except BaseException:
        answer = (False, traceback.format_exc())
    sender.send(answer)
    sender.close()
