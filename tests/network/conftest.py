"""Fixtures of networks that are not as they should be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.interpreter import ROOT, Interpreter
from tests.support.namespaces import Cable, needed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def at_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a home of its own, and its nodes a secret."""
    monkeypatch.setenv('NODE_SECRET', 'what everybody here knows')


@pytest.fixture
def cable(at_home: None) -> Iterator[Cable]:
    """Two hosts and the cable between them."""
    with needed():
        cable = Cable()
    with cable:
        yield cable


@pytest.fixture
def near(cable: Cable) -> Iterator[Interpreter]:
    """A process on the near host."""
    with Interpreter(sys.executable, within=cable.near) as interpreter:
        interpreter.run(f'import sys; sys.path.insert(0, {str(ROOT)!r})')
        yield interpreter


@pytest.fixture
def far(cable: Cable) -> Iterator[Interpreter]:
    """A process on the far host."""
    with Interpreter(sys.executable, within=cable.far) as interpreter:
        yield interpreter
