"""Streams over a Redis, Valkey or KeyDB server.

Messages are those of ProxyStore 1.1.0: publishers and subscribers of both can be mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from proxystore import _native
from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorUnavailableError,
)
from proxystore.stream.exceptions import SubscriberLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxystore.serialize import BytesLike

__all__ = ['RedisPublisher', 'RedisQueuePublisher', 'RedisQueueSubscriber', 'RedisSubscriber']


class RedisPublisher:
    """Publishes to all who have subscribed to a topic at that moment.

    Whoever subscribes later does not get what was published before; see
    [`RedisQueuePublisher`][proxystore.stream.shims.redis.RedisQueuePublisher] for messages that
    wait. Nothing is connected before the first message.

    Threads may share a publisher, and forked children may go on with it.

    Args:
        hostname: Name or address of the server.
        port: Port of the server.
        kwargs: Keyword arguments of `redis.Redis` as far as they mean something here; see
            `docs/streams.md`.

    Raises:
        TypeError: If a keyword argument is unknown.
        ConnectorConfigError: If an argument is ill-typed or cannot be honoured.
    """

    def __init__(self, hostname: str, port: int, **kwargs: Any) -> None:
        self._publisher = _native.RedisPublisher(_options(hostname, port, kwargs))

    def close(self) -> None:
        """Close the connection. Closing again does nothing."""
        self._publisher.close()

    def send_message(self, topic: str, message: BytesLike) -> None:
        """Publish a message, and wait until the server has it.

        Args:
            topic: Topic to publish to.
            message: The message.

        Raises:
            ConnectorClosedError: If the publisher is closed.
            ConnectorError: If the server cannot be reached or refuses.
        """
        self._publisher.publish(topic, message)


class RedisSubscriber:
    """Receives what is published to topics from now on.

    When this returns, the server has confirmed the subscription. Iterating yields the messages; it
    ends when the subscriber is closed.

    The server drops a subscriber that is slower than its publishers for long
    (`client-output-buffer-limit`), and messages are lost with any connection. This is told by
    `SubscriberLostError`, and never healed in silence.

    Args:
        hostname: Name or address of the server.
        port: Port of the server.
        topic: Topic or topics to subscribe to.
        kwargs: As those of `RedisPublisher`.

    Raises:
        TypeError: If a keyword argument is unknown.
        ValueError: If there is no topic.
        ConnectorConfigError: If an argument is ill-typed or cannot be honoured.
        ConnectorError: If the server cannot be reached or refuses.
    """

    def __init__(
        self,
        hostname: str,
        port: int,
        topic: str | Sequence[str],
        **kwargs: Any,
    ) -> None:
        topics = [topic] if isinstance(topic, str) else list(topic)
        if not topics:
            msg = 'A subscriber needs at least one topic.'
            raise ValueError(msg)
        self._subscriber = _native.RedisSubscriber(_options(hostname, port, kwargs), topics)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return self.next_message()

    def next_message(self) -> bytes:
        """Wait for the next message, for as long as it takes.

        Raises:
            StopIteration: If the subscriber is closed, by another thread meanwhile perhaps.
            SubscriberLostError: If the connection was lost, and with it perhaps messages. So it is
                from then on: what is published now needs another subscriber.
        """
        try:
            return self._subscriber.next()
        except ConnectorUnavailableError as error:
            raise SubscriberLostError(*error.args) from error
        except ConnectorClosedError:
            raise StopIteration from None

    def close(self) -> None:
        """Close the connection. Closing again does nothing."""
        self._subscriber.close()


class RedisQueuePublisher:
    """Appends to queues, which the server keeps as lists.

    Each message waits until one subscriber takes it. Nothing is connected before the first message.

    Threads may share a publisher, and forked children may go on with it.

    Args:
        hostname: Name or address of the server.
        port: Port of the server.
        kwargs: As those of `RedisPublisher`.

    Raises:
        TypeError: If a keyword argument is unknown.
        ConnectorConfigError: If an argument is ill-typed or cannot be honoured.
    """

    def __init__(self, hostname: str, port: int, **kwargs: Any) -> None:
        self._publisher = _native.RedisPublisher(_options(hostname, port, kwargs))

    def close(self) -> None:
        """Close the connection. Closing again does nothing."""
        self._publisher.close()

    def send_message(self, topic: str, message: BytesLike) -> None:
        """Append a message to the topic's queue.

        Args:
            topic: Topic, the server's key of the list.
            message: The message.

        Raises:
            ConnectorClosedError: If the publisher is closed.
            ConnectorError: If the server cannot be reached or refuses. A connection that was lost
                meanwhile leaves open whether the message is in the queue.
        """
        self._publisher.push(topic, message)


class RedisQueueSubscriber:
    """Takes messages from a queue.

    Several subscribers, here or elsewhere, may share a queue: each message goes to one of them.

    Args:
        hostname: Name or address of the server.
        port: Port of the server.
        topic: Topic, the server's key of the list.
        timeout: Seconds to wait for a message. `None` and 0 wait for ever.
        kwargs: As those of `RedisPublisher`.

    Raises:
        TypeError: If a keyword argument is unknown.
        ValueError: If `timeout` is negative.
        ConnectorConfigError: If an argument is ill-typed or cannot be honoured.
    """

    def __init__(
        self,
        hostname: str,
        port: int,
        topic: str,
        *,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        if timeout is not None and not timeout >= 0:
            msg = f'The timeout cannot be negative. Got {timeout}.'
            raise ValueError(msg)
        self._queue = _native.RedisQueue(_options(hostname, port, kwargs), topic)
        self._topic = topic
        self._timeout = timeout or None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return self.next_message()

    def next_message(self) -> bytes:
        """Take the next message.

        Raises:
            StopIteration: If the subscriber is closed, by another thread meanwhile perhaps.
            TimeoutError: If no message comes within the timeout.
            ConnectorUnavailableError: If the connection was lost. The next call makes another; a
                message that the server had taken out already may be lost.
        """
        try:
            message = self._queue.pop(self._timeout)
        except ConnectorClosedError:
            raise StopIteration from None
        if message is None:
            msg = f'Timeout waiting on Redis queue with key {self._topic}.'
            raise TimeoutError(msg)
        return message

    def close(self) -> None:
        """Close the connection. Closing again does nothing.

        Raises:
            ConnectorError: If a message that was already on its way cannot be put back.
        """
        self._queue.close()


#: What the arguments of `redis.Redis` are called here.
_NAMES = {
    'db': 'database',
    'username': 'username',
    'password': 'password',
    'unix_socket_path': 'path',
    'ssl': 'tls',
    'ssl_ca_certs': 'authority',
    'ssl_certfile': 'certificate',
    'ssl_keyfile': 'certificate_key',
    'socket_timeout': 'timeout',
}
#: Arguments that only have one value here.
_FIXED = {'decode_responses': False, 'ssl_cert_reqs': 'required', 'ssl_check_hostname': True}
#: Arguments about how redis-py goes about it, which change nothing that a stream could notice.
_WITHOUT_EFFECT = frozenset(
    {
        'auto_close_connection_pool',
        'client_name',
        'driver_info',
        'encoding',
        'encoding_errors',
        'health_check_interval',
        'lib_name',
        'lib_version',
        'max_connections',
        'protocol',
        'retry',
        'retry_on_error',
        'retry_on_timeout',
        'single_connection_client',
        'socket_connect_timeout',
        'socket_keepalive',
        'socket_keepalive_options',
        'socket_read_size',
    }
)


def _options(hostname: str, port: int, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Translate the arguments of redis-py's client."""
    known = _NAMES.keys() | _FIXED.keys() | _WITHOUT_EFFECT
    if unknown := kwargs.keys() - known:
        msg = (
            f'unexpected keyword argument {", ".join(map(repr, sorted(unknown)))}; '
            f'those that mean something are {", ".join(_NAMES)}'
        )
        raise TypeError(msg)
    for name, value in _FIXED.items():
        if kwargs.get(name, value) != value:
            msg = f'The argument {name} must be {value!r}, not {kwargs[name]!r}.'
            raise ConnectorConfigError(msg)
    options = {
        _NAMES[name]: value
        for name, value in kwargs.items()
        if name in _NAMES and value is not None
    }
    if 'path' not in options:
        options |= {'hostname': hostname, 'port': port}
    return options
