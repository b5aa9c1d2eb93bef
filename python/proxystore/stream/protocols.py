"""What a producer and a consumer expect of the shim of a message broker, and of a filter.

A shim moves either messages (bytes, which the stream makes of its events) or the events themselves;
the second suits brokers that carry Python objects or have a wire format of their own.
"""

from __future__ import annotations

from typing import Any, Protocol, Self, Union, runtime_checkable

from proxystore.stream.events import EventBatch  # noqa: TC001 for typing.get_type_hints


@runtime_checkable
class EventPublisher(Protocol):
    """The sending side of a broker that takes events."""

    def close(self) -> None:
        """Release the connection to the broker. Consumers are not told."""
        ...

    def send_events(self, events: EventBatch) -> None:
        """Publish events, in order, to the topic that the batch names.

        Args:
            events: Events of one topic.
        """
        ...


@runtime_checkable
class EventSubscriber(Protocol):
    """The receiving side of a broker that gives events."""

    def __iter__(self) -> Self:
        """Return itself."""
        ...

    def __next__(self) -> EventBatch:
        """Wait for the next events, as `next_events` does."""
        ...

    def close(self) -> None:
        """Release the connection to the broker."""
        ...

    def next_events(self) -> EventBatch:
        """Wait for the next events.

        Raises:
            StopIteration: If there will be no more.
        """
        ...


@runtime_checkable
class MessagePublisher(Protocol):
    """The sending side of a broker that takes bytes."""

    def close(self) -> None:
        """Release the connection to the broker. Consumers are not told."""
        ...

    def send_message(self, topic: str, message: bytes) -> None:
        """Publish one message to a topic.

        Args:
            topic: Topic to publish to.
            message: Serialized events.
        """
        ...


@runtime_checkable
class MessageSubscriber(Protocol):
    """The receiving side of a broker that gives bytes."""

    def __iter__(self) -> Self:
        """Return itself."""
        ...

    def __next__(self) -> bytes:
        """Wait for the next message, as `next_message` does."""
        ...

    def close(self) -> None:
        """Release the connection to the broker."""
        ...

    def next_message(self) -> bytes:
        """Wait for the next message.

        Raises:
            StopIteration: If there will be no more.
        """
        ...


class Filter(Protocol):
    """Decides by its metadata whether an object is dropped from a stream."""

    def __call__(self, metadata: dict[str, Any]) -> bool:
        """Tell whether to drop the object.

        Args:
            metadata: What the producer sent along with the object.
        """
        ...


# Names in quotes cannot be joined by `|` at run time, and the aliases exist at run time.
Publisher = Union['EventPublisher', 'MessagePublisher']
"""Either kind of sending side."""

Subscriber = Union['EventSubscriber', 'MessageSubscriber']
"""Either kind of receiving side."""
