"""The file connector in /dev/shm and on disk, beside the original and bare system calls.

Usage: python -m benches.python.file
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benches.python.harness import ROOT, UPSTREAM, Contender, Row, answer, compete, loop, table

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = 100
LARGE = 100_000_000
#: A directory on a disk: the checksummed path.
DISK = ROOT / 'target'


def contender(directory: str, size: int) -> None:
    """Measure puts and gets of objects of one size; runs over ours and over the original."""
    from proxystore.connectors.file import FileConnector

    number = 500 if size <= SMALL else 1
    # A get that maps is too short to time alone.
    gets = 500 if size <= SMALL else 20
    connector = FileConnector(directory)
    data = b'x' * size
    kept = connector.put(data)

    def put() -> float:
        keys = []
        took = loop(lambda: keys.append(connector.put(data)), number)()
        for key in keys:
            connector.evict(key)
        return took

    def write() -> float:
        path = Path(directory, 'written')
        start = time.perf_counter_ns()
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        written = 0
        while written < size:
            written += os.write(file, memoryview(data)[written:])
        os.close(file)
        took = time.perf_counter_ns() - start
        path.unlink()
        return took

    with connector:
        answer({'put': put, 'get': loop(lambda: connector.get(kept), gets), 'write': write})


@contextmanager
def contenders(memory: Path, size: int) -> Iterator[dict[str, Contender]]:
    """Start ours, the original and the bare system calls, each in a directory of its own."""
    with ExitStack() as stack:

        def directory() -> str:
            folder = tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True)
            return stack.enter_context(folder)

        floor = Path(directory(), 'file_floor')
        source = ROOT / 'benches' / 'floors' / 'file_floor.c'
        subprocess.run(['cc', '-O2', '-o', floor, source], check=True)
        number = '500' if size <= SMALL else '1'
        code = f'from benches.python import file; file.contender({{!r}}, {size})'
        yield {
            'ours': stack.enter_context(
                Contender([sys.executable, '-c', code.format(directory())])
            ),
            'original': stack.enter_context(Contender([UPSTREAM, '-c', code.format(directory())])),
            'bare': stack.enter_context(
                Contender([floor, directory(), str(size), number], ['put', 'get'])
            ),
        }


def rows() -> list[Row]:
    """Measure everything."""
    found = []
    for place, memory, write_bar in (
        ('tmpfs', Path('/dev/shm'), 0.95),
        ('disk', DISK, 0.8),
    ):
        with contenders(memory, SMALL) as small:
            best = compete(small)
        for case in ('put', 'get'):
            ratio = best[case]['ours'] / best[case]['bare']
            others = {name: best[case][name] for name in ('original', 'bare')}
            bar = ('<= 1.3 x bare', ratio <= 1.3) if place == 'tmpfs' else ('', None)
            found.append(
                Row(
                    f'{case} 100 B, {place}',
                    best[case]['ours'],
                    others,
                    bar[0],
                    f'{ratio:.2f}',
                    bar[1],
                )
            )
        with contenders(memory, LARGE) as large:
            best = compete(large, rounds=20)
        # Where a process's memory happens to lie makes more of a difference than what is measured:
        # the same bytes are written by the same process.
        write = best['write']['ours']
        speed = write / best['put']['ours']
        others = {'original': best['put']['original'], 'bare': write}
        found.append(
            Row(
                f'put 100 MB, {place}',
                best['put']['ours'],
                others,
                f'>= {write_bar} of a bare write(2)',
                f'{speed:.2f}',
                speed >= write_bar,
            )
        )
        get = best['get']
        others = {name: get[name] for name in ('original', 'bare')}
        bar = ('<= 0.1 ms', get['ours'] <= 1e5) if place == 'tmpfs' else ('', None)
        found.append(
            Row(
                f'get 100 MB, {place}',
                get['ours'],
                others,
                bar[0],
                f'{get["ours"] / 1e6:.3f} ms',
                bar[1],
            )
        )
    return found


def main() -> str:
    """Measure and lay out the results."""
    return table('File connector', rows())


if __name__ == '__main__':
    print(main())
