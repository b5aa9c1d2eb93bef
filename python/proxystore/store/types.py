"""Types of what stores handle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from proxystore.connectors.protocols import Connector
from proxystore.serialize import BytesLike

__all__ = [
    'BytesLike',
    'Connector',
    'ConnectorKeyT',
    'ConnectorT',
    'DeserializerT',
    'SerializerT',
]

#: Key of an object in a connector.
ConnectorKeyT = tuple[Any, ...]
ConnectorT = TypeVar('ConnectorT', bound=Connector[Any])
#: Function that turns an object into bytes.
SerializerT = Callable[[Any], BytesLike]
#: Function that turns bytes into an object.
DeserializerT = Callable[[BytesLike], Any]
