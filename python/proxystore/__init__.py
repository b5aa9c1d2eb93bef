"""Pass-by-reference for distributed Python, with a Rust data plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxystore import _absent

if TYPE_CHECKING:
    __version__: str

_absent.install()


def __getattr__(name: str) -> str:
    if name != '__version__':
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    # Reading the metadata takes a fifth of the time of all the other imports.
    from importlib.metadata import version

    globals()['__version__'] = found = version('proxystore')
    return found
