"""What the tests of shared memory share."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

#: Bytes of an object that has a segment of its own.
LARGE = 4 << 20


def array(size: int = LARGE, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 1 << 62, size // 8)


def python(code: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    ended = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0 or not check, ended.stderr
    return ended


def report(memory: str) -> list[dict[str, Any]]:
    """Ask the command what the namespaces of a directory hold."""
    output = subprocess.run(
        [sys.executable, '-m', 'proxystore.cli', 'shm', 'list', '--json', '--directory', memory],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return json.loads(output)  # type: ignore[no-any-return]
