"""Run every side by side benchmark and keep the results in benches/RESULTS.md.

Usage: python -m benches.python.report
"""

from __future__ import annotations

import datetime as dt
import importlib
import os
import platform
import sys
from pathlib import Path

RESULTS = Path(__file__).parents[1] / 'RESULTS.md'
#: Modules of this package; each has a `main()` that returns Markdown.
BENCHMARKS = ('proxy', 'store', 'file', 'shm', 'door', 'native')


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


def main() -> None:
    """Measure, print and write."""
    parts = [
        '# Results\n',
        f'Measured {dt.datetime.now(dt.UTC):%Y-%m-%d} by `make bench` on',
        f'{machine()}.\n',
        'Every figure of a row was taken in one run, the contenders taking turns; the smallest of '
        'all rounds counts. *original* is ProxyStore 1.1.0 from the package index. The native '
        'benchmarks are criterion medians, each beside the floor of its group.\n',
    ]
    for name in BENCHMARKS:
        print(f'measuring {name} ...', file=sys.stderr, flush=True)
        result = importlib.import_module(f'benches.python.{name}').main()
        print(result, flush=True)
        parts.append(result)
    RESULTS.write_text('\n'.join(parts))


if __name__ == '__main__':
    main()
