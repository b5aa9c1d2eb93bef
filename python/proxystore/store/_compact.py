r"""Pickles of factories, made from templates.

A proxy travels as its factory, and most of a factory's pickle is the
configuration of its store, which is the same for all proxies of the store.
Pickling and unpickling it each time takes longer than all the rest. So the
pickle of a factory is put together from a part that is made once per
configuration, the template, and the key:

```
'PK\n' | PROTO 5, StoreFactory | key | StoreConfig.model_validate(fields), call, STOP
                                       (the template)
```

This is an ordinary serialized object, `StoreFactory(key, config)`, which every
version reads with [`deserialize`][proxystore.serialize.deserialize]; and as
such it stands in the outer pickle. Here the template is recognized, and its
configuration taken from those that were read before.

Only plain configurations and keys are written like this. What may hold
functions or containers, which pickle differently in other picklers or change
under way, is left to the pickler.
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from typing import TYPE_CHECKING, Any, cast

from proxystore.serialize import register_reader
from proxystore.store.config import StoreConfig

if TYPE_CHECKING:
    from proxystore.store.factory import StoreFactory

__all__ = ['Template', 'compact', 'register']

_IDENTIFIER = b'PK\n'
_PROTO = pickle.PROTO + b'\x05'
# Fields that every version knows. Configurations with others are left to the
# pickler, whose format tells older versions what they can leave out.
_FIELDS = frozenset(
    {
        'auto_register',
        'cache_size',
        'connector',
        'deserializer',
        'metrics',
        'name',
        'populate_target',
        'serializer',
    }
)
_PLAIN = (str, int, float, bool, type(None))
# Strings longer than this have another opcode, and do not occur in practice.
_MAX_TEXT = 255
_MAX_KNOWN = 256

_TEXT = pickle.SHORT_BINUNICODE[0]
_ONE_FIELD_END = pickle.TUPLE1 + pickle.NEWOBJ
_TUPLES = {2: pickle.TUPLE2, 3: pickle.TUPLE3}

_new_tuple: Any = cast('Any', tuple).__new__
_new_object: Any = object.__new__


class Template:
    """End of the serialized factories of one configuration: all that comes after the key.

    Args:
        config: Configuration that is part of it.
        evict: Whether the factories evict their objects.

    Raises:
        ValueError: If the configuration is not plain.
    """

    __slots__ = ('_parts', 'data', 'evict')

    def __init__(self, config: StoreConfig, evict: bool) -> None:
        self.evict = evict
        # The dictionaries of the configuration, and what they held.
        self._parts = [
            (part, dict(part))
            for part in (config.__dict__, config.connector.__dict__, config.connector.options)
        ]
        self.data = _write_template(config, evict)

    def fits(self) -> bool:
        """Tell whether the configuration is still what it was when the template was made."""
        for part, before in self._parts:  # noqa: SIM110
            if part != before:
                return False
        return True


def compact(factory: StoreFactory[Any, Any]) -> bytes | None:
    """Serialize a factory by its template.

    Args:
        factory: A factory of exactly the class `StoreFactory`.

    Returns:
        Its bytes, or `None` if the configuration or the key is not plain.
    """
    if factory.deserializer is not None:
        return None
    key = _write_key(factory.key)
    if key is None:
        return None
    config = factory.store_config
    if type(config) is not StoreConfig:
        return None
    template = config.template
    if template is None or template.evict is not factory.evict or not template.fits():
        try:
            template = Template(config, factory.evict)
        except ValueError:
            return None
        config.template = template
    return _class.head + key + template.data


def register(class_: type[StoreFactory[Any, Any]]) -> None:
    """Name the class whose pickles are written and read compactly.

    Args:
        class_: `StoreFactory`, which knows this module, so that this module
            cannot know it before.
    """
    _class.class_ = class_
    _class.head = _IDENTIFIER + _PROTO + _global(class_.__module__, class_.__qualname__)
    register_reader(_class.head, _read)


class _Registered:
    """The class whose pickles are written and read here, and how they begin."""

    class_: type[StoreFactory[Any, Any]]
    head: bytes


_class = _Registered()


def _write_template(config: StoreConfig, evict: bool) -> bytes:
    fields = {
        name: value
        for name, value in config.__dict__.items()
        if (name in config.model_fields_set or value is not None)
        and not (name in config.added_fields and value is config.added_fields[name])
    }
    connector = config.connector
    if not _FIELDS.issuperset(fields) or set(connector.__dict__) != {'kind', 'options'}:
        msg = 'The configuration has fields that not every version knows.'
        raise ValueError(msg)
    defaults = type(config).model_fields
    plain = {
        name: value
        for name, value in fields.items()
        if name != 'connector' and value != defaults[name].default
    }
    parts = [
        _global('builtins', 'getattr'),
        _global(type(config).__module__, type(config).__qualname__),
        _text('model_validate'),
        pickle.TUPLE2,
        pickle.REDUCE,
        pickle.EMPTY_DICT,
        pickle.MARK,
        *_items(plain),
        _text('connector'),
        pickle.EMPTY_DICT,
        pickle.MARK,
        _text('kind'),
        _plain(connector.kind),
        _text('options'),
        pickle.EMPTY_DICT,
        pickle.MARK,
        *_items(connector.options),
        pickle.SETITEMS,
        pickle.SETITEMS,
        pickle.SETITEMS,
        pickle.TUPLE1,
        pickle.REDUCE,
        pickle.TUPLE2,
        pickle.REDUCE,
    ]
    if evict:
        parts += [
            pickle.EMPTY_DICT,
            _text('evict'),
            pickle.NEWTRUE,
            pickle.SETITEM,
            pickle.BUILD,
        ]
    return b''.join(parts) + pickle.STOP


def _items(fields: dict[str, Any]) -> list[bytes]:
    return [_plain(part) for item in fields.items() for part in item]


def _plain(value: Any) -> bytes:
    """Opcodes of a value.

    Raises:
        ValueError: If it is not plain.
    """
    if type(value) is str:
        return _text(value)
    if type(value) not in _PLAIN:
        msg = f'{type(value)} is not plain.'
        raise ValueError(msg)
    # Without the protocol before and the end behind.
    return pickle.dumps(value, 3)[2:-1]


def _text(text: str) -> bytes:
    """Opcode of a string.

    Raises:
        ValueError: If it is too long, or no UTF-8.
    """
    data = text.encode()
    if len(data) > _MAX_TEXT:
        msg = 'The text is too long.'
        raise ValueError(msg)
    return b'%b%c%b' % (pickle.SHORT_BINUNICODE, len(data), data)


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + pickle.STACK_GLOBAL


# What the pickle of a key begins with, by its class, and the other way round.
_key_heads: dict[type, bytes | None] = {}
_key_classes: dict[bytes, type] = {}


def _key_head(class_: type) -> bytes | None:
    """Return how pickles of a key of this class begin, if it is a plain named tuple."""
    named = getattr(sys.modules.get(class_.__module__), class_.__qualname__, None)
    if (
        named is not class_
        or not hasattr(class_, '_fields')
        or class_.__dictoffset__ != 0
        or class_.__reduce_ex__ is not object.__reduce_ex__
        or class_.__reduce__ is not object.__reduce__
        or class_ in copyreg.dispatch_table
    ):
        return None
    head = _global(class_.__module__, class_.__qualname__)
    _key_classes[head] = class_
    return head


def _write_key(key: Any) -> bytes | None:
    """Return the opcodes of a key, or `None` if it is no named tuple of strings."""
    class_: type[Any] = type(key)  # pyright: ignore[reportUnknownVariableType]
    try:
        head = _key_heads[class_]
    except KeyError:
        head = _key_heads[class_] = _key_head(class_)
    if head is None:
        return None
    try:
        if len(key) == 1:
            (text,) = key
            data = text.encode()
            # `%c` refuses what does not fit into one byte.
            return b'%b\x8c%c%b\x85\x81' % (head, len(data), data)
        fields = b''.join([_text(field) for field in key])
        return head + fields + _TUPLES[len(key)] + pickle.NEWOBJ
    except (AttributeError, KeyError, OverflowError, ValueError):
        return None


# Configurations read before, by their templates.
_known: dict[bytes, tuple[StoreConfig, Template]] = {}


def _read(data: bytes) -> Any:
    """Deserialize what begins like a factory."""
    start = len(_class.head)
    try:
        # Each string comes after its opcode and its length, and a class after its two names.
        name = start + data[start + 1] + 2
        field = name + data[name + 1] + 3
        text = field + 2
        end = text + data[field + 1]
    except IndexError:
        return _read_unknown(data)
    tail = end + len(_ONE_FIELD_END)
    class_ = _key_classes.get(data[start:field])
    known = _known.get(data[tail:])
    if class_ is None or known is None or data[field] != _TEXT or data[end:tail] != _ONE_FIELD_END:
        return _read_unknown(data)
    config, template = known
    if not template.fits():
        return _read_unknown(data)
    factory = _new_object(_class.class_)
    factory.key = _new_tuple(class_, (data[text:end].decode(),))
    factory.store_config = config
    factory.evict = template.evict
    factory.deserializer = None
    factory._obj_future = None  # noqa: SLF001
    return factory


def _read_unknown(data: bytes) -> Any:
    """Deserialize a factory, and remember its template if it is one."""
    factory = pickle.loads(data[len(_IDENTIFIER) :])
    if type(factory) is _class.class_:
        config = factory.store_config
        try:
            template = Template(config, factory.evict)
        except ValueError:
            return factory
        key = _write_key(factory.key)
        # Only if it is this very template, so that nothing that was pickled is lost.
        if key is not None and data == _class.head + key + template.data:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[template.data] = config, template
    return factory
