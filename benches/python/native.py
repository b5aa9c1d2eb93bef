"""The native benchmarks (`cargo bench`), as a table: each beside the floor of its group.

Usage: python -m benches.python.native
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import NamedTuple

from benches.python.harness import ROOT, duration

CRITERION = ROOT / 'target' / 'criterion'
COMMAND = ('cargo', 'bench', '--quiet', '--package', 'proxystore-benches')


class Result(NamedTuple):
    """A benchmark's median, in nanoseconds."""

    group: str
    name: str
    median: float


def measure() -> list[Result]:
    """Run all native benchmarks and read what criterion found."""
    # What an older version of the benchmarks left there would be reported, too.
    shutil.rmtree(CRITERION, ignore_errors=True)
    subprocess.run(COMMAND, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    results = []
    for path in sorted(CRITERION.glob('**/new/benchmark.json')):
        benchmark = json.loads(path.read_text())
        estimates = json.loads(path.with_name('estimates.json').read_text())
        median = estimates['median']['point_estimate']
        name = ' '.join(filter(None, (benchmark['function_id'], benchmark['value_str'])))
        results.append(Result(benchmark['group_id'], name, median))
    return results


def main() -> str:
    """Measure and lay out the results."""
    results = measure()
    floors = {result.group: result.median for result in results if result.name.startswith('floor')}
    lines = [
        '### Native core (`cargo bench`, medians)',
        '',
        '| group | what | time | of the floor |',
        '| --- | --- | --- | --- |',
    ]
    for group, name, median in results:
        floor = floors.get(group)
        ratio = '' if floor is None or name.startswith('floor') else f'{median / floor:.2f} x'
        lines.append(f'| {group} | {name} | {duration(median)} | {ratio} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    print(main())
