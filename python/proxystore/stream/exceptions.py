"""Exceptions of streams."""

from __future__ import annotations

from proxystore.connectors.exceptions import ConnectorUnavailableError

__all__ = ['SubscriberLostError', 'TopicClosedError']


class SubscriberLostError(ConnectorUnavailableError):
    """The connection of a subscriber was lost, and with it perhaps messages.

    The subscriber stays lost. Make another, and make up for what it missed.
    """


class TopicClosedError(Exception):
    """An object was sent to a topic that this producer has closed."""
