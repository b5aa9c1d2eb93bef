"""Where the process runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proxystore.utils import home_dir, hostname


@pytest.fixture(autouse=True)
def unset(monkeypatch, tmp_path):
    for name in ('PROXYSTORE_HOME', 'XDG_DATA_HOME'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', '/home/somebody')
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        ({}, '/home/somebody/.local/share/proxystore'),
        ({'XDG_DATA_HOME': '/data'}, '/data/proxystore'),
        ({'XDG_DATA_HOME': ''}, '/home/somebody/.local/share/proxystore'),
        ({'XDG_DATA_HOME': 'data'}, '{cwd}/data/proxystore'),
        ({'PROXYSTORE_HOME': '/ps', 'XDG_DATA_HOME': '/data'}, '/ps'),
        ({'PROXYSTORE_HOME': 'ps'}, '{cwd}/ps'),
        ({'PROXYSTORE_HOME': ''}, '{cwd}'),
        ({'PROXYSTORE_HOME': '~/ps'}, '{cwd}/~/ps'),
    ],
)
def test_home_dir(environment, expected, monkeypatch, tmp_path, upstream):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    expected = expected.format(cwd=tmp_path)
    assert home_dir() == expected
    assert Path(home_dir()).is_absolute()
    theirs = upstream.run(
        """
        import os
        before, cwd = dict(os.environ), os.getcwd()
        for name in ('PROXYSTORE_HOME', 'XDG_DATA_HOME'):
            os.environ.pop(name, None)
        os.environ.update(environment, HOME='/home/somebody')
        os.chdir(directory)
        try:
            from proxystore.utils.environment import home_dir
            result = home_dir()
        finally:
            os.environ.clear()
            os.environ.update(before)
            os.chdir(cwd)
        """,
        environment=environment,
        directory=str(tmp_path),
    )
    assert theirs == expected


def test_hostname():
    assert hostname() == socket.gethostname()
