"""Checks that a piece of code leaves nothing behind in this process."""

from __future__ import annotations

import contextlib
import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Threads and descriptors may be let go by another thread a moment after the call that ended them.
_PATIENCE = 30.0


@contextlib.contextmanager
def no_leaked_threads(patience: float = _PATIENCE) -> Iterator[None]:
    """Fails if threads started in the body, Python's or native ones, outlive it.

    Args:
        patience: Seconds that they have to end.
    """
    before = _threads()
    yield
    left = _wait_until_empty(lambda: _threads() - before, patience)
    assert not left, f'threads left running: {sorted(left)}'


@contextlib.contextmanager
def no_leaked_descriptors(patience: float = _PATIENCE) -> Iterator[None]:
    """Fails if file descriptors opened in the body stay open after it.

    Args:
        patience: Seconds that they have to be closed.
    """
    before = descriptors()
    yield
    left = _wait_until_empty(
        lambda: {f'{n}: {to}' for n, to in descriptors().items() - before.items()},
        patience,
    )
    assert not left, f'descriptors left open: {sorted(left)}'


def descriptors() -> dict[int, str]:
    """The open descriptors of this process, and what each leads to."""
    found = {}
    for entry in Path('/proc/self/fd').iterdir():
        # The descriptor of the listing itself is gone by now.
        with contextlib.suppress(FileNotFoundError):
            found[int(entry.name)] = str(entry.readlink())
    return found


def _threads() -> set[str]:
    return {entry.name for entry in Path('/proc/self/task').iterdir()}


def _wait_until_empty(leftovers: Callable[[], set[str]], patience: float) -> set[str]:
    gc.collect()
    left = leftovers()
    tick = threading.Event()
    waited = 0.0
    while left and waited < patience:
        tick.wait(0.01)
        waited += 0.01
        left = leftovers()
    return left
