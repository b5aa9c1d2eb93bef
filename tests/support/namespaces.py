"""Namespaces of the kernel that tests have for themselves: hosts with a cable, and a small disk.

The superuser makes them, and whoever may make namespaces of users.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEAR = '192.0.2.1'
FAR = '192.0.2.2'
#: An address of the same network, behind which nothing is.
NOBODY = '192.0.2.9'

_DEVICES = {NEAR: 'near', FAR: 'far'}
_CARDS = {NEAR: '02:00:00:00:00:01', FAR: '02:00:00:00:00:02'}
#: The card of no host: what is sent to it is dropped without a word.
_NO_CARD = '02:00:00:00:00:99'

_PROGRAMS = ('unshare', 'nsenter', 'ip', 'mount')


class UnavailableError(Exception):
    """This user may not make namespaces, or the programs for it are missing."""


class Namespace:
    """Namespaces of one process, which last until they are closed. A context manager.

    Args:
        kinds: What is to be apart: 'net' or 'mount'.
        within: Namespaces whose user these belong to; made for them unless given.

    Attributes:
        pid: The process.

    Raises:
        UnavailableError: If they cannot be made.
    """

    def __init__(self, *kinds: str, within: Namespace | None = None) -> None:
        self._kinds = kinds
        self._has_user = within._has_user if within is not None else os.geteuid() != 0
        user = ['--user', '--map-root-user'] if self._has_user and within is None else []
        outside = [] if within is None else within.command()
        own = ['unshare', *user, *(f'--{kind}' for kind in kinds), '--']
        # It ends with its input, which ends with this process.
        program = ['sh', '-c', 'echo ready && exec cat']
        try:
            self._process = subprocess.Popen(
                [*outside, *own, *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except FileNotFoundError as e:
            msg = f'{e.filename} is missing'
            raise UnavailableError(msg) from e
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b'ready\n':
            self.close()
            msg = f'{" ".join(own)} is refused'
            raise UnavailableError(msg)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends them, once the last process within has ended. Idempotent."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def command(self) -> list[str]:
        """What to put before a command that shall run there."""
        kinds = [*(['user'] if self._has_user else []), *self._kinds]
        return ['nsenter', '--target', str(self.pid), *(f'--{kind}' for kind in kinds), '--']

    def run(self, *command: str) -> None:
        """Runs a command there.

        Raises:
            UnavailableError: If it is missing or fails.
        """
        env = {**os.environ, 'PATH': _with_the_superusers_programs()}
        done = subprocess.run(
            [*self.command(), *command], capture_output=True, text=True, env=env, check=False
        )
        if done.returncode != 0:
            msg = f'{" ".join(command)}: {done.stderr.strip()}'
            raise UnavailableError(msg)


class Cable:
    """Two hosts, `near` (at `NEAR`) and `far` (at `FAR`), and a cable that can be cut.

    What is sent to `NOBODY` is lost at any time. A context manager.

    Raises:
        UnavailableError: If they cannot be made.
    """

    def __init__(self) -> None:
        with contextlib.ExitStack() as stack:
            self.near = stack.enter_context(Namespace('net'))
            self.far = stack.enter_context(Namespace('net', within=self.near))
            self._hosts = {NEAR: self.near, FAR: self.far}
            far = ['peer', 'name', _DEVICES[FAR], 'netns', str(self.far.pid)]
            self.near.run('ip', 'link', 'add', _DEVICES[NEAR], 'type', 'veth', *far)
            for address, host in self._hosts.items():
                device = _DEVICES[address]
                host.run('ip', 'link', 'set', 'lo', 'up')
                host.run('ip', 'address', 'add', f'{address}/24', 'dev', device)
                host.run('ip', 'link', 'set', device, 'address', _CARDS[address], 'up')
                self._lead(host, device, NOBODY, _NO_CARD)
            self.mend()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cut(self) -> None:
        """Loses from now on whatever either host sends, and tells neither."""
        self._connect(dict.fromkeys(_CARDS, _NO_CARD))

    def mend(self) -> None:
        """Ends what `cut` began."""
        self._connect(_CARDS)

    def _connect(self, cards: dict[str, str]) -> None:
        for address, host in self._hosts.items():
            (other,) = self._hosts.keys() - {address}
            self._lead(host, _DEVICES[address], other, cards[other])

    def _lead(self, host: Namespace, device: str, address: str, card: str) -> None:
        place = ['lladdr', card, 'dev', device, 'nud', 'permanent']
        host.run('ip', 'neighbour', 'replace', address, *place)


@contextlib.contextmanager
def small_disk(directory: Path, size: int) -> Iterator[Namespace]:
    """Namespaces in which a directory is a disk of `size` bytes.

    Raises:
        UnavailableError: If they cannot be made.
    """
    with Namespace('mount') as namespace:
        options = ['-t', 'tmpfs', '-o', f'size={size}']
        namespace.run('mount', *options, 'none', str(directory))
        yield namespace


@contextlib.contextmanager
def needed() -> Iterator[Any]:
    """A context in which a test is skipped where the system refuses namespaces.

    Programs that are missing can be installed, so where it counts they are a failure.
    """
    path = _with_the_superusers_programs()
    missing = [name for name in _PROGRAMS if shutil.which(name, path=path) is None]
    if missing and os.environ.get('CI'):
        msg = f'{", ".join(missing)} missing: install util-linux and iproute2'
        raise UnavailableError(msg)
    try:
        yield
    except UnavailableError as e:
        pytest.skip(f'no namespaces here: {e}')


def _with_the_superusers_programs() -> str:
    """Search path of programs; not every user's has those of the superuser."""
    return f'{os.environ.get("PATH", "")}:/usr/sbin:/sbin'
