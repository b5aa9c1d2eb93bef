"""Where this process runs."""

from __future__ import annotations

import os

__all__ = ['home_dir', 'hostname']


def home_dir() -> str:
    """Directory of the configuration and the data of this user.

    Returns:
        Absolute path: `$PROXYSTORE_HOME` if set, else
        `$XDG_DATA_HOME/proxystore` if set and not empty, else
        `~/.local/share/proxystore`.
    """
    path = os.environ.get('PROXYSTORE_HOME')
    if path is None:
        data_home = os.environ.get('XDG_DATA_HOME') or os.path.expanduser(  # noqa: PTH111
            '~/.local/share'
        )
        path = os.path.join(data_home, 'proxystore')  # noqa: PTH118
    return os.path.abspath(path)  # noqa: PTH100


def hostname() -> str:
    """Name of this host."""
    import socket

    return socket.gethostname()
