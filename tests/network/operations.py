"""Operations of a connector that are under way while its network is cut, in a process within it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Outcome = tuple[str, str]

LARGE = 5_000_000

_running: dict[str, threading.Thread] = {}
_outcomes: dict[str, Outcome] = {}


def begin(connector: Any, keys: list[Any], put: int) -> list[str]:
    """Begins every operation of a connector, each in a thread, and returns what they are called.

    Args:
        connector: The connector.
        keys: A small object and a large one that are there.
        put: Bytes of the largest object to put.
    """
    small, large = keys
    operations: dict[str, Callable[[], Any]] = {
        'get': lambda: connector.get(small),
        'get of a large object': lambda: connector.get(large),
        'exists': lambda: connector.exists(small),
        'evict': lambda: connector.evict(small),
        'put': lambda: connector.put(b'x'),
        'put of a large object': lambda: connector.put(bytes(put)),
        'get_batch': lambda: connector.get_batch([small, large]),
        'put_batch': lambda: connector.put_batch([b'x', bytes(LARGE)]),
        'aget': lambda: _waited_for(connector.aget, small),
        'aput': lambda: _waited_for(connector.aput, bytes(LARGE)),
    }
    for name, operation in operations.items():
        start(name, operation)
    return list(operations)


def start(name: str, operation: Callable[[], Any]) -> None:
    """Begins an operation in a thread."""
    thread = threading.Thread(target=_run, args=(name, operation), daemon=True)
    _running[name] = thread
    thread.start()


def outcomes() -> dict[str, Outcome]:
    """What became of each operation: the class of its error, and the text."""
    for thread in _running.values():
        thread.join()
    ended = dict(_outcomes)
    _running.clear()
    _outcomes.clear()
    return ended


def _run(name: str, operation: Callable[[], Any]) -> None:
    try:
        _outcomes[name] = 'done', repr(operation())[:80]
    except Exception as e:
        _outcomes[name] = type(e).__name__, str(e)


def _waited_for(operation: Callable[..., Any], argument: Any) -> Any:
    async def wait() -> Any:
        return await operation(argument)

    return asyncio.run(wait())
