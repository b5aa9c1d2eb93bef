"""Small tools that do not depend on the rest of the package."""

from __future__ import annotations

from proxystore.utils.data import bytes_to_readable, chunk_bytes, readable_to_bytes
from proxystore.utils.environment import home_dir, hostname
from proxystore.utils.imports import get_object_path, import_from_path

__all__ = [
    'bytes_to_readable',
    'chunk_bytes',
    'get_object_path',
    'home_dir',
    'hostname',
    'import_from_path',
    'readable_to_bytes',
]
