"""Side by side measurement: several programs take turns, round by round, in one run.

A machine's speed drifts, and only figures taken at the same time compare. Each
contender is a process of its own (ours and the original have the same import
name, and a floor is written in C); in every round each case is run once in each
of them, and the smallest time of all rounds counts.

A contender reads names of cases from its standard input, a line each, and
answers each with the nanoseconds of one operation.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).parents[2]
#: Interpreter of the environment that has the released original and its peers.
UPSTREAM = ROOT / '.venv-upstream' / 'bin' / 'python'

ROUNDS = 40


def answer(cases: Mapping[str, Callable[[], float]]) -> None:
    """Serve as a contender: measure what standard input names until it ends.

    Args:
        cases: Functions by name; each measures once and returns nanoseconds
            per operation.
    """
    print(json.dumps(sorted(cases)), flush=True)
    for line in sys.stdin:
        print(cases[line.strip()](), flush=True)


def loop(function: Callable[[], object], number: int) -> Callable[[], float]:
    """Measure a function called `number` times in a row, in nanoseconds a call."""

    def measure() -> float:
        repeat = range(number)
        start = time.perf_counter_ns()
        for _ in repeat:
            function()
        return (time.perf_counter_ns() - start) / number

    return measure


class Contender:
    """A process that measures cases when asked.

    Args:
        command: Program and arguments.
        cases: Names of its cases, if it does not announce them itself.
    """

    def __init__(self, command: Sequence[str | Path], cases: Sequence[str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.cases: frozenset[str] = frozenset(json.loads(self._read()) if cases is None else cases)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        _pipe(self._process.stdin).close()
        self._process.wait()
        _pipe(self._process.stdout).close()

    def measure(self, case: str) -> float:
        """Measure a case once, in nanoseconds."""
        stdin = _pipe(self._process.stdin)
        stdin.write(case + '\n')
        stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        line = _pipe(self._process.stdout).readline()
        if not line:
            message = f'{self._process.args!r} ended: code {self._process.wait()}'
            raise RuntimeError(message)
        return line


def compete(
    contenders: Mapping[str, Contender], rounds: int = ROUNDS
) -> dict[str, dict[str, float]]:
    """Let contenders take turns.

    Args:
        contenders: Contenders by name.
        rounds: How often each measures each case.

    Returns:
        For each case, the smallest time of each contender that has it, in
        nanoseconds.
    """
    names = sorted({case for contender in contenders.values() for case in contender.cases})
    best: dict[str, dict[str, float]] = {name: {} for name in names}
    for _ in range(rounds):
        for name in names:
            for label, contender in contenders.items():
                if name in contender.cases:
                    took = contender.measure(name)
                    best[name][label] = min(took, best[name].get(label, took))
    return best


class Row(NamedTuple):
    """A line of a result table.

    Attributes:
        what: Operation.
        ours: Our time, in nanoseconds.
        others: Times of the others by name, in nanoseconds.
        bar: What was aimed for, in words.
        ratio: The figure that the bar is about.
        met: Whether it was reached; `None` if there is no bar.
    """

    what: str
    ours: float
    others: Mapping[str, float]
    bar: str = ''
    ratio: str = ''
    met: bool | None = None


def table(title: str, rows: Sequence[Row]) -> str:
    """Lay results out as a Markdown table."""
    labels = list(dict.fromkeys(label for row in rows for label in row.others))
    header = ['operation', 'ours', *labels, 'bar', 'reached', '']
    lines = [f'### {title}', '', _line(header), _line(['---'] * len(header))]
    for row in rows:
        others = [duration(row.others[label]) if label in row.others else '' for label in labels]
        verdict = {True: 'met', False: '**missed**', None: ''}[row.met]
        lines.append(_line([row.what, duration(row.ours), *others, row.bar, row.ratio, verdict]))
    return '\n'.join(lines) + '\n'


def duration(nanoseconds: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (('s', 1e9), ('ms', 1e6), ('µs', 1e3)):
        if nanoseconds >= size:
            return f'{nanoseconds / size:.3g} {unit}'
    return f'{nanoseconds:.3g} ns'


def _line(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError('the process has no pipe')
    return pipe
