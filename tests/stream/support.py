"""A broker in memory that hands events over as they are, and stores to send through."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Self

from proxystore.connectors.local import LocalConnector

if TYPE_CHECKING:
    from proxystore.stream.events import Event, EventBatch


class Broker:
    """Both ends of an event broker. Attribute `down` makes publishing fail."""

    def __init__(self) -> None:
        self.batches: deque[EventBatch] = deque()
        self.closed = 0
        self.down: Exception | None = None

    def send_events(self, events: EventBatch) -> None:
        if self.down is not None:
            raise self.down
        self.batches.append(events)

    def next_events(self) -> EventBatch:
        if not self.batches:
            raise StopIteration
        return self.batches.popleft()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventBatch:
        return self.next_events()

    def close(self) -> None:
        self.closed += 1

    def drain(self) -> list[list[Event]]:
        """Takes out the events, batch by batch."""
        taken = [batch.events for batch in self.batches]
        self.batches.clear()
        return taken


class WatchedConnector(LocalConnector):
    """A connector that counts how often it is closed, over all instances."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1
        super().close()

    def config(self) -> dict[str, Any]:
        return {}
