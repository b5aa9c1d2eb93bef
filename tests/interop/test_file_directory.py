"""One directory under file connectors of both implementations at once."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from proxystore.connectors.file import FileConnector, FileKey
from tests.support.interpreter import Interpreter, RemoteError, upstream_python

OPEN = """
from proxystore.connectors.file import FileConnector, FileKey
connector = FileConnector(dir, clear=False)
"""

DROP_CAPABILITIES = """
import ctypes, struct
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
header = struct.pack('Ii', _LINUX_CAPABILITY_VERSION_3, 0)
if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)) != 0:
    raise OSError(ctypes.get_errno(), 'capset')
"""

sizes = pytest.mark.parametrize('size', [0, 1, 100, 70_000, 5_000_000])


@pytest.fixture(params=['disk', 'tmpfs'])
def directory(request: pytest.FixtureRequest, tmp_path: Path):
    """A directory on the disk, and one in shared memory."""
    if request.param == 'disk':
        yield str(tmp_path / 'store')
        return
    path = Path('/dev/shm') / f'proxystore-test-{os.getpid()}-{tmp_path.name}'
    yield str(path)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


@pytest.fixture
def ours(directory: str):
    with FileConnector(directory, clear=False) as connector:
        yield connector


@pytest.fixture
def theirs(directory: str, upstream: Interpreter):
    """Runs a snippet in which `connector` is upstream's connector of the same directory."""

    def run(code: str, **inputs: Any) -> Any:
        return upstream.run(OPEN + code, dir=directory, **inputs)

    return run


@pytest.fixture(scope='module')
def unprivileged_upstream():
    """Upstream in a process that minds the modes of files even if root runs the tests."""
    with Interpreter(upstream_python()) as interpreter:
        interpreter.run(DROP_CAPABILITIES)
        yield interpreter


def data(size: int) -> bytes:
    return os.urandom(size)


@sizes
def test_we_read_what_upstream_puts(size: int, ours, theirs) -> None:
    put = data(size)
    key = FileKey(theirs('result = connector.put(put).filename', put=put))
    assert ours.exists(key)
    got = ours.get(key)
    assert bytes(got) == put
    assert ours.get_batch([key, FileKey(key.filename)]) == [put, put]


@sizes
def test_upstream_reads_what_we_put(size: int, ours, theirs) -> None:
    put = data(size)
    key = ours.put(put)
    assert theirs(
        'key = FileKey(name); result = (connector.exists(key), connector.get(key) == put)',
        name=key.filename,
        put=put,
    ) == (True, True)


def test_either_evicts_the_others_objects(ours, theirs) -> None:
    name = theirs("result = connector.put(b'x').filename")
    ours.evict(FileKey(name))
    key = ours.put(b'y')
    assert theirs(
        """
        connector.evict(FileKey(ours))
        result = [connector.exists(FileKey(n)) for n in (name, ours)] + [
            connector.get(FileKey(n)) for n in (name, ours)]
        """.replace('        ', ''),
        name=name,
        ours=key.filename,
    ) == [False, False, None, None]
    assert not ours.exists(key)
    assert ours.get(key) is None
    assert list(Path(ours.store_dir).iterdir()) == []


def test_batches_cross(ours, theirs) -> None:
    names = theirs("result = [k.filename for k in connector.put_batch([b'1', b'', b'3'])]")
    assert ours.get_batch([FileKey(name) for name in names]) == [b'1', b'', b'3']
    keys = ours.put_batch([b'4', b''])
    assert theirs(
        'result = connector.get_batch([FileKey(name) for name in names])',
        names=[key.filename for key in keys],
    ) == [b'4', b'']


@sizes
def test_deferred_keys_cross(size: int, ours, theirs) -> None:
    put = data(size)
    name = theirs('result = connector.new_key().filename')
    assert not ours.exists(FileKey(name))
    assert ours.get(FileKey(name)) is None
    ours.set(FileKey(name), put)
    assert theirs('result = connector.get(FileKey(name)) == put', name=name, put=put)
    key = ours.new_key()
    theirs('connector.set(FileKey(name), put)', name=key.filename, put=put)
    assert bytes(ours.get(key)) == put


@sizes
def test_either_overwrites_the_others_objects(size: int, ours, theirs) -> None:
    key = ours.put(data(size))
    put = data(size + 1)
    theirs('connector.set(FileKey(name), put)', name=key.filename, put=put)
    assert bytes(ours.get(key)) == put
    again = data(size // 2)
    ours.set(key, again)
    assert theirs('result = connector.get(FileKey(name)) == put', name=key.filename, put=again)
    assert bytes(ours.get(key)) == again


@pytest.mark.parametrize('new_size', [0, 10, 1_000_000, 3_000_000])
def test_upstream_overwriting_its_object_leaves_a_held_view_intact(
    new_size: int, ours, theirs
) -> None:
    put = data(2_000_000)
    key = FileKey(theirs('result = connector.put(put).filename', put=put))
    view = ours.get(key)
    # Upstream writes into the file where it stands: a mapping of it would change, or end in SIGBUS.
    theirs('connector.set(FileKey(*key), put)', key=(key.filename,), put=data(new_size))
    assert bytes(view) == put
    assert len(ours.get(key)) == new_size
    theirs('connector.evict(FileKey(*key))', key=(key.filename,))
    assert bytes(view) == put


def test_upstream_cannot_write_into_our_object(
    ours, directory: str, unprivileged_upstream: Interpreter
) -> None:
    put = data(2_000_000)
    key = ours.put(put)
    view = ours.get(key)
    with pytest.raises(RemoteError, match='PermissionError'):
        unprivileged_upstream.run(
            OPEN + "connector.set(FileKey(name), b'x')", dir=directory, name=key.filename
        )
    assert bytes(view) == put
    assert bytes(ours.get(key)) == put


def test_upstreams_object_is_read_not_mapped(ours, theirs) -> None:
    put = data(4_000_000)
    name = theirs('result = connector.put(put).filename', put=put)
    view = ours.get(FileKey(name))
    theirs("connector.set(FileKey(name), b'')", name=name)
    assert bytes(view) == put
    maps = Path('/proc/self/maps').read_text()
    assert name not in maps


def test_view_outlives_eviction_by_upstream_and_is_writable(ours, theirs) -> None:
    put = data(16 * mmap.PAGESIZE)
    key = ours.put(put)
    view = memoryview(ours.get(key))
    theirs('connector.evict(FileKey(name))', name=key.filename)
    assert bytes(view) == put
    if not view.readonly:
        view[:3] = b'abc'
        assert bytes(view[:4]) == b'abc' + put[3:4]
    assert ours.get(key) is None


def test_upstream_clearing_the_directory_takes_our_objects_along(ours, theirs) -> None:
    key = ours.put(b'x')
    theirs('connector.close(clear=True)')
    assert not ours.exists(key)
    assert ours.get(key) is None
    assert not Path(ours.store_dir).exists()
    Path(ours.store_dir).mkdir()


def test_connector_made_from_the_others_config(ours, theirs, directory: str) -> None:
    config = theirs('result = connector.config()')
    assert config == {'store_dir': directory, 'clear': False, 'buffering': -1}
    with FileConnector.from_config(config) as ours_too:
        assert ours_too.get(ours.put(b'x')) == b'x'
    assert theirs('result = FileConnector.from_config(config).config()', config=ours.config()) == (
        config
    )
