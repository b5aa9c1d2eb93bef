"""The events of a stream, and their form on the wire.

On the wire an event is a serialized dictionary of its fields plus `event_type`.
"""

from __future__ import annotations

import dataclasses
import operator
import warnings
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from proxystore.serialize import SerializationError, deserialize, serialize
from proxystore.store.config import StoreConfig  # noqa: TC001 for typing.get_type_hints
from proxystore.utils.imports import get_object_path, import_from_path
from proxystore.warnings import NewerFormatWarning

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar('T')
BatchT = TypeVar('BatchT', bound='EventBatch')


@dataclasses.dataclass
class EndOfStreamEvent:
    """No more events will follow in this topic.

    Attributes:
        topic: Topic that ended.
    """

    topic: str

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the event from its fields."""
        return _from_fields(cls, data)


@dataclasses.dataclass
class NewObjectEvent:
    """A new object, which the event itself carries.

    Attributes:
        topic: Topic that the object was sent to.
        obj: The object.
        metadata: What the producer said about it.
    """

    topic: str
    obj: Any
    metadata: dict[str, Any]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the event from its fields."""
        return _from_fields(cls, data)


@dataclasses.dataclass
class NewObjectKeyEvent:
    """A new object, which lies in a store.

    Attributes:
        topic: Topic that the object was sent to.
        key_type: Import path of the class of the object's key.
        raw_key: Fields of the key.
        evict: Whether the object is evicted once it is resolved.
        metadata: What the producer said about the object.
        store_config: Configuration of the store.
    """

    topic: str
    key_type: str
    raw_key: list[Any]
    evict: bool
    metadata: dict[str, Any]
    store_config: StoreConfig

    @classmethod
    def from_key(
        cls,
        key: tuple[Any, ...],
        *,
        evict: bool,
        metadata: dict[str, Any],
        store_config: StoreConfig,
        topic: str,
    ) -> Self:
        """Make the event from a connector's key.

        Args:
            key: Key of the object, a named tuple.
            evict: Whether the object is evicted once it is resolved.
            metadata: What there is to say about the object.
            store_config: Configuration of the store that holds the object.
            topic: Topic that the object is sent to.
        """
        return cls(
            topic=topic,
            key_type=get_object_path(type(key)),
            raw_key=list(key),
            evict=evict,
            metadata=metadata,
            store_config=store_config,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the event from its fields."""
        return _from_fields(cls, data)

    def get_key(self) -> Any:
        """Return the object's key as the connector made it.

        Raises:
            ImportError: If the class of the key cannot be imported.
        """
        return import_from_path(self.key_type)(*self.raw_key)


Event = EndOfStreamEvent | NewObjectEvent | NewObjectKeyEvent
"""Any single event."""


@dataclasses.dataclass
class EventBatch:
    """Events of one topic that are published together.

    Attributes:
        topic: Topic of all of them.
        events: The events, in order.
    """

    topic: str
    events: list[Event]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the batch from its fields, `events` being a list of dictionaries."""
        return _with_events(_from_fields(cls, data))


_TYPES: dict[str, type[Event | EventBatch]] = {
    'END_OF_STREAM': EndOfStreamEvent,
    'NEW_OBJECT': NewObjectEvent,
    'NEW_OBJECT_KEY': NewObjectKeyEvent,
    'EVENT_BATCH': EventBatch,
}
_NAMES = {type_: name for name, type_ in _TYPES.items()}
_FIELDS = {type_: tuple(field.name for field in dataclasses.fields(type_)) for type_ in _NAMES}


def _together(
    getter: Callable[..., Callable[[Any], Any]], names: tuple[str, ...]
) -> Callable[[Any], tuple[Any, ...]]:
    """Make a function that gets what `getter` makes a function for, of all names at once."""
    get = getter(*names)
    # Of a single name, getters of the operator module do not make a tuple.
    return get if len(names) > 1 else lambda obj: (get(obj),)


_ATTRIBUTES = {type_: _together(operator.attrgetter, names) for type_, names in _FIELDS.items()}
_ITEMS = {type_: _together(operator.itemgetter, names) for type_, names in _FIELDS.items()}


def event_to_dict(event: Event | EventBatch) -> dict[str, Any]:
    """Return the fields of an event as a dictionary.

    Args:
        event: Event or batch of events.

    Returns:
        The fields, and the name of the event's type as `event_type`. Objects and metadata are
        referred to, not copied.

    Raises:
        TypeError: If `event` is not an event.
    """
    try:
        name = _NAMES[type(event)]
    except KeyError:
        msg = f'Expected a stream event, got {type(event).__name__}.'
        raise TypeError(msg) from None
    kind = type(event)
    data: dict[str, Any] = dict(zip(_FIELDS[kind], _ATTRIBUTES[kind](event), strict=True))
    if kind is EventBatch:
        data['events'] = [event_to_dict(single) for single in data['events']]
    data['event_type'] = name
    return data


def dict_to_event(data: dict[str, Any]) -> Event | EventBatch:
    """Make an event from the dictionary that `event_to_dict` returned.

    Args:
        data: Fields of the event. Those that this version does not know are ignored, with a
            warning.

    Raises:
        ValueError: If the type of the event is missing or unknown, or a field is missing.
    """
    name = data.get('event_type')
    if not isinstance(name, str) or name not in _TYPES:
        msg = f'Unknown type of stream event {name!r}; known are {", ".join(_TYPES)}.'
        raise ValueError(msg)
    kind = _TYPES[name]
    if len(data) == len(_FIELDS[kind]) + 1:
        # Exactly the known fields, as a rule: reading them at once takes a third of the time.
        try:
            event = kind(*_ITEMS[kind](data))
        except KeyError:
            pass
        else:
            return _with_events(event) if isinstance(event, EventBatch) else event
    return kind.from_dict({key: value for key, value in data.items() if key != 'event_type'})


def event_to_bytes(event: Event | EventBatch) -> bytes:
    """Serialize an event.

    Args:
        event: Event or batch of events.

    Raises:
        SerializationError: If the object or the metadata that it carries cannot be serialized.
        TypeError: If `event` is not an event.
    """
    try:
        return serialize(event_to_dict(event))
    except SerializationError as error:
        cause = error.__cause__ or error
        msg = f'An event of the topic "{event.topic}" cannot be serialized: {cause}'
        raise SerializationError(msg) from cause


def bytes_to_event(s: bytes) -> Event | EventBatch:
    """Deserialize an event.

    Args:
        s: What `event_to_bytes` returned.

    Raises:
        SerializationError: If the bytes are not a serialized event.
        ValueError: If they are, but of an unknown type or with a field missing.
    """
    data = deserialize(s)
    if not isinstance(data, dict):
        msg = f'Expected a serialized stream event, got a serialized {type(data).__name__}.'
        raise SerializationError(msg)
    return dict_to_event(cast('dict[str, Any]', data))


def _with_events(batch: BatchT) -> BatchT:
    """Turn the dictionaries of a batch into its events."""
    fields = cast('list[dict[str, Any]]', batch.events)
    batch.events = [cast('Event', dict_to_event(event)) for event in fields]
    return batch


def _from_fields(cls: type[T], data: dict[str, Any]) -> T:
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if missing := known - data.keys():
        msg = f'{cls.__name__} lacks the field {", ".join(sorted(missing))}.'
        raise ValueError(msg)
    if unknown := data.keys() - known:
        warnings.warn(
            f'{cls.__name__} has fields that this version of proxystore does not know and '
            f'ignores: {", ".join(sorted(unknown))}.',
            NewerFormatWarning,
            stacklevel=3,
        )
    return cls(**{name: data[name] for name in known})
