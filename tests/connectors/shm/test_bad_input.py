"""Options, directories, files and keys that are not what they should be."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorPermissionError,
    ObjectCorruptedError,
)
from proxystore.connectors.shm import ShmConnector
from tests.connectors.shm.support import LARGE, python


class TestBadInput:
    @pytest.mark.parametrize(
        'options',
        [
            {'namespace': ''},
            {'namespace': '../x'},
            {'namespace': 'x' * 65},
            {'namespace': '.hidden'},
            {'budget': -1},
            {'budget': 'much'},
            {'hold': -1.0},
            {'hold': float('nan')},
            {'pool': -1},
            {'clear': 'yes'},
        ],
    )
    def test_options(self, options: dict[str, Any], memory: str) -> None:
        with pytest.raises(ConnectorConfigError):
            ShmConnector(**{'directory': memory, **options})

    def test_a_disk_is_no_memory(self, tmp_path: Path) -> None:
        if os.statvfs(tmp_path).f_fsid == os.statvfs('/dev/shm').f_fsid:
            directory = Path(__file__).parent / 'not-memory'
        else:
            directory = tmp_path / 'not-memory'
        with pytest.raises(ConnectorConfigError, match='memory'):
            ShmConnector(directory=directory)
        shutil.rmtree(directory, ignore_errors=True)

    def test_no_dev_shm(self) -> None:
        with pytest.raises(ConnectorConfigError, match='directory'):
            ShmConnector(directory='/proc/no/such/place')

    def test_others_may_not_get_in(self, memory: str) -> None:
        for mode in (0o755, 0o770, 0o707):
            os.chmod(memory, mode)
            with pytest.raises(ConnectorPermissionError, match='700'):
                ShmConnector(directory=memory)
        os.chmod(memory, 0o700)
        ShmConnector(directory=memory).close()

    @pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
    def test_a_directory_of_another_user_is_refused(self, memory: str) -> None:
        os.chown(memory, 12345, 12345)
        with pytest.raises(ConnectorPermissionError):
            ShmConnector(directory=memory)

    def test_a_planted_link_is_refused(self, memory: str, tmp_path: Path) -> None:
        target = Path(memory, 'target')
        target.mkdir(mode=0o700)
        Path(memory, 'linked').symlink_to(target)
        with pytest.raises(ConnectorPermissionError, match='link'):
            ShmConnector('linked', directory=memory)
        link = Path(memory).with_name(Path(memory).name + '-link')
        link.symlink_to(memory)
        try:
            with pytest.raises(ConnectorPermissionError, match='link'):
                ShmConnector(directory=link)
        finally:
            link.unlink()
        assert not list(target.iterdir())

    def test_truncated_segments_are_corrupted(self, connector: ShmConnector, memory: str) -> None:
        key = connector.put(bytes(LARGE))
        (segment,) = Path(memory, 'default').glob('s*')
        os.truncate(segment, LARGE - 5000)
        with pytest.raises(ObjectCorruptedError):
            connector.get(key)

    def test_foreign_files_are_left_alone(self, memory: str) -> None:
        with ShmConnector(directory=memory, hold=0) as connector:
            foreign = Path(memory, 'default', 'notes.txt')
            foreign.write_text('mine')
            key = connector.put(bytes(LARGE))
            connector.evict(key)
            connector.close(clear=True)
        assert foreign.read_text() == 'mine'

    def test_a_closed_connector_refuses(self, memory: str) -> None:
        connector = ShmConnector(directory=memory)
        key = connector.put(b'x')
        connector.close()
        connector.close()
        for operation in (connector.get, connector.exists, connector.evict, connector.put):
            with pytest.raises(ConnectorClosedError):
                operation(key if operation != connector.put else b'x')  # type: ignore[arg-type]

    def test_numpy_absent(self, memory: str) -> None:
        code = """
import sys
sys.modules['numpy'] = None
from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
with Store('plain', ShmConnector(directory=sys.argv[1])) as store:
    for obj in ({'a': [1, 2]}, b'x' * 5_000_000, bytearray(5_000_000), 'text' * 100_000):
        assert store.get(store.put(obj)) == obj
"""
        python(code, memory)
