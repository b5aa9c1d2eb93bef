"""Connector that keeps objects in the shared memory of one host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from proxystore.connectors.native import NativeDeferrableConnector
from proxystore.serialize import BytesLike
from proxystore.utils._paths import absolute

if TYPE_CHECKING:
    import os

__all__ = ['BytesLike', 'ShmConnector', 'ShmKey']


class ShmKey(NamedTuple):
    """Key of an object in shared memory.

    Attributes:
        namespace: Random number of the namespace that holds the object.
        reference: Place of the object in the namespace, and which of the
            objects that have been there it is.
    """

    namespace: int
    reference: int


class ShmConnector(NativeDeferrableConnector[ShmKey]):
    """Connector that keeps objects in the shared memory of one host.

    A large object is mapped by whoever gets it: that takes tens of
    microseconds at any size, the bytes may be written to, and they stay valid
    after the object is evicted and after its producer has ended.

    Args:
        namespace: Name of the namespace, which processes of one user share.
            Objects are seen only within their namespace.
        directory: Directory of the user's namespaces, on a memory file system.
            `None` is `/dev/shm/proxystore-<uid>`.
        budget: Most bytes of memory that the objects of the namespace may take
            together. `None` is as much as the host has.
        spill: Directory on a disk for objects that there is no memory for.
            `None` raises instead.
        hold: Seconds for which objects outlive the last process that uses the
            namespace.
        pool: Most bytes of evicted objects' memory that this process keeps for
            its next puts. `None` is a quarter of the memory file system.
        idle: Seconds after which this process gives such memory back.
        clear: Evict every object of the namespace at an explicit `close()`.

    Raises:
        ConnectorConfigError: If an option is ill-typed or out of range.
        ConnectorPermissionError: If others could get into the directory.
        ConnectorOSError: If the directory cannot be made or opened.
    """

    kind: ClassVar[str] = 'shm'
    key_type: ClassVar[type[tuple[Any, ...]]] = ShmKey
    #: `set` takes keys that `new_key` made, and no others.
    replaces: ClassVar[bool] = False

    def __init__(
        self,
        namespace: str = 'default',
        *,
        directory: str | os.PathLike[str] | None = None,
        budget: int | None = None,
        spill: str | os.PathLike[str] | None = None,
        hold: float = 60.0,
        pool: int | None = None,
        idle: float = 10.0,
        clear: bool = False,
    ) -> None:
        options: dict[str, Any] = {
            'namespace': namespace,
            'directory': absolute(directory),
            'budget': budget,
            'spill': absolute(spill),
            'hold': hold,
            'pool': pool,
            'idle': idle,
            'clear': clear,
        }
        super().__init__(**{name: value for name, value in options.items() if value is not None})
