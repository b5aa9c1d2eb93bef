"""The distributed in-memory connectors, which are part of the extensions.

Importing this module warns. What the extensions offer, if they are
installed, is reachable through it.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

warnings.warn(
    'The proxystore.connectors.dim module has moved to ProxyStore Extensions.\n\n'
    'To update, install the Extensions package and change imports from '
    '"proxystore.connectors.dim" to "proxystore.ex.connectors.dim."\n\n'
    '$ pip install proxystore-ex',
    UserWarning,
    stacklevel=2,
)

_EXTENSION = 'proxystore_ex.connectors.dim'


def __getattr__(name: str) -> Any:
    try:
        package = importlib.import_module(_EXTENSION)
        if not hasattr(package, name) and not name.startswith('_'):
            importlib.import_module(f'{_EXTENSION}.{name}')
        return getattr(package, name)
    except ModuleNotFoundError as error:
        if error.name is None or not f'{_EXTENSION}.{name}'.startswith(error.name):
            raise
        msg = (
            f'module {__name__!r} has no attribute {name!r}. The module has moved to the '
            'ProxyStore Extensions: pip install proxystore-ex'
        )
        raise AttributeError(msg) from error
