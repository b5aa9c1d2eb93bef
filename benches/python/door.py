"""What it costs to leave the interpreter: release it, run, look for signals, come back.

Usage: python -m benches.python.door
"""

from __future__ import annotations

import logging
import sys
from typing import NamedTuple

from benches.python.harness import Contender, Row, answer, compete, loop, table

NUMBER = 20_000


class Key(NamedTuple):
    """Key of the native in-memory connector."""

    id: str


def contender() -> None:
    """Measure calls that stay inside the interpreter and calls that leave it."""
    from proxystore import _native

    connector = _native.Connector('local', {}, Key)
    key = connector.put(b'x')
    inside = connector.__repr__
    closed = _native.Connector('local', {}, Key)
    closed.close()
    logging.getLogger('proxystore').setLevel(logging.WARNING)
    answer(
        {
            'inside': loop(inside, NUMBER),
            'door': loop(closed.close, NUMBER),
            'exists': loop(lambda: connector.exists(key), NUMBER),
            'get': loop(lambda: connector.get(key), NUMBER),
        }
    )


def rows() -> list[Row]:
    """Measure everything."""
    code = 'from benches.python import door; door.contender()'
    with Contender([sys.executable, '-c', code]) as ours:
        best = {case: times['ours'] for case, times in compete({'ours': ours}).items()}
    return [
        Row('native call that stays inside (repr)', best['inside'], {}),
        Row('native call through the door, nothing to do (close again)', best['door'], {}),
        Row('exists of the native local connector', best['exists'], {}),
        Row('get of 1 B of the native local connector', best['get'], {}),
    ]


def main() -> str:
    """Measure and lay out the results."""
    return table('The door out of the interpreter', rows())


if __name__ == '__main__':
    print(main())
