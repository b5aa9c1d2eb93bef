"""The command `proxystore shm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.connectors.shm.support import LARGE, python, report

if TYPE_CHECKING:
    from proxystore.connectors.shm import ShmConnector


class TestCommand:
    def run(self, *arguments: str) -> str:
        command = [sys.executable, '-m', 'proxystore.cli', 'shm', *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    def test_list_and_stat(self, connector: ShmConnector, memory: str) -> None:
        connector.put(bytes(LARGE))
        view = connector.get(connector.put(bytes(LARGE)))
        connector.put(b'small')
        (namespace,) = report(memory)
        assert namespace['name'] == 'default'
        assert namespace['held']
        assert namespace['objects'] == 3
        assert namespace['bytes'] >= 2 * LARGE
        (process,) = namespace['processes']
        assert process['pid'] == os.getpid()
        assert process['alive']
        assert process['pins'] == 1
        listed = self.run('list', '--directory', memory)
        assert 'default' in listed
        assert 'in use' in listed
        assert str(os.getpid()) in self.run('stat', '--directory', memory)
        del view

    @pytest.mark.parametrize('options', [(), ('--json',)])
    def test_stat_of_no_namespace_is_an_error(self, memory: str, options: tuple[str, ...]) -> None:
        arguments = ('stat', 'other', '--directory', memory, *options)
        ended = subprocess.run(
            [sys.executable, '-m', 'proxystore.cli', 'shm', *arguments],
            capture_output=True,
            check=False,
            text=True,
        )
        assert (ended.returncode, ended.stdout) == (1, '')
        assert ended.stderr.startswith('proxystore: there is no namespace "other"')
        assert memory in ended.stderr
        assert not Path(memory, 'other').exists()

    def test_directories_are_relative_to_where_the_command_runs(
        self, connector: ShmConnector, memory: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connector.put(b'small')
        monkeypatch.chdir(Path(memory).parent)
        (namespace,) = json.loads(self.run('list', '--json', '--directory', Path(memory).name))
        assert namespace['path'] == str(Path(memory, 'default'))

    def test_gc_frees_what_nobody_holds(self, connector: ShmConnector, memory: str) -> None:
        code = """
import os, signal, sys
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(sys.argv[2], directory=sys.argv[1], hold=0)
connector.put(bytes(5_000_000))
os.kill(os.getpid(), signal.SIGKILL)
"""
        python(code, memory, 'left', check=False)
        key = connector.put(bytes(LARGE))
        assert list(Path(memory, 'left').glob('s*'))
        freed = json.loads(self.run('gc', '--json', '--directory', memory))
        assert not list(Path(memory, 'left').glob('s*'))
        assert any(row['name'] == 'left' and row['freed'] >= 5_000_000 for row in freed)
        assert connector.get(key) == bytes(LARGE)
        assert self.run('gc', '--directory', memory)

    def test_an_error_is_a_line_and_a_code(self) -> None:
        ended = subprocess.run(
            [sys.executable, '-m', 'proxystore.cli', 'shm', 'stat', '../x'],
            capture_output=True,
            check=False,
            text=True,
        )
        assert ended.returncode == 1
        assert ended.stderr.startswith('proxystore: ')
        assert 'Traceback' not in ended.stderr

    @pytest.mark.parametrize('buffered', [True, False])
    def test_a_closed_pipe_is_no_error(self, memory: str, buffered: bool) -> None:
        options = [] if buffered else ['-u']
        environment = {k: v for k, v in os.environ.items() if k != 'PYTHONUNBUFFERED'}
        command = [sys.executable, *options, '-m', 'proxystore.cli', 'shm', 'list']
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, 'wb') as output:
            ended = subprocess.run(
                [*command, '--directory', memory],
                check=False,
                env=environment,
                stderr=subprocess.PIPE,
                stdout=output,
            )
        assert (ended.returncode, ended.stderr) == (0, b'')
