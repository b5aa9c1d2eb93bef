"""Stores that other processes of this host can reach."""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING

import pytest

from proxystore.connectors.file import FileConnector
from proxystore.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Dask has all exceptions pickled with their tracebacks, by a package that not every environment
# has. The other suites are to find pickle as it is.
_reducers = dict(copyreg.dispatch_table)
import distributed  # noqa: E402, F401

copyreg.dispatch_table.clear()
copyreg.dispatch_table.update(_reducers)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    connector = FileConnector(str(tmp_path / 'objects'))
    with Store(f'integration-{tmp_path.name}', connector, register=True) as store:
        yield store


@pytest.fixture
def stored(store: Store):
    """Counts the objects in the store."""
    from pathlib import Path

    directory = Path(store.connector.store_dir)
    return lambda: len(list(directory.glob('*.ready')))
