r"""Pickles of factories, made from templates.

A proxy travels as its factory, and most of a factory's pickle is the
configuration of its store, which is the same for all proxies of the store.
Pickling and unpickling it each time takes longer than all the rest. So the
pickle of a factory is put together from a template: the pickled state up to
the key, which is made once per configuration, and the pickled key.

```
'PK\n' | PROTO 5, StoreFactory, state up to 'key' | the key | SETITEMS, BUILD, STOP
         (the template)
```

This is an ordinary serialized object, which every version reads with
[`deserialize`][proxystore.serialize.deserialize]; and as such it stands in the
outer pickle. Here the template is recognized, and its configuration taken from
those that were read before.

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

if TYPE_CHECKING:
    from proxystore.store.config import ConnectorConfig, StoreConfig
    from proxystore.store.factory import StoreFactory

__all__ = ['Template', 'compact', 'serve']

_IDENTIFIER = b'PK\n'
_PLAIN = (str, int, float, bool, type(None))
# Strings longer than this have another opcode, and do not occur in practice.
_MAX_TEXT = 255
_MAX_KNOWN = 256

# Everything that the template's end and the key's begin are found by.
_KEY_FIELD = pickle.SHORT_BINUNICODE + b'\x03key'
_END = pickle.SETITEMS + pickle.BUILD + pickle.STOP
_ONE_FIELD_END = pickle.TUPLE1 + pickle.NEWOBJ + _END
_new: Any = cast('Any', tuple).__new__
_new_object: Any = object.__new__

# The one class whose pickles are written and read here.
_classes: list[type[StoreFactory[Any, Any]]] = []

_TUPLES = {1: pickle.TUPLE1, 2: pickle.TUPLE2, 3: pickle.TUPLE3}


class Template:
    """Serialized factory up to its key.

    Args:
        config: Configuration that is part of it.
        evict: Whether the factory evicts its object.

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
        return all(part == before for part, before in self._parts)


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
    template = config.template
    if template is None or template.evict is not factory.evict or not template.fits():
        try:
            template = Template(config, factory.evict)
        except ValueError:
            return None
        config.template = template
    return template.data + key + _END


class _Writer:
    """Writes the pickle of nested plain data, naming again what was named before."""

    def __init__(self) -> None:
        self.data = bytearray(pickle.PROTO + b'\x05')
        self._memo: dict[str, int] = {}

    def opcodes(self, *opcodes: bytes) -> None:
        for opcode in opcodes:
            self.data += opcode

    def text(self, text: str, again: bool = False) -> None:
        """Write a string, and remember it if it comes `again`."""
        known = self._memo.get(text)
        if known is not None:
            self.opcodes(pickle.BINGET, bytes([known]))
            return
        self.opcodes(_text(text))
        if again:
            self.opcodes(pickle.MEMOIZE)
            self._memo[text] = len(self._memo)

    def class_(self, class_: type) -> None:
        self.text(class_.__module__, again=True)
        self.text(class_.__qualname__)
        self.opcodes(pickle.STACK_GLOBAL)

    def plain(self, value: Any) -> None:
        if type(value) not in _PLAIN:
            msg = f'{type(value)} is not plain.'
            raise ValueError(msg)
        if isinstance(value, str):
            self.text(value)
        else:
            # Without the protocol before and the end behind.
            self.opcodes(pickle.dumps(value, 3)[2:-1])

    def config(self, config: StoreConfig | ConnectorConfig) -> None:
        self.class_(type(config))
        self.opcodes(pickle.EMPTY_TUPLE, pickle.NEWOBJ, pickle.EMPTY_DICT, pickle.MARK)
        self.text('__dict__', again=True)
        self.fields(config)
        self.text('__pydantic_extra__', again=True)
        self.opcodes(pickle.NONE)
        self.text('__pydantic_fields_set__', again=True)
        self.opcodes(pickle.EMPTY_SET, pickle.MARK)
        for name in sorted(config.model_fields_set):
            self.text(name)
        self.opcodes(pickle.ADDITEMS)
        self.text('__pydantic_private__', again=True)
        self.opcodes(pickle.NONE, pickle.SETITEMS, pickle.BUILD)

    def fields(self, config: StoreConfig | ConnectorConfig) -> None:
        self.opcodes(pickle.EMPTY_DICT, pickle.MARK)
        for name, value in config.__dict__.items():
            self.text(name, again=name in config.model_fields_set or name == 'deserializer')
            if name == 'connector':
                self.config(value)
            elif name == 'options':
                self.options(value)
            else:
                self.plain(value)
        self.opcodes(pickle.SETITEMS)

    def options(self, options: dict[str, Any]) -> None:
        self.opcodes(pickle.EMPTY_DICT)
        if options:
            self.opcodes(pickle.MARK)
            for name, value in options.items():
                self.plain(name)
                self.plain(value)
            self.opcodes(pickle.SETITEMS)


def _write_template(config: StoreConfig, evict: bool) -> bytes:
    writer = _Writer()
    writer.class_(_classes[0])
    writer.opcodes(pickle.EMPTY_TUPLE, pickle.NEWOBJ, pickle.EMPTY_DICT, pickle.MARK)
    writer.text('store_config')
    writer.config(config)
    writer.text('evict')
    writer.plain(evict)
    writer.text('deserializer')
    writer.opcodes(pickle.NONE)
    writer.text('_obj_future')
    writer.opcodes(pickle.NONE)
    return _IDENTIFIER + bytes(writer.data) + _KEY_FIELD


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


# What the pickle of a key begins with, by its class.
_key_heads: dict[type, bytes | None] = {}


def _key_head(class_: type) -> bytes | None:
    """What the pickle of a key of this class begins with, if the class is a plain named tuple."""
    named = getattr(sys.modules.get(class_.__module__), class_.__qualname__, None)
    if (
        named is not class_
        or not hasattr(class_, '_fields')
        or class_.__dictoffset__ != 0
        or class_.__reduce_ex__ is not object.__reduce_ex__
        or class_.__reduce__ is not object.__reduce__
        or class_.__getstate__ is not object.__getstate__
        or class_ in copyreg.dispatch_table
    ):
        return None
    return _text(class_.__module__) + _text(class_.__qualname__) + pickle.STACK_GLOBAL


def _write_key(key: Any) -> bytes | None:
    """Opcodes of a key, or `None` if it is no named tuple of strings."""
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


class _Known:
    """What a template was read as: its configuration, and the class of the keys behind it."""

    __slots__ = ('class_', 'config', 'head', 'start', 'template')

    def __init__(self, template: Template, config: StoreConfig, key: Any) -> None:
        self.template = template
        self.config = config
        self.class_: Any = type(key)
        # What comes before the only field of a key of this class, but its length.
        self.head = _key_head(self.class_) or b''
        self.start = len(self.head) + 2


_known: dict[bytes, _Known] = {}


def _read(data: bytes) -> Any:
    """Deserialize what begins like a factory."""
    head, _, tail = data.rpartition(_KEY_FIELD)
    known = _known.get(head)
    if known is None or not known.template.fits():
        factory = pickle.loads(data[len(_IDENTIFIER) :])
        if type(factory) is _classes[0] and tail.endswith(_END):
            _remember(head, factory)
        return factory
    start = known.start
    if (
        tail.startswith(known.head)
        and tail.endswith(_ONE_FIELD_END)
        and start + tail[start - 1] + len(_ONE_FIELD_END) == len(tail)
    ):
        key = _new(known.class_, (tail[start : -len(_ONE_FIELD_END)].decode(),))
    else:
        key = pickle.loads(pickle.PROTO + b'\x05' + tail[: -len(_END)] + pickle.STOP)
    factory = _new_object(_classes[0])
    factory.key = key
    factory.store_config = known.config
    factory.evict = known.template.evict
    factory.deserializer = None
    factory._obj_future = None  # noqa: SLF001
    return factory


def _remember(head: bytes, factory: StoreFactory[Any, Any]) -> None:
    try:
        template = Template(factory.store_config, factory.evict)
    except ValueError:
        return
    # Only if it is this very template, so that nothing that was pickled is lost.
    if template.data == head + _KEY_FIELD and _write_key(factory.key) is not None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[head] = _Known(template, factory.store_config, factory.key)


def serve(class_: type[StoreFactory[Any, Any]]) -> None:
    """Write and read compact pickles of a class.

    Args:
        class_: `StoreFactory`, which knows this module, so that this module
            cannot know it before.
    """
    _classes.append(class_)
    register_reader(
        _IDENTIFIER
        + pickle.PROTO
        + b'\x05'
        + _text(class_.__module__)
        + pickle.MEMOIZE
        + _text(class_.__qualname__)
        + pickle.STACK_GLOBAL,
        _read,
    )
