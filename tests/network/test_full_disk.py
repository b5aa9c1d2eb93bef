"""A node whose disk is full: it refuses, keeps what it has, and goes on when there is room."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.interpreter import Interpreter
from tests.support.namespaces import needed, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
DISK, BUDGET, OBJECT = 16 * MIB, 8 * MIB, 3 * MIB

FILL = """
import errno, os
from proxystore.connectors.exceptions import ConnectorOSError
from proxystore.connectors.tcp import TCPConnector
from proxystore.node import status

connector = TCPConnector(port=0, budget=budget, spill=directory, unix=False)
port = connector.config()['port']
small = {connector.put(bytes([n]) * 100): bytes([n]) * 100 for n in range(100)}
stored = {}

def fill():
    while True:
        data = os.urandom(size)
        try:
            stored[connector.put(data)] = data
        except ConnectorOSError as e:
            return e

def check():
    for key, data in {**small, **stored}.items():
        assert connector.get(key) == data
    assert connector.get_batch(list(stored)) == list(stored.values())

def evict(count):
    for key in list(stored)[:count]:
        connector.evict(key)
        del stored[key]

refusals = []
for _ in range(2):
    refused = fill()
    refusals.append((refused.errno, str(refused), len(stored)))
    check()
    # As often as wanted, and of whatever size.
    for attempt in (
        lambda: connector.put(bytes(size)),
        lambda: connector.put_batch([b'small', bytes(size), bytes(size)]),
        lambda: connector.set(connector.new_key(), bytes(size)),
    ):
        try:
            attempt()
        except ConnectorOSError as e:
            refusals.append((e.errno, str(e), len(stored)))
    check()
    evict(3)
    for _ in range(2):
        data = os.urandom(size)
        stored[connector.put(data)] = data
    check()
evict(len(stored))
for key in small:
    connector.evict(key)
counted = status(port=port)
result = refusals, counted, port
connector.close()
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / 'disk'
    path.mkdir()
    return path


@pytest.fixture
def process(directory: Path, own_home: Path) -> Iterator[Interpreter]:
    """A process to which the directory is a small disk."""
    with contextlib.ExitStack() as stack:
        with needed():
            namespace = stack.enter_context(small_disk(directory, DISK))
        yield stack.enter_context(Interpreter(sys.executable, within=namespace))


def test_a_full_disk_refuses_and_loses_nothing(process: Interpreter, directory: Path) -> None:
    refusals, counted, port = process.run(
        FILL, directory=str(directory), budget=BUDGET, size=OBJECT
    )
    assert len(refusals) == 8
    for number, text, stored in refusals:
        assert number == errno.ENOSPC
        assert str(directory) in text
        assert f'127.0.0.1:{port}' in text
        # Memory and disk are used up, but for what is too little for one more.
        assert stored * OBJECT >= DISK
    names = ('objects', 'bytes', 'reserved_bytes', 'spilled_bytes')
    assert [counted[name] for name in names] == [0, 0, 0, 0]
