"""Keys and options that are nested without end are refused, as whatever follows them would be."""

from __future__ import annotations

from typing import Any

import pytest

from proxystore import _native
from proxystore.connectors.exceptions import ConnectorConfigError, ConnectorKeyError
from proxystore.connectors.file import FileConnector, FileKey

LEVELS = 200_000


def test_nested_keys(store_dir: str) -> None:
    nested: Any = ()
    for _ in range(LEVELS):
        nested = (nested,)
    with FileConnector(store_dir) as connector:
        key = FileKey(nested)
        for attempt in (
            lambda: connector.get(key),
            lambda: connector.exists(key),
            lambda: connector.evict(key),
            lambda: connector.set(key, b'x'),
            lambda: connector.get_batch([key]),
        ):
            with pytest.raises(ConnectorKeyError, match='at most'):
                attempt()


def test_nested_options() -> None:
    endless_list: list[Any] = []
    endless_list.extend([endless_list, (endless_list,)])
    endless_dict: dict[str, Any] = {}
    endless_dict['store_dir'] = endless_dict
    for options in ({'store_dir': endless_list}, endless_dict):
        with pytest.raises(ConnectorConfigError, match='at most'):
            _native.Connector('file', options, FileKey)
