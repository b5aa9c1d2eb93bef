"""Every connector keeps the contract: one line of SUBJECTS for each connector."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from proxystore import _native
from proxystore.conformance import CASES, Case, ConformanceError, Subject
from proxystore.connectors.file import FileConnector, FileKey
from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.connectors.multi import MultiConnector, MultiKey, Policy
from proxystore.connectors.shm import ShmConnector, ShmKey
from tests.connectors.redis.support import UNTESTABLE, RedisSubject
from tests.connectors.tcp.support import UNTESTABLE as UNTESTABLE_IN_NODES
from tests.connectors.tcp.support import TcpSubject

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGED = ('../x', '/etc/passwd', '', '0' * 36, 'x' * 1000)


def capabilities(kind: str) -> dict[str, Any]:
    (row,) = (row for row in _native.connectors() if row['kind'] == kind)
    return row['capabilities']


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes, as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


class FileSubject(Subject):
    capabilities: ClassVar = {
        **capabilities('file'),
        'verifies': True,
        # On its way through a method of Python that takes `bytes`, an object is copied.
        'transit_memory': None,
    }
    key_type = FileKey

    def __init__(self, directory: Path) -> None:
        self.directory = directory / 'objects'

    def open(self) -> FileConnector:
        return FileConnector(str(self.directory), clear=False)

    def forged_keys(self) -> list[Any]:
        return [*map(FileKey, FORGED), LocalKey('0' * 36)]

    def stored(self) -> list[str]:
        return sorted(os.listdir(self.directory)) if self.directory.exists() else []

    def damage(self, key: Any, damage: str) -> bool:
        path = self.directory / key.filename
        data = bytearray(path.read_bytes())
        path.chmod(0o600)
        if damage == 'flipped bit':
            data[len(data) // 2] ^= 1
        elif damage == 'truncated':
            data.pop()
        else:
            data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        path.write_bytes(data)
        return True

    def full(self) -> contextlib.AbstractContextManager[None]:
        return file_size_limit(1 << 20)

    def plant(self) -> Any:
        self.directory.mkdir(exist_ok=True)
        other = self.directory / 'notes.txt'
        other.write_text('mine')
        return other.exists


class LocalSubject(Subject):
    capabilities: ClassVar = {'deferrable': True}
    key_type = LocalKey

    def __init__(self, _: Path) -> None:
        self.objects: dict[LocalKey, Any] = {}

    def open(self) -> LocalConnector:
        return LocalConnector(self.objects)

    def reopen(self, config: dict[str, Any]) -> LocalConnector:
        return LocalConnector(self.objects, **config)

    def forged_keys(self) -> list[Any]:
        return [FileKey('0' * 36), MultiKey('x', LocalKey('y'))]


class MultiSubject(FileSubject):
    # Closing it closes its connectors, each as its own options say.
    capabilities: ClassVar = {
        **FileSubject.capabilities,
        'deferrable': False,
        'outlives_process': False,
    }

    def open(self) -> MultiConnector:
        small = FileConnector(str(self.directory / 'small'), clear=False)
        large = FileConnector(str(self.directory / 'large'), clear=False)
        return MultiConnector(
            {'small': (small, Policy(1, max_size_bytes=1000)), 'large': (large, Policy())}
        )

    def make_key(self, *fields: Any) -> Any:
        if len(fields) == 2 and isinstance(fields[1], tuple):
            return MultiKey(fields[0], FileKey(*fields[1]))
        return super().make_key(*fields)

    def forged_keys(self) -> list[Any]:
        return [MultiKey('small', FileKey('../x')), FileKey('0' * 36), MultiKey('small', ('x',))]

    def stored(self) -> list[str]:
        return sorted(name for _, _, names in os.walk(self.directory) for name in names)

    def damage(self, key: Any, damage: str) -> bool:
        inner = FileSubject(self.directory)
        inner.directory = self.directory / key.connector_name
        return inner.damage(key.connector_key, damage)


class ShmSubject(Subject):
    capabilities: ClassVar = {
        **capabilities('shm'),
        # On its way through a method of Python that takes `bytes`, an object is copied.
        'transit_memory': None,
    }
    key_type = ShmKey

    def __init__(self, _: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix='proxystore-tests-', dir='/dev/shm'))
        weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)

    def open(self) -> ShmConnector:
        return ShmConnector(directory=self.directory)

    def forged_keys(self) -> list[Any]:
        return [ShmKey(1, 0), ShmKey(-1, 1 << 61 | 1), ShmKey(1, 1 << 61), FileKey('0' * 36)]

    def stored(self) -> list[str]:
        # What a slab holds is not to be seen from outside; objects of the cases are large, too.
        return sorted(path.name for path in self.directory.glob('*/s*'))

    def full(self) -> contextlib.AbstractContextManager[None]:
        return file_size_limit(1 << 20)

    def plant(self) -> Any:
        self.open().close()
        other = self.directory / 'default' / 'notes.txt'
        other.write_text('mine')
        return other.exists


#: For each connector, its subject and the cases that cannot be set up for it.
SUBJECTS: dict[str, tuple[type[Any], set[str]]] = {
    'file': (FileSubject, set()),
    'local': (
        LocalSubject,
        {
            # A dictionary has no bytes of its own to damage, no limit, and nothing beside it.
            'close-spares-what-is-not-owned',
            'failed-batch-leaves-nothing',
            'failed-put-leaves-nothing',
            'failed-set-changes-nothing',
            'half-written-object-is-an-error',
            'truncated-object-is-an-error',
        },
    ),
    'multi': (MultiSubject, set()),
    'redis': (RedisSubject, UNTESTABLE),
    'shm': (
        ShmSubject,
        # Damage is done by its own tests, which know where in the files things are.
        {'half-written-object-is-an-error', 'truncated-object-is-an-error'},
    ),
    'tcp': (TcpSubject, UNTESTABLE_IN_NODES),
}


@pytest.mark.parametrize('case', [case for case in CASES if not case.heavy], ids=str)
@pytest.mark.parametrize('kind', sorted(SUBJECTS))
def test_contract(kind: str, case: Case, tmp_path: Path) -> None:
    subject, untestable = SUBJECTS[kind]
    outcome = case.run(subject(tmp_path))
    assert (outcome == 'untestable') == (case.name in untestable), outcome


class ForgetfulConnector(LocalConnector):
    """A third party's connector that loses every object of more than 99 bytes."""

    def get(self, key: LocalKey) -> Any:
        found = super().get(key)
        return found if found is None or len(found) < 100 else None


class ForgetfulSubject(LocalSubject):
    def open(self) -> LocalConnector:
        return ForgetfulConnector(self.objects)


def test_a_broken_connector_fails_and_the_failure_says_why(tmp_path: Path) -> None:
    failures = []
    for case in CASES:
        if not case.heavy:
            try:
                case.run(ForgetfulSubject(tmp_path))
            except ConformanceError as error:
                failures.append(str(error))
    assert any(failure.startswith('get-returns-what-was-put: ') for failure in failures)
    assert all('contract: ' in failure for failure in failures)


class OpenDoorConnector(LocalConnector):
    """A third party's connector that does not mind what it is asked for."""

    def _check(self, key: Any) -> None:
        pass

    def get(self, key: Any) -> Any:
        return self._store.get(key)


class OpenDoorSubject(LocalSubject):
    def open(self) -> LocalConnector:
        return OpenDoorConnector(self.objects)


@pytest.mark.parametrize(
    'name',
    ['foreign-keys-are-refused', 'wrong-types-are-refused', 'closed-connectors-refuse'],
)
def test_a_connector_that_refuses_nothing_fails(name: str, tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == name)
    with pytest.raises(ConformanceError, match=name):
        case.run(OpenDoorSubject(tmp_path))


class ShuffledConnector(LocalConnector):
    """A third party's connector whose batches come in the wrong order."""

    def get_batch(self, keys: Any) -> Any:
        return super().get_batch(keys)[::-1]


class ShortConnector(LocalConnector):
    """A third party's connector whose batches leave out what is not there."""

    def get_batch(self, keys: Any) -> Any:
        return [found for found in super().get_batch(keys) if found is not None]


class KeylessConnector(LocalConnector):
    """A third party's connector that forgets the last key of a batch."""

    def put_batch(self, objs: Any) -> Any:
        return super().put_batch(objs)[:-1]


@pytest.mark.parametrize('kind', [ShuffledConnector, ShortConnector, KeylessConnector])
def test_batches_are_those_of_the_connector(kind: type[LocalConnector], tmp_path: Path) -> None:
    class BatchSubject(LocalSubject):
        def open(self) -> LocalConnector:
            return kind(self.objects)

    (case,) = (case for case in CASES if case.name == 'batches-keep-their-order')
    with pytest.raises(ConformanceError, match='batches-keep-their-order'):
        case.run(BatchSubject(tmp_path))


class ProtocolConnector:
    """A third party's connector that has the methods of the protocol and no other."""

    def __init__(self, connector: LocalConnector) -> None:
        for name in ('close', 'config', 'evict', 'exists', 'get', 'get_batch', 'put', 'put_batch'):
            setattr(self, name, getattr(connector, name))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ProtocolConnector:
        return cls(LocalConnector.from_config(config))


def test_what_the_protocol_does_not_ask_for_is_not_asked_for(tmp_path: Path) -> None:
    class ProtocolSubject(LocalSubject):
        capabilities: ClassVar = {**LocalSubject.capabilities, 'deferrable': False}

        def open(self) -> Any:
            return ProtocolConnector(LocalConnector(self.objects))

    for case in CASES:
        if not case.heavy:
            case.run(ProtocolSubject(tmp_path))


def test_names_are_unique_and_every_case_has_a_sentence() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(case.contract for case in CASES)
