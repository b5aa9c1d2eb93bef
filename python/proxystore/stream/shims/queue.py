"""Streams over the queues of the standard library, between threads or processes of one host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import multiprocessing
    import queue
    from collections.abc import Mapping


class QueuePublisher:
    """Sends each topic's messages to a queue of its own.

    Args:
        queues: Queue of each topic.
        block: Whether to wait for room in a full queue.
        timeout: Seconds to wait for room; `None` waits for ever.
    """

    def __init__(
        self,
        queues: Mapping[str, multiprocessing.Queue[bytes] | queue.Queue[bytes]],
        *,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        self._queues = queues
        self._block = block
        self._timeout = timeout

    def close(self) -> None:
        """Close the queues that can be closed: those of `multiprocessing`."""
        for each in self._queues.values():
            close = getattr(each, 'close', None)
            if close is not None:
                close()

    def send_message(self, topic: str, message: bytes) -> None:
        """Put one message into the topic's queue.

        Args:
            topic: Topic, one of those that have a queue.
            message: Message to put.

        Raises:
            ValueError: If the topic has no queue, or its queue is closed.
            queue.Full: If the queue stays full for the timeout, or is full and `block` is `False`.
        """
        try:
            target = self._queues[topic]
        except KeyError:
            msg = f'Unknown topic "{topic}". There are queues for: {", ".join(self._queues)}.'
            raise ValueError(msg) from None
        target.put(message, block=self._block, timeout=self._timeout)


class QueueSubscriber:
    """Receives the messages of one queue.

    Args:
        queue: The queue.
        block: Whether to wait for a message if there is none.
        timeout: Seconds to wait for a message; `None` waits for ever.
    """

    def __init__(
        self,
        queue: multiprocessing.Queue[bytes] | queue.Queue[bytes],
        *,
        block: bool = True,
        timeout: float | None = None,
    ) -> None:
        self._queue = queue
        self._block = block
        self._timeout = timeout

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return self.next_message()

    def next_message(self) -> bytes:
        """Take the next message.

        Raises:
            StopIteration: If the queue has been closed.
            queue.Empty: If no message comes within the timeout, or `block` is `False` and there is
                none.
        """
        try:
            return self._queue.get(block=self._block, timeout=self._timeout)
        except ValueError:
            # A closed queue of `multiprocessing` says so in this way.
            raise StopIteration from None

    def close(self) -> None:
        """Do nothing: other subscribers may share the queue."""
