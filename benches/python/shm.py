"""Shared memory between two processes, beside the original, its peers and bare copies.

Usage: python -m benches.python.shm
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benches.python.harness import ROOT, UPSTREAM, Contender, Row, compete, table

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDS = {'1 MB': 30, '100 MB': 15, '1 GB': 5}
PAIRS = (1, 2, 4, 8, 16)


def run(wanted: str, kinds: Iterable[str], rounds: int) -> dict[str, dict[str, float]]:
    """Let systems take turns at one group of cases."""
    with ExitStack() as stack:
        contenders = {}
        for kind in kinds:
            python = UPSTREAM if kind == 'original' else sys.executable
            command = [python, '-m', 'benches.python.shm_contender', kind, wanted]
            contenders[kind] = stack.enter_context(Contender(command))
        return compete(contenders, rounds)


def arrays() -> list[Row]:
    """Arrays of three sizes."""
    found = []
    peers = ['original', 'shared_memory']
    if importlib.util.find_spec('ray') is not None:
        peers.append('ray')
    for size, rounds in ROUNDS.items():
        kinds = ['ours', 'verified', 'fresh', *peers]
        # All of the largest arrays at once would not fit into memory.
        groups = [[kind] for kind in kinds] if size == '1 GB' else [kinds]
        best: dict[str, dict[str, float]] = {}
        for group in groups:
            for case, times in run(size, group, rounds).items():
                best.setdefault(case, {}).update(times)

        def others(
            case: str, *more: str, best: dict[str, dict[str, float]] = best
        ) -> dict[str, float]:
            named = {peer: best[case][peer] for peer in peers if peer in best[case]}
            return named | {name: best[name]['ours'] for name in more}

        get = best['get']['ours']
        found.append(
            Row(
                f'Store.get, {size}, the call',
                get,
                others('get'),
                '<= 40 µs',
                f'{get / 1e3:.1f} µs',
                get <= 40e3,
            )
        )
        read, attached = best['read']['ours'], best['read, attached']['ours']
        ratio = read / attached
        bar = ('<= 1.05 x the same, attached', ratio <= 1.05) if size == '100 MB' else ('', None)
        found.append(
            Row(
                f'and every byte read, {size}',
                read,
                others('read') | {'same memory, attached': attached},
                bar[0],
                f'{ratio:.2f}',
                bar[1],
            )
        )
        if size == '100 MB':
            found += writes(size, best, others('write', 'memcpy fresh'))
        for kind, name, least in (('ours', '', 0.85), ('verified', ', verify=True', 0.6)):
            memcpy = best['memcpy'][kind]
            speed = memcpy / best['put'][kind]
            bar = (f'>= {least} of memcpy', speed >= least) if size != '1 MB' else ('', None)
            row = Row(
                f'Store.put, {size}, steady state{name}',
                best['put'][kind],
                others('put') | {'memcpy': memcpy},
                bar[0],
                f'{speed:.2f}',
                bar[1],
            )
            found.append(row)
        write = best['write(2)']['fresh']
        speed = write / best['put']['fresh']
        found.append(
            Row(
                f'Store.put, {size}, into fresh memory',
                best['put']['fresh'],
                {'write(2)': write},
                '>= 0.9 of write(2)' if size != '1 MB' else '',
                f'{speed:.2f}',
                speed >= 0.9 if size != '1 MB' else None,
            )
        )
    return found


def writes(size: str, best: dict[str, dict[str, float]], others: dict[str, float]) -> list[Row]:
    """Consumers that write to the whole array."""
    fresh, warm, both = (
        best[name]['ours'] for name in ('memcpy fresh', 'memcpy warm', 'memcpy warm write')
    )
    view, copy, copied = (best[name]['ours'] for name in ('write', 'copy', 'copy write'))
    return [
        Row(
            f'and every byte written, {size}',
            view,
            others,
            '<= 1.4 x memcpy into fresh 4 KiB pages',
            f'{view / fresh:.2f}',
            view / fresh <= 1.4,
        ),
        Row(
            f'Store.get(copy=True), {size}',
            copy,
            {'memcpy warm': warm},
            '<= 1.1 x memcpy into the same',
            f'{copy / warm:.2f}',
            copy / warm <= 1.1,
        ),
        Row(
            f'Store.get(copy=True) and every byte written, {size}',
            copied,
            {'memcpy warm, and written': both},
            '<= 1.1 x memcpy and the same write',
            f'{copied / both:.2f}',
            copied / both <= 1.1,
        ),
    ]


def small() -> list[Row]:
    """Small objects, a dictionary, tables, executors."""
    found = []
    best = run('small', ['ours', 'original'], 20)
    for case, most in (
        ('put 100 B', 3),
        ('get 100 B', 2),
        ('put 10 kB', 5),
        ('get 10 kB', 4),
        ('dict', 10),
    ):
        ours = best[case]['ours']
        name = 'Store.put + get of a 1 kB dict' if case == 'dict' else f'connector.{case}'
        found.append(
            Row(
                name,
                ours,
                {'original': best[case]['original']},
                f'<= {most} µs',
                f'{ours / 1e3:.2f} µs',
                ours <= most * 1e3,
            )
        )
    for wanted, bars in (
        ('tables', {'pandas': 30, 'polars': 30, 'list of 100 arrays': 30}),
        ('executor', {'no-op': 30, 'sum': 50, 'array returned': 70}),
    ):
        best = run(wanted, ['ours', 'original'], 10)
        for case, most in bars.items():
            ours = best[case]['ours']
            others = {'original': best[case]['original']}
            if f'{case}, plain pool' in best:
                others['plain pool'] = best[f'{case}, plain pool']['ours']
            what = 'put + get, 100 MB' if wanted == 'tables' else 'StoreExecutor, 100 MB'
            found.append(
                Row(
                    f'{what}: {case}',
                    ours,
                    others,
                    f'<= {most} ms',
                    f'{ours / 1e6:.1f} ms',
                    ours <= most * 1e6,
                )
            )
    return found


def memory() -> str:
    """Extra memory of either side, in payloads."""
    best = run('memory', ['ours', 'original'], 3)
    lines = [
        '### Shared memory: extra memory of an array of 100 MB, in payloads',
        '',
        '| process | ours | original | bar | |',
        '| --- | --- | --- | --- | --- |',
    ]
    for side in ('producer', 'consumer'):
        ours, original = best[side]['ours'], best[side]['original']
        verdict = 'met' if ours <= 0.02 else '**missed**'
        lines.append(f'| {side} | {ours:.4f} | {original:.2f} | <= 0.02 | {verdict} |')
    return '\n'.join(lines) + '\n'


def crowd() -> str:
    """Many producers and consumers at once."""

    def ask(what: str) -> object:
        command = [sys.executable, '-m', 'benches.python.shm_crowd', what]
        return json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)

    lines = [
        '### Shared memory: pairs of a producer and a consumer, 1 MB objects',
        '',
        '| pairs | got, GB/s | got and read, GB/s | two memcpy processes, GB/s | ratio '
        '| slowest pair | bar | |',
        '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for pairs in PAIRS:
        copies = float(str(ask('copies')))
        (got, fair), (read, fair_reading) = ask(str(pairs))  # type: ignore[misc,attr-defined]
        bar, verdict = '', ''
        if pairs == 8:
            bar = '>= 0.7 of memcpy'
            verdict = 'met' if got >= 0.7 * copies else '**missed**'
        lines.append(
            f'| {pairs} | {got:.2f} | {read:.2f} | {copies:.2f} '
            f'| {got / copies:.2f}, read {read / copies:.2f} '
            f'| {min(fair, fair_reading):.2f} of its share | {bar} | {verdict} |'
        )
    return '\n'.join(lines) + '\n'


def main() -> str:
    """Measure and lay out the results."""
    return '\n'.join([table('Shared memory', [*arrays(), *small()]), memory(), crowd()])


if __name__ == '__main__':
    print(main())
