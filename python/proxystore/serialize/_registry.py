"""Serializers of users' types, by the types' names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from proxystore.serialize import BytesLike

__all__ = [
    'Registration',
    'find',
    'find_by_name',
    'register',
    'registrations',
    'unregister',
    'version',
]

#: Turns an object of the type into one buffer or several.
TypeSerializer = Callable[[Any], 'BytesLike | Sequence[BytesLike]']
#: Turns one buffer, or a list of them, into the object again.
TypeDeserializer = Callable[[Any], Any]


class Registration(NamedTuple):
    """What is known of a type.

    Attributes:
        name: Module and qualified name of the type.
        serializer: Turns an object into buffers.
        deserializer: Turns the buffers into an object.
    """

    name: str
    serializer: TypeSerializer
    deserializer: TypeDeserializer


#: What is registered, by name. To be changed by these functions only.
registrations: dict[str, Registration] = {}
_lock = threading.Lock()
_version = 0


def register(registration: Registration) -> None:
    """Add a type.

    Args:
        registration: What is known of it.

    Raises:
        ValueError: If other functions are registered under its name.
    """
    global _version
    with _lock:
        if registrations.setdefault(registration.name, registration) != registration:
            msg = (
                f'Other functions are registered for {registration.name}: take them back first, '
                'with unregister_serializer().'
            )
            raise ValueError(msg)
        _version += 1


def unregister(name: str) -> None:
    """Remove a type.

    Args:
        name: Its name. Nothing happens if it is not registered.
    """
    global _version
    with _lock:
        registrations.pop(name, None)
        _version += 1


def version() -> int:
    """Return a number that changes whenever a type is added or removed."""
    return _version


def find(class_: type) -> Registration | None:
    """Find what is registered for a class.

    Args:
        class_: The class. What is registered for its bases does not count.
    """
    return (
        registrations.get(f'{class_.__module__}.{class_.__qualname__}') if registrations else None
    )


def find_by_name(name: str) -> Registration | None:
    """Find what is registered under a name.

    Args:
        name: Module and qualified name of a type.
    """
    return registrations.get(name)
