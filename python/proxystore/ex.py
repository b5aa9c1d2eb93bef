"""The extensions package `proxystore-ex` under the name `proxystore.ex`.

```python
from proxystore.ex.connectors.daos import DAOSConnector
```

works where `from proxystore_ex.connectors.daos import DAOSConnector` does.

Raises:
    ImportError: If the extensions are not installed.
"""

from __future__ import annotations

from typing import Any

try:
    import proxystore_ex
    from proxystore_ex import *  # noqa: F403  # pyright: ignore[reportWildcardImportFromLibrary]
except ModuleNotFoundError as error:
    if error.name != 'proxystore_ex':
        raise
    msg = (
        'proxystore.ex needs the ProxyStore Extensions, which are not installed. '
        'Install them with: pip install "proxystore[extensions]"'
    )
    raise ImportError(msg, name='proxystore_ex') from error

# With the search path of the extensions this module is a package: their
# modules can be imported under its name.
__path__ = list(proxystore_ex.__path__)


def __getattr__(name: str) -> Any:
    return getattr(proxystore_ex, name)
