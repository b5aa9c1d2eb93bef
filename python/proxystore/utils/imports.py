"""Objects by the path that they are imported from."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ['get_object_path', 'import_from_path']


def get_object_path(obj: Any) -> str:
    """Path of a class or function.

    Args:
        obj: Class or function.

    Returns:
        Its module and qualified name, joined by a dot.

    Raises:
        AttributeError: If the object has no module or no name.
    """
    return f'{obj.__module__}.{obj.__qualname__}'


def import_from_path(path: str) -> type[Any]:
    """Import an object by its path.

    Args:
        path: Module and name, joined by a dot. The name may itself be of
            several parts, as that of a class in a class.

    Returns:
        The object.

    Raises:
        ImportError: If the path names no module, or the module cannot be
            imported.
        AttributeError: If the module has no such object.
    """
    module_path, _, name = path.rpartition('.')
    if not module_path:
        msg = f'Object path must contain at least one module. Got {path}'
        raise ImportError(msg)
    names = [name]
    while True:
        try:
            obj: Any = importlib.import_module(module_path)
            break
        except ModuleNotFoundError as error:
            parent, _, name = module_path.rpartition('.')
            # A class within a class looks like a module that is not there;
            # a module that fails in an import of its own is another matter.
            if not parent or not f'{module_path}.'.startswith(f'{error.name}.'):
                raise
            module_path = parent
            names.append(name)
    for name in reversed(names):
        obj = getattr(obj, name)
    return obj  # type: ignore[no-any-return]
