"""Programs written for upstream run unchanged, and print the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.interpreter import run_program, upstream_python

PROGRAMS = sorted(Path(__file__).with_name('programs').glob('*.py'))


@pytest.mark.parametrize('program', PROGRAMS, ids=lambda path: path.stem)
def test_program_prints_the_same(program: Path, tmp_path: Path) -> None:
    theirs = run_program(program, str(tmp_path / 'theirs'), python=upstream_python())
    ours = run_program(program, str(tmp_path / 'ours'))
    assert theirs.stdout.count('\n') > 10
    assert ours.stdout == theirs.stdout
    assert ours.stderr == theirs.stderr
    left = [sorted(path.name for path in tmp_path.glob(f'{who}/*')) for who in ('theirs', 'ours')]
    assert len(left[0]) == len(left[1]), 'as many files are left behind'


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 4
