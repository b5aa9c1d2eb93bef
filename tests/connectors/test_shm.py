"""Shared memory, as programs use it: processes that share, die, fork, and run out of room."""

from __future__ import annotations

import gc
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from proxystore.connectors.exceptions import (
    ConnectorClosedError,
    ConnectorConfigError,
    ConnectorKeyError,
    ConnectorOSError,
    ConnectorPermissionError,
    ConnectorUnavailableError,
    ObjectCorruptedError,
)
from proxystore.connectors.multi import MultiConnector, Policy
from proxystore.connectors.shm import ShmConnector, ShmKey
from proxystore.proxy import Proxy
from proxystore.serialize import SerializationError
from proxystore.store import Store
from proxystore.store.lifetimes import ContextLifetime
from tests.support.processes import run_in_child

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 4 << 20


@pytest.fixture
def memory() -> Iterator[str]:
    """Directory for namespaces, in memory."""
    path = tempfile.mkdtemp(prefix='proxystore-tests-', dir='/dev/shm')
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def connector(memory: str) -> Iterator[ShmConnector]:
    with ShmConnector(directory=memory) as connector:
        yield connector


@pytest.fixture
def store(memory: str) -> Iterator[Store[ShmConnector]]:
    with Store('shm', ShmConnector(directory=memory), register=True) as store:
        yield store


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


def get_in_child(config: dict[str, Any], key: Any) -> bytes | None:
    with ShmConnector.from_config(config) as connector:
        found = connector.get(key)
        return None if found is None else bytes(found)


class TestKeys:
    def test_a_key_is_a_small_named_tuple(self, connector: ShmConnector) -> None:
        for size in (0, 100, 1 << 20):
            key = connector.put(bytes(size))
            assert type(key) is ShmKey
            assert pickle.loads(pickle.dumps(key)) == key
            assert len(pickle.dumps(key)) < 100

    def test_keys_of_others_are_refused(self, connector: ShmConnector) -> None:
        key = connector.put(b'x')
        for forged in (
            ShmKey(key.namespace, 0),
            ShmKey(key.namespace, -1),
            ShmKey(-1, key.reference),
            ShmKey(key.namespace, 1 << 62),
            ShmKey('x', 'y'),  # type: ignore[arg-type]
            (key.namespace, key.reference),
        ):
            with pytest.raises(ConnectorKeyError):
                connector.get(forged)  # type: ignore[arg-type]
        assert connector.get(key) == b'x'

    def test_another_namespace_is_an_error_that_says_so(
        self, connector: ShmConnector, memory: str
    ) -> None:
        key = connector.put(b'x')
        with ShmConnector('another', directory=memory) as other:
            for operation in (other.get, other.exists, other.evict):
                with pytest.raises(ConnectorUnavailableError, match='namespace'):
                    operation(key)

    def test_a_stale_key_never_names_what_came_later(self, connector: ShmConnector) -> None:
        for size in (100, LARGE):
            stale = connector.put(b'a' * size)
            connector.evict(stale)
            later = [connector.put(b'b' * size) for _ in range(20)]
            assert connector.get(stale) is None
            assert not connector.exists(stale)
            connector.evict(stale)
            assert all(connector.exists(key) for key in later)


class TestViews:
    def test_a_view_is_private_and_writable(self, store: Store[ShmConnector]) -> None:
        original = array()
        key = store.put(original)
        first, second = store.get(key), store.get(key)
        first[:] = 0
        np.testing.assert_array_equal(second, original)
        np.testing.assert_array_equal(store.get(key), original)

    def test_a_view_survives_key_store_and_producer(self, memory: str) -> None:
        store = Store('views', ShmConnector(directory=memory))
        key = store.put(array())
        view = store.get(key)
        store.evict(key)
        for seed in range(1, 10):
            store.evict(store.put(array(seed=seed)))
        store.close()
        del store
        gc.collect()
        with ShmConnector(directory=memory) as another:
            for seed in range(10):
                another.evict(another.put(array(seed=seed)))
            np.testing.assert_array_equal(view, array())

    def test_views_are_not_cached(self, store: Store[ShmConnector]) -> None:
        key = store.put(array())
        view = store.get(key)
        assert not store.is_cached(key)
        assert store.exists(key)
        del view
        small = store.put({'a': 1})
        store.get(small)
        assert store.is_cached(small)

    def test_what_was_copied_out_of_a_view_is_cached(self, store: Store[ShmConnector]) -> None:
        key = store.put(b'x' * LARGE)
        assert store.get(key) is store.get(key)
        assert store.is_cached(key)

    def test_a_copy_is_equal_and_keeps_nothing_back(self, store: Store[ShmConnector]) -> None:
        key = store.put(array())
        copied = store.get(key, copy=True)
        np.testing.assert_array_equal(copied, array())
        copied[:] = 1
        np.testing.assert_array_equal(store.get(key), array())

    def test_memory_is_used_again_only_when_no_view_is_left(
        self, store: Store[ShmConnector], memory: str
    ) -> None:
        def segments() -> set[str]:
            return {path.name for path in Path(memory, 'default').glob('s*')}

        key = store.put(array())
        (used,) = segments()
        one, two = store.get(key), store.get(key)
        store.evict(key)
        store.evict(store.put(array(seed=1)))
        assert len(segments()) == 2, 'the views of the first segment kept it'
        del one
        store.evict(store.put(array(seed=2)))
        np.testing.assert_array_equal(two, array())
        del two
        for seed in range(5):
            store.evict(store.put(array(seed=seed)))
        assert len(segments()) == 2
        assert used in segments()

    def test_ten_thousand_views_need_no_descriptors(self, memory: str) -> None:
        code = """
import resource, sys
import numpy as np
from proxystore.connectors.shm import ShmConnector
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
connector = ShmConnector(directory=sys.argv[1])
keys = [connector.put(index.to_bytes(4, 'little') * 8192) for index in range(100)]
views = [connector.get(keys[index % 100]) for index in range(10_000)]
for key in keys:
    connector.evict(key)
for index in range(100):
    connector.put(b'other' * 8192)
assert all(bytes(view[:4]) == (index % 100).to_bytes(4, 'little')
           for index, view in enumerate(views))
"""
        python(code, memory)

    def test_where_the_kernel_maps_no_more_objects_are_copied(self, memory: str) -> None:
        code = """
import mmap, sys
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(directory=sys.argv[1])
key = connector.put(b'x' * 100_000)
limit = int(open('/proc/sys/vm/max_map_count').read())
# At the limit the heap does not grow any more: copies need room that it has already.
room = [bytearray(120_000) for _ in range(200)]
above = room.pop()
kept = []
try:
    for index in range(limit):
        # Mappings of two kinds in turn, which the kernel cannot join.
        kept.append(mmap.mmap(-1, 4096, prot=mmap.PROT_READ | (mmap.PROT_WRITE * (index % 2))))
except OSError:
    pass
del kept[:20], room
views = [connector.get(key) for _ in range(100)]
assert all(view == b'x' * 100_000 for view in views)
print(sum(view.obj.is_guarded for view in views), len(views))
"""
        mapped, everything = map(int, python(code, memory).stdout.split())
        assert mapped < everything


class TestProcesses:
    def test_a_producer_may_exit_before_its_consumer_starts(self, memory: str) -> None:
        code = """
import pickle, sys
import numpy as np
from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
store = Store('gone', ShmConnector(directory=sys.argv[1]))
proxies = [store.proxy(np.arange(1_000_000)), store.proxy({'a': 1})]
sys.stdout.buffer.write(pickle.dumps(proxies))
"""
        output = subprocess.run(
            [sys.executable, '-c', code, memory], capture_output=True, check=True, timeout=60
        ).stdout
        large, small = pickle.loads(output)
        assert type(large) is Proxy
        assert large.sum() == sum(range(1_000_000))
        assert small == {'a': 1}

    @pytest.mark.parametrize('size', [0, 1, 16 << 10, (16 << 10) + 1, LARGE])
    def test_every_kind_of_child_gets_what_was_put(
        self, connector: ShmConnector, start_method: str, size: int
    ) -> None:
        data = os.urandom(size)
        key = connector.put(data)
        assert run_in_child(start_method, get_in_child, connector.config(), key) == data

    def test_a_killed_producer_loses_nothing_that_it_put(self, memory: str) -> None:
        code = """
import os, pickle, signal, sys
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(directory=sys.argv[1])
keys = [connector.put(bytes([index]) * size) for index in range(50) for size in (100, 100_000)]
evicted = [connector.put(b'e' * 100_000) for _ in range(20)]
for key in evicted:
    connector.evict(key)
sys.stdout.buffer.write(pickle.dumps(keys))
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
        ended = subprocess.run(
            [sys.executable, '-c', code, memory], capture_output=True, check=False, timeout=60
        )
        assert ended.returncode == -signal.SIGKILL
        keys = pickle.loads(ended.stdout)
        with ShmConnector(directory=memory) as connector:
            for position, key in enumerate(keys):
                size = (100, 100_000)[position % 2]
                assert connector.get(key) == bytes([position // 2]) * size
            assert len(list(Path(memory, 'default').glob('s*'))) == 50
            assert len(list(Path(memory, 'default').glob('pins*'))) == 1

    def test_a_namespace_ends_when_its_time_is_over(self, memory: str) -> None:
        with ShmConnector(directory=memory, hold=0) as connector:
            keys = [connector.put(b'x' * size) for size in (10, LARGE)]
        del connector
        gc.collect()
        code = """
import pickle, sys
from proxystore.connectors.exceptions import ConnectorUnavailableError
from proxystore.connectors.shm import ShmConnector, ShmKey
connector = ShmConnector(directory=sys.argv[1])
for fields in pickle.loads(bytes.fromhex(sys.argv[2])):
    try:
        connector.get(ShmKey(*fields))
    except ConnectorUnavailableError as error:
        print(error)
"""
        fields = pickle.dumps([tuple(key) for key in keys]).hex()
        lines = python(code, memory, fields).stdout.splitlines()
        assert len(lines) == 2
        assert all('ended' in line for line in lines)

    def test_a_removed_directory_is_an_error_that_says_so(self, memory: str) -> None:
        connector = ShmConnector(directory=memory)
        key = connector.put(b'x' * LARGE)
        view = connector.get(key)
        shutil.rmtree(Path(memory, 'default'))
        with pytest.raises(ConnectorUnavailableError, match='removed'):
            connector.get(key)
        assert view == b'x' * LARGE

    def test_forked_children_put_get_and_keep_views(self, connector: ShmConnector) -> None:
        key = connector.put(array().tobytes())
        view = connector.get(key)

        def work() -> list[bool]:
            mine = [connector.put(bytes([index]) * LARGE) for index in range(5)]
            good = [connector.get(key) == bytes([index]) * LARGE for index, key in enumerate(mine)]
            for one in mine:
                connector.evict(one)
            return [*good, view == array().tobytes(), connector.get(key) == view]

        assert all(run_in_child('fork', work))
        assert view == array().tobytes()

    def test_a_child_keeps_its_view_when_the_parent_lets_go(self, connector: ShmConnector) -> None:
        ready, go = os.pipe(), os.pipe()
        key = connector.put(array().tobytes())
        view = connector.get(key)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.write(ready[1], b'x')
                os.read(go[0], 1)
                code = 0 if view == array().tobytes() else 2
            finally:
                os._exit(code)
        os.read(ready[0], 1)
        del view
        connector.evict(key)
        for seed in range(1, 8):
            connector.evict(connector.put(array(seed=seed).tobytes()))
        os.write(go[1], b'x')
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for descriptor in (*ready, *go):
            os.close(descriptor)

    def test_forks_while_threads_work(self, connector: ShmConnector) -> None:
        stop = threading.Event()
        failures: list[str] = []

        def work(number: int) -> None:
            while not stop.is_set():
                for size in (50, 5000, 200_000):
                    data = bytes([number]) * size
                    key = connector.put(data)
                    if connector.get(key) != data:
                        failures.append(f'{number} {size}')
                    connector.evict(key)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            for round_ in range(30):
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        data = bytes([100 + round_]) * 300_000
                        key = connector.put(data)
                        code = 0 if connector.get(key) == data else 2
                        connector.evict(key)
                    finally:
                        os._exit(code)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures


class TestStore:
    def test_lifetimes_end_and_views_stay(self, store: Store[ShmConnector]) -> None:
        with ContextLifetime(store) as lifetime:
            proxy = store.proxy(array(), lifetime=lifetime, populate_target=False)
            resolved = proxy + 0
            view = proxy[:]
        assert not store.exists(proxy.__proxy_factory__.key)
        for seed in range(1, 5):
            store.evict(store.put(array(seed=seed)))
        np.testing.assert_array_equal(view, resolved)

    def test_owned_proxies_evict(self, store: Store[ShmConnector]) -> None:
        owner = store.owned_proxy(array())
        key = owner.__proxy_factory__.key
        assert store.exists(key)
        del owner
        gc.collect()
        assert not store.exists(key)

    def test_futures(self, store: Store[ShmConnector]) -> None:
        for obj in ({'a': 1}, array()):
            future = store.future(polling_interval=0.01)
            proxy = future.proxy()
            threading.Timer(0.05, future.set_result, [obj]).start()
            assert (proxy == obj) if isinstance(obj, dict) else (proxy == obj).all()

    def test_two_setters_of_one_key_leave_one_object(self, memory: str) -> None:
        with ShmConnector(directory=memory) as connector:
            key = connector.new_key()
            for round_ in range(10):
                threads = [
                    threading.Thread(target=connector.set, args=(key, bytes([number]) * LARGE))
                    for number in (2 * round_, 2 * round_ + 1)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                found = connector.get(key)
                assert found in (bytes([2 * round_]) * LARGE, bytes([2 * round_ + 1]) * LARGE)
                del found
            connector.evict(key)
            assert connector.get(key) is None
            (namespace,) = report(memory)
            assert namespace['objects'] == 0

    def test_verified_objects_notice_flipped_bytes(self, memory: str) -> None:
        with Store('verified', ShmConnector(directory=memory), verify=True) as store:
            key = store.put(array())
            (segment,) = Path(memory, 'default').glob('s*')
            with segment.open('r+b') as file:
                file.seek(LARGE // 2)
                byte = file.read(1)
                file.seek(LARGE // 2)
                file.write(bytes([byte[0] ^ 1]))
            with pytest.raises(SerializationError) as caught:
                store.get(key)
            assert 'checksum' in ''.join(map(str, (caught.value, caught.value.__cause__)))

    def test_a_consumer_that_verifies_refuses_what_has_no_sums(self, memory: str) -> None:
        with (
            Store('plain', ShmConnector(directory=memory)) as plain,
            Store('verified', ShmConnector(directory=memory), verify=True) as verified,
        ):
            key = plain.put(array())
            with pytest.raises(SerializationError) as caught:
                verified.get(key)
            assert 'checksum' in str(caught.value.__cause__)

    def test_inside_a_multi_connector(self, memory: str) -> None:
        small = ShmConnector('small', directory=memory)
        large = ShmConnector('large', directory=memory)
        multi = MultiConnector(
            {'small': (small, Policy(1, max_size_bytes=1000)), 'large': (large, Policy())}
        )
        with Store('multi', multi) as store:
            key = store.put(array())
            assert key.connector_name == 'large'
            np.testing.assert_array_equal(store.get(key), array())
            assert not store.is_cached(key)
            assert store.get(store.put('x')) == 'x'


class TestRoom:
    def test_a_budget_is_kept(self, memory: str) -> None:
        with ShmConnector(directory=memory, budget=10 << 20) as connector:
            keys = [connector.put(bytes(LARGE)) for _ in range(2)]
            with pytest.raises(ConnectorOSError, match='budget'):
                connector.put(bytes(LARGE))
            assert all(connector.exists(key) for key in keys)
            connector.evict(keys[0])
            connector.put(bytes(LARGE))

    def test_what_does_not_fit_is_spilled(self, memory: str, tmp_path: Path) -> None:
        spill = tmp_path / 'spill'
        spill.mkdir()
        with Store('spill', ShmConnector(directory=memory, budget=10 << 20, spill=spill)) as store:
            keys = [store.put(array(seed=seed)) for seed in range(6)]
            assert list(spill.iterdir())
            views = [store.get(key) for key in keys]
            for key in keys:
                store.evict(key)
            assert not list(spill.iterdir())
            for seed, view in enumerate(views):
                np.testing.assert_array_equal(view, array(seed=seed))

    def test_more_than_the_machine_has_is_refused_before_anything_is_written(
        self, memory: str
    ) -> None:
        with ShmConnector(directory=memory) as connector:
            block = bytes(64 << 20)
            too_much = [block] * 4096
            with pytest.raises(ConnectorOSError, match='room'):
                connector.put(too_much)
            assert not list(Path(memory, 'default').glob('s*'))

    def test_many_small_objects(self, connector: ShmConnector) -> None:
        keys = [connector.put(index.to_bytes(4, 'little') * 25) for index in range(100_000)]
        assert len(set(keys)) == len(keys)
        found = connector.get_batch(keys[::97])
        assert found == [index.to_bytes(4, 'little') * 25 for index in range(0, 100_000, 97)]
        for key in keys:
            connector.evict(key)

    def test_descriptors_are_not_leaked(self, connector: ShmConnector) -> None:
        before = len(os.listdir('/proc/self/fd'))
        views = [connector.get(connector.put(bytes(LARGE))) for _ in range(20)]
        assert len(os.listdir('/proc/self/fd')) == before
        del views


class TestBadInput:
    @pytest.mark.parametrize(
        'options',
        [
            {'namespace': ''},
            {'namespace': '../x'},
            {'namespace': 'x' * 65},
            {'namespace': '.hidden'},
            {'budget': -1},
            {'budget': 'much'},
            {'hold': -1.0},
            {'hold': float('nan')},
            {'pool': -1},
            {'clear': 'yes'},
        ],
    )
    def test_options(self, options: dict[str, Any], memory: str) -> None:
        with pytest.raises(ConnectorConfigError):
            ShmConnector(**{'directory': memory, **options})

    def test_a_disk_is_no_memory(self, tmp_path: Path) -> None:
        if os.statvfs(tmp_path).f_fsid == os.statvfs('/dev/shm').f_fsid:
            directory = Path(__file__).parent / 'not-memory'
        else:
            directory = tmp_path / 'not-memory'
        with pytest.raises(ConnectorConfigError, match='memory'):
            ShmConnector(directory=directory)
        shutil.rmtree(directory, ignore_errors=True)

    def test_no_dev_shm(self) -> None:
        with pytest.raises(ConnectorConfigError, match='directory'):
            ShmConnector(directory='/proc/no/such/place')

    def test_others_may_not_get_in(self, memory: str) -> None:
        for mode in (0o755, 0o770, 0o707):
            os.chmod(memory, mode)
            with pytest.raises(ConnectorPermissionError, match='700'):
                ShmConnector(directory=memory)
        os.chmod(memory, 0o700)
        ShmConnector(directory=memory).close()

    @pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
    def test_a_directory_of_another_user_is_refused(self, memory: str) -> None:
        os.chown(memory, 12345, 12345)
        with pytest.raises(ConnectorPermissionError):
            ShmConnector(directory=memory)

    def test_a_planted_link_is_refused(self, memory: str, tmp_path: Path) -> None:
        target = Path(memory, 'target')
        target.mkdir(mode=0o700)
        Path(memory, 'linked').symlink_to(target)
        with pytest.raises(ConnectorPermissionError, match='link'):
            ShmConnector('linked', directory=memory)
        link = Path(memory).with_name(Path(memory).name + '-link')
        link.symlink_to(memory)
        try:
            with pytest.raises(ConnectorPermissionError, match='link'):
                ShmConnector(directory=link)
        finally:
            link.unlink()
        assert not list(target.iterdir())

    def test_truncated_segments_are_corrupted(self, connector: ShmConnector, memory: str) -> None:
        key = connector.put(bytes(LARGE))
        (segment,) = Path(memory, 'default').glob('s*')
        os.truncate(segment, LARGE - 5000)
        with pytest.raises(ObjectCorruptedError):
            connector.get(key)

    def test_foreign_files_are_left_alone(self, memory: str) -> None:
        with ShmConnector(directory=memory, hold=0) as connector:
            foreign = Path(memory, 'default', 'notes.txt')
            foreign.write_text('mine')
            key = connector.put(bytes(LARGE))
            connector.evict(key)
            connector.close(clear=True)
        assert foreign.read_text() == 'mine'

    def test_a_closed_connector_refuses(self, memory: str) -> None:
        connector = ShmConnector(directory=memory)
        key = connector.put(b'x')
        connector.close()
        connector.close()
        for operation in (connector.get, connector.exists, connector.evict, connector.put):
            with pytest.raises(ConnectorClosedError):
                operation(key if operation != connector.put else b'x')  # type: ignore[arg-type]

    def test_numpy_absent(self, memory: str) -> None:
        code = """
import sys
sys.modules['numpy'] = None
from proxystore.connectors.shm import ShmConnector
from proxystore.store import Store
with Store('plain', ShmConnector(directory=sys.argv[1])) as store:
    for obj in ({'a': [1, 2]}, b'x' * 5_000_000, bytearray(5_000_000), 'text' * 100_000):
        assert store.get(store.put(obj)) == obj
"""
        python(code, memory)


def report(memory: str) -> list[dict[str, Any]]:
    output = subprocess.run(
        [sys.executable, '-m', 'proxystore.cli', 'shm', 'list', '--json', '--directory', memory],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return json.loads(output)  # type: ignore[no-any-return]


class TestCommand:
    def run(self, *arguments: str) -> str:
        command = [sys.executable, '-m', 'proxystore.cli', 'shm', *arguments]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    def test_list_and_stat(self, connector: ShmConnector, memory: str) -> None:
        connector.put(bytes(LARGE))
        view = connector.get(connector.put(bytes(LARGE)))
        connector.put(b'small')
        (namespace,) = report(memory)
        assert namespace['name'] == 'default'
        assert namespace['held']
        assert namespace['objects'] == 3
        assert namespace['bytes'] >= 2 * LARGE
        (process,) = namespace['processes']
        assert process['pid'] == os.getpid()
        assert process['alive']
        assert process['pins'] == 1
        listed = self.run('list', '--directory', memory)
        assert 'default' in listed
        assert 'in use' in listed
        assert str(os.getpid()) in self.run('stat', '--directory', memory)
        assert 'no namespace' in self.run('stat', 'other', '--directory', memory)
        assert not Path(memory, 'other').exists()
        del view

    def test_gc_frees_what_nobody_holds(self, connector: ShmConnector, memory: str) -> None:
        code = """
import os, signal, sys
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(sys.argv[2], directory=sys.argv[1], hold=0)
connector.put(bytes(5_000_000))
os.kill(os.getpid(), signal.SIGKILL)
"""
        python(code, memory, 'left', check=False)
        key = connector.put(bytes(LARGE))
        assert list(Path(memory, 'left').glob('s*'))
        freed = json.loads(self.run('gc', '--json', '--directory', memory))
        assert not list(Path(memory, 'left').glob('s*'))
        assert any(row['name'] == 'left' and row['freed'] >= 5_000_000 for row in freed)
        assert connector.get(key) == bytes(LARGE)
        assert self.run('gc', '--directory', memory)

    def test_an_error_is_a_line_and_a_code(self) -> None:
        ended = subprocess.run(
            [sys.executable, '-m', 'proxystore.cli', 'shm', 'stat', '../x'],
            capture_output=True,
            check=False,
            text=True,
        )
        assert ended.returncode == 1
        assert ended.stderr.startswith('proxystore: ')
        assert 'Traceback' not in ended.stderr

    @pytest.mark.parametrize('buffered', [True, False])
    def test_a_closed_pipe_is_no_error(self, memory: str, buffered: bool) -> None:
        options = [] if buffered else ['-u']
        environment = {k: v for k, v in os.environ.items() if k != 'PYTHONUNBUFFERED'}
        command = [sys.executable, *options, '-m', 'proxystore.cli', 'shm', 'list']
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, 'wb') as output:
            ended = subprocess.run(
                [*command, '--directory', memory],
                check=False,
                env=environment,
                stderr=subprocess.PIPE,
                stdout=output,
            )
        assert (ended.returncode, ended.stderr) == (0, b'')


def test_address_space_limits_are_answered(memory: str) -> None:
    code = """
import resource, sys
from proxystore.connectors.exceptions import ConnectorError
from proxystore.connectors.shm import ShmConnector
connector = ShmConnector(directory=sys.argv[1])
key = connector.put(bytes(100_000_000))
used = int(open('/proc/self/statm').read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, resource.RLIM_INFINITY))
try:
    connector.get(key)
except (ConnectorError, MemoryError) as error:
    print(type(error).__name__, error)
"""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert 'overcommit_memory' in python(code, memory).stdout
