"""Connector that keeps objects as files in a directory.

Any process that sees the directory can use it: of one host, or of several
that share a file system.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, NamedTuple

from proxystore.connectors.exceptions import ConnectorConfigError
from proxystore.connectors.native import NativeDeferrableConnector
from proxystore.serialize import BytesLike
from proxystore.utils._paths import absolute

__all__ = ['BytesLike', 'FileConnector', 'FileKey']


class FileKey(NamedTuple):
    """Key of an object in a directory.

    Attributes:
        filename: Name of the object's file, a UUID in its canonical form.
    """

    filename: str


class FileConnector(NativeDeferrableConnector[FileKey]):
    """Connector that keeps objects as files in a directory.

    On a local file system a large object is mapped, not read: `get` takes
    tens of microseconds at any size, the bytes may be written to, and they
    stay valid after the object is evicted.

    Args:
        store_dir: Directory of the objects, made if it is not there. A
            relative path is taken from the current directory of this process.
        clear: Remove the objects at an explicit `close()`, and the directory
            if nothing else is in it; never at garbage collection or exit.
            Files that are no objects stay, and the directory with them.
        buffering: Accepted for compatibility and kept in `config()`: objects
            go to the file in one piece, so there is nothing to buffer.
        fsync: Wait until the storage device has the object before `put`
            returns.

    Raises:
        ConnectorConfigError: If an option is ill-typed.
        ConnectorOSError: If the directory cannot be made or opened.
    """

    kind: ClassVar[str] = 'file'
    key_type: ClassVar[type[tuple[Any, ...]]] = FileKey

    def __init__(
        self,
        store_dir: str | os.PathLike[str],
        *,
        clear: bool = True,
        buffering: int = -1,
        fsync: bool = False,
    ) -> None:
        if not isinstance(store_dir, str | os.PathLike):
            msg = f'The option store_dir must be a path, not {store_dir!r}.'
            raise ConnectorConfigError(msg)
        self.store_dir: str = absolute(store_dir)
        super().__init__(store_dir=self.store_dir, clear=clear, buffering=buffering, fsync=fsync)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(directory={self.store_dir})'
