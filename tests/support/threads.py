"""Other threads that do something while this one waits."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def meanwhile(function: Callable[..., Any], *args: Any) -> Iterator[None]:
    """A context in which another thread calls a function once this one leaves the interpreter.

    That is when it begins to wait; at the latest when its turn is over, so the body must be right
    whenever the call comes.
    """
    begun = threading.Event()

    def call() -> None:
        begun.wait()
        function(*args)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        # This thread goes on, as it has the interpreter.
        begun.set()
        yield
    finally:
        thread.join()
