"""What every connector of the native data plane has in common.

The one module of this package that imports the extension. A connector adds
its constructor and the class of its keys, and nothing that moves bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from proxystore._native import Connector as CoreConnector
from proxystore._native import (
    Fetch,
    cancel_operation,
    collect_garbage,
    conformance_cases,
    report,
    run_conformance_case,
)
from proxystore.connectors._awaitable import (
    AwaitableDeferrableOperations,
    AwaitableOperations,
    override_together,
)
from proxystore.utils._secrets import guard_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from proxystore.serialize import BytesLike

__all__ = [
    'CoreConnector',
    'Fetch',
    'NativeConnector',
    'NativeDeferrableConnector',
    'cancel_operation',
    'collect_garbage',
    'conformance_cases',
    'report',
    'run_conformance_case',
]

KeyT = TypeVar('KeyT', bound=tuple[Any, ...])


class NativeConnector(AwaitableOperations[KeyT], Generic[KeyT]):
    """Base of the connectors whose operations run in the native core.

    A subclass sets `kind` and `key_type` and passes its options to this
    constructor. Every operation releases the interpreter while it runs.

    Each has an asynchronous twin, whose name begins with an `a`. A subclass
    that overrides an operation alone gets a twin that calls it in a thread.

    Args:
        options: The connector's options, by name.

    Raises:
        ConnectorConfigError: If an option is unknown, missing or ill-typed.
        ConnectorError: If the connector cannot be opened.
    """

    #: Name of the connector in the table of the native core.
    kind: ClassVar[str]
    #: Names of the options that may be secrets.
    secrets: ClassVar[frozenset[str]] = frozenset()
    #: Named tuple that the connector's keys are.
    key_type: ClassVar[type[tuple[Any, ...]]]
    #: `put` and `set` take a list of buffers as well as a single one.
    accepts_buffers: ClassVar[bool] = True
    #: `get` takes `copy`.
    copies: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        override_together(cls)

    def __init__(self, **options: Any) -> None:
        self._native = CoreConnector(self.kind, options, self.key_type)

    def __repr__(self) -> str:
        options = ', '.join(f'{name}={value!r}' for name, value in self.config().items())
        return f'{type(self).__name__}({options})'

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self, clear: bool | None = None) -> None:
        """Close the connector. Closing again does nothing; any other use afterwards raises.

        Args:
            clear: Remove what the connector stored, overriding the option
                of that name. `None` leaves it to the option.

        Raises:
            ConnectorError: If what was stored cannot be removed.
        """
        self._native.close(clear)

    @property
    def needs_checksums(self) -> bool:
        """Whether objects leave the memory of this host, and no get verifies them."""
        return self._leaves_unverified('verifies')

    @property
    def needs_deferred_checksums(self) -> bool:
        """As `needs_checksums`, for objects whose keys `new_key` made."""
        return self._leaves_unverified('verifies_deferred')

    def _leaves_unverified(self, ability: str) -> bool:
        abilities = self.capabilities()
        in_memory = abilities['zero_copy'] is True or not abilities['crosses_hosts']
        return not in_memory and abilities[ability] is not True

    def statistics(self) -> dict[str, Any]:
        """Tell what the connector has done and holds at present.

        Returns:
            Plain values, whose names the connector's documentation gives.
            Empty if the connector keeps no count.
        """
        return self._native.statistics()

    def capabilities(self) -> dict[str, Any]:
        """Tell what the connector can do.

        Returns:
            What stands under `capabilities` in the table of connectors, as it
            holds for this one: `verifies` and `crosses_hosts`, for example.
        """
        return self._native.capabilities()

    def config(self) -> dict[str, Any]:
        """Options that, passed to the constructor, make a connector on the same storage.

        Only those that differ from their defaults, beside the required ones.
        A secret that stands among them itself hides its text, and cannot be
        pickled.
        """
        options = self._native.config()
        return guard_secrets(options, self.secrets) if self.secrets else options

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a connector from what `config()` returned.

        Args:
            config: Options by name.

        Raises:
            ConnectorConfigError: If an option is missing or ill-typed.
            TypeError: If an option is unknown.
        """
        return cls(**config)

    def evict(self, key: KeyT) -> None:
        """Remove an object. Removing what is not there does nothing.

        Args:
            key: Key of the object.

        Raises:
            ConnectorKeyError: If this connector cannot have made the key.
            ConnectorError: If the object cannot be removed.
        """
        self._native.evict(key)

    def exists(self, key: KeyT) -> bool:
        """Tell whether `get` would find an object.

        Args:
            key: Key of the object.

        Raises:
            ConnectorKeyError: If this connector cannot have made the key.
            ConnectorError: If the storage cannot be asked.
        """
        return self._native.exists(key)

    def get(self, key: KeyT, *, copy: bool = False) -> BytesLike | None:
        """Return the bytes of an object.

        Args:
            key: Key of the object.
            copy: Copy an object that would be mapped: its pages are then not
                copied one by one when they are written to.

        Returns:
            `None` if there is no such object; `bytes` for a small one; else a
            `memoryview` of memory that is private to this process, writable,
            and valid as long as somebody holds it, evicted or not.

        Raises:
            ConnectorKeyError: If this connector cannot have made the key.
            ObjectCorruptedError: If what is stored is not what was put.
            ConnectorError: If the object cannot be read.
        """
        return self._native.get(key, copy)

    def get_batch(self, keys: Sequence[KeyT]) -> list[BytesLike | None]:
        """Return the bytes of several objects, in the order of their keys.

        Args:
            keys: Keys of the objects.

        Raises:
            ConnectorError: As `get`, for the first key that fails.
        """
        return self._native.get_batch(keys)

    def put(self, obj: BytesLike | Sequence[BytesLike]) -> KeyT:
        """Store an object under a new key.

        When this returns, every process that can reach the storage can get
        the object; if it raises, nothing is left behind.

        Args:
            obj: Bytes of the object, or a list or tuple of buffers that stand
                for their concatenation. They are not copied on the way.

        Returns:
            The object's key.

        Raises:
            TypeError: If `obj` has no buffer protocol.
            BufferError: If its memory is not contiguous.
            ConnectorError: If the object cannot be stored.
        """
        key: KeyT = self._native.put(obj)
        return key

    def put_batch(self, objs: Sequence[BytesLike | Sequence[BytesLike]]) -> list[KeyT]:
        """Store several objects; all of them or, if this raises, none.

        Args:
            objs: Objects, each as `put` takes it.

        Returns:
            The keys, in the order of the objects.

        Raises:
            TypeError: If an object has no buffer protocol.
            ConnectorError: If an object cannot be stored.
        """
        keys: list[KeyT] = self._native.put_batch(objs)
        return keys


class NativeDeferrableConnector(AwaitableDeferrableOperations[KeyT], NativeConnector[KeyT]):
    """A native connector whose keys can be made before their objects."""

    def new_key(self, obj: BytesLike | None = None) -> KeyT:  # noqa: ARG002
        """Make a key whose object is stored later, by `set`.

        Args:
            obj: Not used: nothing is stored.

        Raises:
            ConnectorClosedError: If the connector is closed.
        """
        key: KeyT = self._native.new_key()
        return key

    def set(self, key: KeyT, obj: BytesLike | Sequence[BytesLike]) -> None:
        """Store an object under a key that `new_key` made, or replace the key's object.

        Args:
            key: Key of the object.
            obj: Bytes of the object, as `put` takes them.

        Raises:
            ConnectorKeyError: If this connector cannot have made the key.
            TypeError: If `obj` has no buffer protocol.
            ConnectorError: If the object cannot be stored. What was stored
                under the key before is then still there.
        """
        self._native.set(key, obj)
