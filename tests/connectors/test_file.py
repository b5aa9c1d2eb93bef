"""The file connector over the Python API: its promises beyond the contract of all connectors."""

from __future__ import annotations

import errno
import gc
import logging
import mmap
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorKeyError,
    ConnectorOSError,
    ConnectorPathError,
    ConnectorPermissionError,
    ObjectCorruptedError,
)
from proxystore.connectors.file import FileConnector, FileKey
from tests.support.processes import run_in_child

LARGE = 1 << 20


@pytest.fixture
def connector(store_dir: str):
    with FileConnector(store_dir, clear=False) as connector:
        yield connector


def files(connector: FileConnector) -> list[str]:
    return sorted(os.listdir(connector.store_dir))


def test_small_objects_are_bytes_and_large_ones_writable_views(connector) -> None:
    assert type(connector.get(connector.put(b'small'))) is bytes
    view = connector.get(connector.put(bytes(LARGE)))
    assert type(view) is memoryview
    assert not view.readonly
    assert view.nbytes == LARGE


def test_what_is_written_to_a_view_nobody_else_sees(connector) -> None:
    key = connector.put(bytes(LARGE))
    first, second = connector.get(key), connector.get(key)
    first[:5] = b'mine!'
    assert bytes(first[:5]) == b'mine!'
    assert bytes(second[:5]) == bytes(5)
    assert connector.get(key) == bytes(LARGE)


def test_a_view_outlives_object_connector_and_directory(store_dir) -> None:
    connector = FileConnector(store_dir)
    put = os.urandom(LARGE)
    key = connector.put(put)
    view = connector.get(key)
    connector.evict(key)
    connector.close()
    del connector
    gc.collect()
    assert not Path(store_dir).exists()
    assert view == put


def test_a_view_does_not_change_when_the_key_is_set_again(connector) -> None:
    key = connector.new_key()
    connector.set(key, b'a' * LARGE)
    view = connector.get(key)
    connector.set(key, b'b' * LARGE)
    assert view == b'a' * LARGE
    assert connector.get(key) == b'b' * LARGE


def test_a_list_of_buffers_is_their_concatenation(connector) -> None:
    parts = [b'head', bytearray(b'middle'), memoryview(b'-tail-')[1:-1], b'']
    assert connector.get(connector.put(parts)) == b'headmiddletail'
    assert connector.get(connector.put([])) == b''
    assert connector.get(connector.put(tuple(parts))) == b'headmiddletail'


@pytest.mark.parametrize('obj', ['text', 1, None, object(), ['text'], [b'ok', 3]])
def test_what_has_no_bytes_is_refused_and_leaves_nothing(connector, obj) -> None:
    with pytest.raises(TypeError, match='buffer protocol'):
        connector.put(obj)
    assert files(connector) == []


def test_memory_that_is_not_contiguous_is_refused(connector) -> None:
    with pytest.raises(BufferError):
        connector.put(memoryview(b'abcdef')[::2])
    assert files(connector) == []


@pytest.mark.parametrize(
    'key',
    [
        FileKey('../x'),
        FileKey('/etc/passwd'),
        FileKey(''),
        FileKey('a' * 36),
        FileKey('0' * 36),
        FileKey(7),
        FileKey(None),
        FileKey('6F9619FF-8B86-4D11-B42D-00C04FC964FF'),
        FileKey('6f9619ff-8b86-4d11-b42d-00c04fc964ff\0'),
        ('6f9619ff-8b86-4d11-b42d-00c04fc964ff',),
        '6f9619ff-8b86-4d11-b42d-00c04fc964ff',
        None,
    ],
)
def test_a_forged_key_is_refused_by_every_operation(connector, key, tmp_path: Path) -> None:
    (tmp_path / 'x').write_text('not yours')
    (tmp_path / 'x.ready').touch()
    for operation in (
        connector.get,
        connector.exists,
        connector.evict,
        lambda key: connector.set(key, b''),
        lambda key: connector.get_batch([key]),
    ):
        with pytest.raises(ConnectorKeyError):
            operation(key)
    assert (tmp_path / 'x').read_text() == 'not yours'
    assert files(connector) == []


def damage(path: Path, change) -> None:
    os.chmod(path, 0o600)
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def test_damage_is_an_error_that_names_key_and_path(connector) -> None:
    key = connector.put(b'x' * 1000)
    path = Path(connector.store_dir, key.filename)
    damage(path, lambda data: data.pop())
    with pytest.raises(ObjectCorruptedError) as caught:
        connector.get(key)
    assert key.filename in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('size', [1000, LARGE])
def test_a_flipped_bit_on_disk_is_an_error(connector, size: int) -> None:
    if subprocess.check_output(['stat', '-f', '-c', '%T', connector.store_dir]) == b'tmpfs\n':
        pytest.fail('the temporary directory of the tests must be on a disk: set TMPDIR')
    key = connector.put(bytes(size))

    def flip(data: bytearray) -> None:
        data[size // 2] ^= 1

    damage(Path(connector.store_dir, key.filename), flip)
    with pytest.raises(ObjectCorruptedError):
        connector.get(key)


def test_every_damaged_byte_of_a_marker_is_noticed_or_harmless(connector) -> None:
    key = connector.put(b'payload')
    path = Path(connector.store_dir, f'{key.filename}.ready')
    marker = path.read_bytes()
    os.chmod(path, 0o600)
    for index in range(len(marker)):
        changed = bytearray(marker)
        changed[index] ^= 0xFF
        path.write_bytes(changed)
        with pytest.raises(ObjectCorruptedError):
            connector.get(key)
    for length in range(1, len(marker)):
        path.write_bytes(marker[:length])
        with pytest.raises(ObjectCorruptedError):
            connector.get(key)
    path.write_bytes(marker)
    assert connector.get(key) == b'payload'


def put_until_full(directory: str) -> tuple[int, list[str]]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    connector = FileConnector(directory, clear=False)
    kept = connector.put(b'before')
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE // 2, LARGE // 2))
    try:
        connector.put(bytes(LARGE))
    except ConnectorOSError as error:
        number = error.errno
    else:
        number = 0
    assert connector.get(kept) == b'before'
    return number, files(connector)


def test_a_put_that_finds_no_room_leaves_nothing(store_dir) -> None:
    number, left = run_in_child('spawn', put_until_full, store_dir)
    assert number == errno.EFBIG
    assert len(left) == 2, left


def as_nobody(directory: str) -> list[tuple[str, int]]:
    os.setuid(65534)
    refused = []
    for operation in (
        lambda: FileConnector(directory, clear=False).put(b'x'),
        lambda: FileConnector(os.path.join(directory, 'below')),
    ):
        try:
            operation()
        except ConnectorPermissionError as error:
            refused.append((error.filename, error.errno))
    return refused


def test_an_unwritable_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    directory = tmp_path / 'store'
    directory.mkdir(mode=0o555)
    if os.getuid() == 0:
        for parent in (*tmp_path.parents, tmp_path):
            if parent.is_relative_to('/tmp') and parent != Path('/tmp'):
                parent.chmod(parent.stat().st_mode | 0o111)
        refused = run_in_child('fork', as_nobody, str(directory))
        assert len(refused) == 2
        assert all(path.startswith(str(directory)) for path, _ in refused)
        assert {number for _, number in refused} == {errno.EACCES}
    else:
        with pytest.raises(PermissionError) as caught:
            FileConnector(directory, clear=False).put(b'x')
        assert caught.value.filename.startswith(str(directory))
    assert list(directory.iterdir()) == []


def test_a_directory_that_was_removed_is_an_error_that_names_it(connector) -> None:
    os.rmdir(connector.store_dir)
    with pytest.raises(ConnectorPathError) as caught:
        connector.put(b'x')
    assert isinstance(caught.value, FileNotFoundError)
    assert connector.store_dir in caught.value.filename


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(ConnectorOSError):
        FileConnector(tmp_path / 'file')


def test_errors_survive_pickling(connector) -> None:
    with pytest.raises(ConnectorKeyError) as key_error:
        connector.get(FileKey('../x'))
    os.rmdir(connector.store_dir)
    with pytest.raises(ConnectorPathError) as os_error:
        connector.put(b'x')
    for error in (key_error.value, os_error.value):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
    assert pickle.loads(pickle.dumps(os_error.value)).filename == os_error.value.filename


def test_close_removes_the_objects_only_when_told(store_dir) -> None:
    key = FileConnector(store_dir).put(b'x')
    gc.collect()
    with FileConnector(store_dir, clear=False) as connector:
        assert connector.get(key) == b'x'
    assert FileConnector(store_dir).exists(key)
    FileConnector(store_dir, clear=True).close(clear=False)
    assert FileConnector(store_dir).exists(key)
    FileConnector(store_dir, clear=False).close(clear=True)
    assert not Path(store_dir).exists()


def test_nothing_is_removed_at_exit(store_dir) -> None:
    code = f"""
from proxystore.connectors.file import FileConnector
connector = FileConnector({store_dir!r}, clear=True)
print(connector.put(b'kept').filename)
"""
    name = subprocess.check_output([sys.executable, '-c', code], text=True).strip()
    assert FileConnector(store_dir).get(FileKey(name)) == b'kept'


def test_files_of_others_are_not_removed(store_dir) -> None:
    connector = FileConnector(store_dir)
    key = connector.put(b'x')
    other = Path(store_dir, 'notes.txt')
    other.write_text('mine')
    connector.close()
    assert other.read_text() == 'mine'
    assert not Path(store_dir, key.filename).exists()


def test_closing_again_does_nothing_and_use_raises(store_dir) -> None:
    connector = FileConnector(store_dir)
    key = connector.put(b'x')
    connector.close()
    connector.close()
    for operation in (
        lambda: connector.put(b'x'),
        lambda: connector.get(key),
        lambda: connector.exists(key),
        lambda: connector.evict(key),
        connector.new_key,
    ):
        with pytest.raises(ConnectorClosedError):
            operation()


def test_the_configuration_holds_what_is_not_default(tmp_path: Path) -> None:
    plain = FileConnector(str(tmp_path / 'a'))
    assert plain.config() == {'store_dir': str(tmp_path / 'a')}
    other = FileConnector(str(tmp_path / 'b'), clear=False, buffering=0, fsync=True)
    assert other.config() == {
        'store_dir': str(tmp_path / 'b'),
        'clear': False,
        'buffering': 0,
        'fsync': True,
    }
    assert FileConnector.from_config(other.config()).config() == other.config()


def test_a_relative_directory_is_made_absolute(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    connector = FileConnector('store')
    key = connector.put(b'x')
    monkeypatch.chdir('/')
    assert connector.get(key) == b'x'
    assert connector.config()['store_dir'] == str(tmp_path / 'store')


@pytest.mark.parametrize(
    'options', [{'clear': 1}, {'buffering': 'x'}, {'fsync': 'no'}, {'store_dir': 3}]
)
def test_an_ill_typed_option_is_refused_by_name(store_dir, options) -> None:
    (name,) = options
    with pytest.raises(ConnectorConfigError, match=name):
        FileConnector(**{'store_dir': store_dir, **options})


@pytest.mark.parametrize('options', [{'buffering': 10**40}, {'store_dir': '/tmp/\udcff'}])
def test_an_option_that_cannot_be_expressed_is_refused(store_dir, options) -> None:
    with pytest.raises(ConnectorConfigError):
        FileConnector(**{'store_dir': store_dir, **options})


def test_fsync_puts_as_well(store_dir) -> None:
    with FileConnector(store_dir, fsync=True) as connector:
        key = connector.put(b'x' * LARGE)
        connector.set(key, b'y' * LARGE)
        assert connector.get(key) == b'y' * LARGE


def test_a_forked_child_shares_the_connector(connector) -> None:
    key = connector.put(b'parent' * LARGE)
    view = connector.get(key)

    def child() -> FileKey:
        assert view == b'parent' * LARGE
        assert connector.get(key) == view
        view[:1] = b'C'
        return connector.put(b'child')

    assert connector.get(run_in_child('fork', child)) == b'child'
    assert view[:1] == b'p'


def put_for_ever(directory: str, started: object) -> None:
    connector = FileConnector(directory, clear=False)
    payload = bytes(5_000_000)
    key = connector.new_key()
    while True:
        connector.put(payload)
        connector.set(key, payload)
        started.set()  # type: ignore[attr-defined]


def test_a_killed_producer_leaves_only_whole_objects(store_dir) -> None:
    context = multiprocessing.get_context('spawn')
    for _ in range(5):
        started = context.Event()
        producer = context.Process(target=put_for_ever, args=(store_dir, started))
        producer.start()
        assert started.wait(30)
        producer.kill()
        producer.join()
        producer.close()
    with FileConnector(store_dir) as connector:
        keys = [
            FileKey(name.removesuffix('.ready'))
            for name in os.listdir(store_dir)
            if name.endswith('.ready')
        ]
        assert keys
        for key in keys:
            assert connector.get(key) == bytes(5_000_000)
    assert not Path(store_dir).exists(), 'what was half written is removed with the rest'


def test_readers_of_a_key_that_is_set_see_whole_objects(connector) -> None:
    key = connector.new_key()
    connector.set(key, b'\0' * 300_000)
    stop = threading.Event()
    torn: list[object] = []

    def read() -> None:
        while not stop.is_set():
            found = connector.get(key)
            if found is None or found != bytes(found[:1]) * 300_000:
                torn.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(300):
        connector.set(key, bytes([value % 256]) * 300_000)
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_a_source_that_changes_meanwhile_is_stored_as_it_was_at_some_instant(connector) -> None:
    source = bytearray(8_000_000)
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            source[:] = bytes(len(source))
            source[:] = b'\1' * len(source)

    scribbler = threading.Thread(target=scribble)
    scribbler.start()
    try:
        for _ in range(20):
            key = connector.put(memoryview(source))
            assert len(connector.get(key)) == len(source)
            connector.evict(key)
    finally:
        stop.set()
        scribbler.join()


def test_more_than_4_gib_in_memory(tmp_path: Path) -> None:
    size = (4 << 30) + 5
    directory = Path('/dev/shm', f'proxystore-test-{os.getpid()}')
    with mmap.mmap(-1, size) as source, FileConnector(directory) as connector:
        source[-5:] = b'final'
        key = connector.put(source)
        view = connector.get(key)
        assert len(view) == size
        assert bytes(view[-6:]) == b'\0final'
        assert bytes(view[: 1 << 20]) == bytes(1 << 20)
        del view


def test_events_of_the_core_reach_logging(connector, caplog, store_dir) -> None:
    Path(store_dir, 'notes.txt').write_text('mine')
    with caplog.at_level(logging.WARNING, logger='proxystore'):
        connector.close(clear=True)
    records = [record for record in caplog.records if record.name.startswith('proxystore')]
    assert records, 'the core warns that the directory stays'
    assert store_dir in records[0].getMessage()
