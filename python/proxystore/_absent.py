"""Modules of ProxyStore's interface that this release does not contain yet.

Importing one raises an error that says so, instead of one that looks like a broken installation.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_CONNECTORS = 'another connector (file, shm, redis, local or multi)'
_SHIMS = 'the shims for queues and Redis, or a Publisher and Subscriber of your own'

ABSENT = {
    'proxystore.connectors.endpoint': _CONNECTORS,
    'proxystore.connectors.globus': _CONNECTORS,
    'proxystore.endpoint': _CONNECTORS,
    'proxystore.globus': _CONNECTORS,
    'proxystore.p2p': _CONNECTORS,
    'proxystore.stream.shims.kafka': _SHIMS,
    'proxystore.stream.shims.zmq': _SHIMS,
}
"""Each absent module or package, and what there is instead."""


class AbsentModuleFinder:
    """The last finder of `sys.meta_path`: asked only for what no other finder found."""

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG003 part of the finders' protocol
        target: ModuleType | None = None,  # noqa: ARG003
    ) -> ModuleSpec | None:
        """Find nothing, and say why if the module is one of `ABSENT`.

        Raises:
            ModuleNotFoundError: If an absent module is about to be imported. If its existence is
                only asked for, by `importlib.util.find_spec`, the answer is None.
        """
        if fullname not in ABSENT or _only_asked():
            return None
        from proxystore import __version__ as version

        msg = (
            f'proxystore {version} does not contain {fullname} yet. Use {ABSENT[fullname]} '
            f'instead or, where {fullname} is needed, ProxyStore 1.1.0 '
            "(pip install 'proxystore==1.1.0')."
        )
        # Without `name`: the import system drops an error that bears the name of the submodule
        # that `from package import submodule` tries, and with it this message.
        raise ModuleNotFoundError(msg)


def _only_asked() -> bool:
    # Frames: this function, find_spec, the import system's loop over finders, its caller.
    asker = sys._getframe(3)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return asker.f_globals.get('__name__') == 'importlib.util'


def install() -> None:
    """Add the finder to `sys.meta_path`, once."""
    if AbsentModuleFinder not in sys.meta_path:
        sys.meta_path.append(AbsentModuleFinder)
