"""Run every side by side benchmark and keep the results in benches/RESULTS.md.

Usage: python -m benches.python.report [NAME ...]
"""

from __future__ import annotations

import datetime as dt
import importlib
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parents[1] / 'RESULTS.md'
#: Modules of this package; each has a `main()` that returns Markdown.
BENCHMARKS = (
    'proxy',
    'store',
    'file',
    'shm',
    'redis',
    'node',
    'streams',
    'asyncio_gather',
    'door',
    'native',
)


def machine() -> str:
    """Say what the figures were taken on."""
    model = next(
        (
            line.partition(':')[2].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ),
        platform.machine(),
    )
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
    return (
        f'{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {platform.release()}, '
        f'CPython {platform.python_version()}'
    )


def kept(name: str) -> str | None:
    """What an earlier run found of a benchmark."""
    text = RESULTS.read_text() if RESULTS.exists() else ''
    _, found, rest = text.partition(_mark(name))
    return rest.partition('<!-- ')[0].strip() + '\n' if found else None


def _mark(name: str) -> str:
    return f'<!-- {name} -->'


def main(names: Sequence[str]) -> None:
    """Measure the benchmarks named, or all, print and write; the others stay as they were."""
    parts = [
        '# Results\n',
        f'Measured by `make bench` on {machine()}.\n',
        'Every figure of a row was taken in one run, the contenders taking turns; the smallest of '
        'all rounds counts. *original* is ProxyStore 1.1.0 from the package index. The native '
        'benchmarks are criterion medians, each beside the floor of its group.\n',
    ]
    for name in BENCHMARKS:
        result = kept(name)
        if result is None or not names or name in names:
            print(f'measuring {name} ...', file=sys.stderr, flush=True)
            measured = importlib.import_module(f'benches.python.{name}').main()
            today = dt.datetime.now(dt.UTC)
            command = f'python -m benches.python.{name}'
            result = f'{measured}\n{today:%Y-%m-%d}, `{command}`.\n'
            print(result, flush=True)
        parts += [_mark(name), '', result]
    RESULTS.write_text('\n'.join(parts))


if __name__ == '__main__':
    main(sys.argv[1:])
